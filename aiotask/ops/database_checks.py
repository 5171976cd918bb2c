"""The checks of ``aiotask doctor`` on a database with rows or an outbox."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ..brokers.shown import hide_password
from ..errors import AiotaskError, ConfigError, ConnectionLost
from .app_checks import about_app
from .check import Check, State
from .connection import reach, rows_in
from .outbox import outbox_checks

if TYPE_CHECKING:
    from ..sql.examining import DatabaseFacts, OldRows

__all__ = ["about_database"]

#: Missing columns and indexes that are named one by one.
_MOST = 12


async def about_database(database: str, name: str | None) -> list[Check]:
    """Checks of a database, and of the rows of the named app or of all apps there."""
    try:
        return await _checks(database, name)
    except ConfigError as error:
        return [Check("database", State.FAIL, str(error))]
    except AiotaskError as error:
        shown = hide_password(database)
        detail = str(error) if shown in str(error) else f"{shown}: {error}"
        # A server that refuses the connection is running, and its error says what to check.
        silent = isinstance(error, ConnectionLost) and "refuses" not in str(error)
        fix = "Is it running, and is --database (AIOTASK_DATABASE) right?" if silent else ""
        return [Check("database", State.FAIL, detail, fix)]


async def _checks(database: str, name: str | None) -> list[Check]:
    address = reach(database)
    from ..sql.examining import examine

    facts = await asyncio.to_thread(examine, address, name)
    checks = list(_about(hide_password(database), facts, name))
    if not facts.lacks and all(each.kind == "index" for each in facts.missing):
        async with rows_in(database, name) as opened:
            for each in opened:
                checks += await about_app(each)
    return checks


def _about(shown: str, facts: DatabaseFacts, name: str | None) -> Iterator[Check]:
    yield _reachable(shown, facts)
    if facts.version.startswith("SQLite"):
        yield from _about_file(facts)
    else:
        yield _clock(facts.clock)
        yield _privileges(facts)
        if facts.hears is not None:
            yield _notifications(facts.hears)
    yield _transactions(facts)
    yield _tables(facts)
    for old in facts.old:
        yield _old(old, is_sqlite=facts.version.startswith("SQLite"))
    yield from outbox_checks(facts.unrelayed, name)


def _reachable(shown: str, facts: DatabaseFacts) -> Check:
    trip = facts.trip * 1000
    slow = "Each claim waits for such round trips: bring the workers and the database closer together."
    state = State.WARN if trip > 50 else State.OK
    return Check("database", state, f"{facts.version} at {shown} answers in {trip:.1f} ms", slow if trip > 50 else "")


def _about_file(facts: DatabaseFacts) -> Iterator[Check]:
    if facts.network_disk:
        detail = f"the file lies on a network disk ({facts.network_disk}): its locks do not hold between machines"
        fix = "Move the file to a disk of this machine, or use PostgreSQL."
        yield Check("database disk", State.FAIL, detail, fix)
    if facts.journal == "wal":
        yield Check("database journal", State.OK, "WAL: readers do not wait for writers")
    else:
        detail = f"journal_mode is {facts.journal or 'not known'}: readers and writers wait for each other"
        fix = "Workers set it as they start. Or now: PRAGMA journal_mode=WAL"
        yield Check("database journal", State.WARN, detail, fix)
    yield _privileges(facts)


def _clock(apart: float) -> Check:
    fix = "Due times follow the clock of the database: synchronize both clocks (chrony, systemd-timesyncd)."
    state = State.WARN if apart > 1 else State.OK
    return Check(
        "database clock", state, f"{apart:.2f} s away from the clock of this machine", fix if apart > 1 else ""
    )


def _privileges(facts: DatabaseFacts) -> Check:
    if facts.read_only:
        fix = "Give the URL of a server, or of a file with its folder, that can be written."
        return Check("database privileges", State.FAIL, f"read-only: {facts.read_only}", fix)
    if facts.lacks:
        detail = "; ".join(f"{', '.join(each.privileges)} on {each.table}" for each in facts.lacks)
        fix = f"GRANT {', '.join(facts.lacks[0].privileges)} ON {facts.lacks[0].table} TO the user of the URL"
        return Check("database privileges", State.FAIL, f"the user lacks {detail}", fix)
    return Check("database privileges", State.OK, "rows can be read and written")


def _notifications(hears: bool) -> Check:
    if hears:
        return Check("database notifications", State.OK, "LISTEN and NOTIFY work: workers hear of new rows at once")
    fix = "Behind a pooler, give workers a URL that leads past it, or let it pool sessions (pool_mode = session)."
    detail = "none arrives: workers find new rows when they look, once a second"
    return Check("database notifications", State.WARN, detail, fix)


def _transactions(facts: DatabaseFacts) -> Check:
    if facts.begins:
        return Check("database transactions", State.OK, "they begin with their first statement")
    fix = (
        'Of the engine, set isolation_level = None in a "connect" listener and emit BEGIN in a "begin" listener; no '
        'isolation_level="AUTOCOMMIT".'
    )
    detail = "the engine begins none before the first write, or commits each statement: rollbacks may keep rows"
    return Check("database transactions", State.WARN, detail, fix)


def _tables(facts: DatabaseFacts) -> Check:
    if not facts.missing:
        return Check("database tables", State.OK, "tables, columns and indexes are complete")
    named = ", ".join(map(str, facts.missing[:_MOST])) + (", …" if len(facts.missing) > _MOST else "")
    slow = all(each.kind == "index" for each in facts.missing)
    fix = "Run your migrations. aiotask sql your.module prints the statements of missing tables and indexes"
    fix += "; for a missing column, write a migration." if any(each.kind == "column" for each in facts.missing) else "."
    return Check("database tables", State.WARN if slow else State.FAIL, f"missing: {named}", fix)


def _old(old: OldRows, *, is_sqlite: bool) -> Check:
    made, later = (_text(old.made_at + seconds) for seconds in (0, 1))
    detail = (
        f"{old.number:,} rows wait since one moment ({made} UTC) before the first claim of their table. A migration "
        "that adds the columns of a job to a table makes all of its rows jobs"
    )
    # PostgreSQL would take a moment without a zone for one of its own zone.
    moment = later if is_sqlite else f"{later}+00"
    fix = (
        f"If they are no jobs: UPDATE {old.table} SET status='SUCCESS' WHERE status='PENDING' AND claims=0 AND "
        f"created_at < '{moment}'"
    )
    return Check(f"{old.table}: old rows", State.WARN, detail, fix)


def _text(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")
