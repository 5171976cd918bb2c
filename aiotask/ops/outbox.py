"""The check of ``aiotask doctor`` on the outbox: how many jobs of committed transactions wait, and for how long."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..brokers.sql.address import DatabaseAddress
from ..errors import AiotaskError
from .checks import Check, State

if TYPE_CHECKING:
    from ..brokers.sql.outbox import Unrelayed

__all__ = ["outbox_checks"]

#: Seconds after which a job should have been sent: a relay needs milliseconds, and some seconds for a large backlog.
LATE = 60.0


def outbox_checks(app: str | None) -> list[Check]:
    """One check per app that has jobs in the database of ``$AIOTASK_DATABASE``; none without that variable.

    Args:
        app: the one app to look at; None: all.
    """
    try:
        address = DatabaseAddress()
        if not address:
            return []
        found = _unrelayed(address)
    except AiotaskError as error:
        fix = "Check AIOTASK_DATABASE. The table comes with your migrations, or aiotask.sql.create_tables(app)."
        return [Check("outbox", State.FAIL, f"the outbox cannot be read: {error}", fix)]
    checks = [_check(each) for each in found if app in (None, each.app)]
    return checks or [Check("outbox", State.OK, "no job of a transaction waits")]


def _unrelayed(address: DatabaseAddress) -> list[Unrelayed]:
    database = address.open()
    # SQLAlchemy comes with it.
    from ..brokers.sql.outbox import Outbox

    try:
        return Outbox.unrelayed(database)
    finally:
        database.dispose()


def _check(found: Unrelayed) -> Check:
    name = f"{found.app}: outbox"
    detail = f"{found.jobs:,} jobs of transactions wait, the oldest for {found.age:.0f} s"
    if found.unreadable:
        fix = (
            "A later release of aiotask, or another program, has written them. Upgrade the workers, or delete the rows."
        )
        return Check(name, State.WARN, f"{detail}; {found.unreadable:,} cannot be read and are not sent", fix)
    if found.age > LATE:
        fix = f'Run a worker of the app "{found.app}" with this database: its keeper sends them. See what its log says.'
        return Check(name, State.WARN, detail, fix)
    return Check(name, State.OK, detail)
