"""How a dashboard behaves."""

from __future__ import annotations

from dataclasses import dataclass

from ...ops.views.look import Choices

__all__ = ["Settings"]


@dataclass(frozen=True)
class Settings(Choices):
    """Choices of the operator of a dashboard that is served.

    Attributes:
        allow: verbs that anybody may do here; empty: the dashboard has no verb at all.
        hide_arguments: show no arguments and no results of jobs.
        hide: further parts of names of arguments whose values are shown as dots, besides those of the app.
        result_db: the history file; None: as the commands find it.
        loopback: the dashboard is for this machine alone: it answers only under a name of this machine.
        unprotected: anybody who reaches the dashboard may use it, and every page says so.
    """

    loopback: bool = False
    unprotected: bool = False
