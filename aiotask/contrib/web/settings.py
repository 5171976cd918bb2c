"""How a dashboard behaves."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from ...ops.visitors import ACTS

__all__ = ["HIDDEN", "Settings"]

#: Parts of the names of arguments whose values are shown as dots.
HIDDEN = ("password", "passwd", "secret", "token", "credential", "api_key", "apikey", "authorization", "private_key")


@dataclass(frozen=True)
class Settings:
    """Choices of the operator of a dashboard.

    Attributes:
        allow: verbs that anybody may do here; empty: the dashboard has no verb at all.
        hide_arguments: show no arguments and no results of jobs.
        hide: parts of names of arguments whose values are shown as dots.
        result_db: the history file; None: as the commands find it.
        loopback: the dashboard is for this machine alone: it answers only under a name of this machine.
        unprotected: anybody who reaches the dashboard may use it, and every page says so.
    """

    allow: Collection[str] = ACTS
    hide_arguments: bool = False
    hide: Collection[str] = HIDDEN
    result_db: str | None = None
    loopback: bool = False
    unprotected: bool = False

    @property
    def read_only(self) -> bool:
        return not self.allow
