"""The check of ``aiotask doctor`` on the outbox: how many jobs of committed transactions wait, and for how long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .check import Check, State

if TYPE_CHECKING:
    from ..brokers.sql.outbox import Unrelayed

__all__ = ["outbox_checks"]

#: Seconds after which a job should have been sent: a relay needs milliseconds, and some seconds for a large backlog.
LATE = 60.0


def outbox_checks(found: Sequence[Unrelayed], app: str | None) -> list[Check]:
    """One check per app that has jobs in the outbox of a database.

    Args:
        app: the one app to look at; None: all.
    """
    checks = [_check(each) for each in found if app in (None, each.app)]
    return checks or [Check("outbox", State.OK, "no job of a transaction waits")]


def _check(found: Unrelayed) -> Check:
    name = f"{found.app}: outbox"
    wait = "job of a transaction waits" if found.jobs == 1 else "jobs of transactions wait"
    detail = f"{found.jobs:,} {wait}, the oldest for {found.age:.0f} s"
    if found.unreadable:
        fix = (
            "A later release of aiotask, or another program, has written them. Upgrade the workers, or delete the rows."
        )
        return Check(name, State.WARN, f"{detail}; {found.unreadable:,} cannot be read and are not sent", fix)
    if found.age > LATE:
        fix = f'Run a worker of the app "{found.app}" with this database: its keeper sends them. See what its log says.'
        return Check(name, State.WARN, detail, fix)
    return Check(name, State.OK, detail)
