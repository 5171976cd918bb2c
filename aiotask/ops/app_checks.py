"""The checks of ``aiotask doctor`` on one app: the sentences of the overviews, and what is well."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..brokers import features, schedules_of
from ..brokers.bounds import HISTORY_ROWS as BACKLOG_CAP
from ..brokers.technology import HISTORY, SCHEDULES
from .attention import Attention, attention_of
from .check import Check, State
from .connection import Connection
from .hosts import hosts_of, lost_hosts
from .letters import by_error
from .limits import by_hand
from .pauses import pauses_of
from .schedules import disputed, paused_in

__all__ = ["about_app"]


async def about_app(connection: Connection) -> list[Check]:
    """Checks of the tasks of an app, or of its rows: what the overviews say of it, and what is well."""
    inspector, name = connection.inspector, connection.label
    records = HISTORY in features(connection.broker.url)
    stats, workers, facts = await inspector.stats(), await inspector.workers(), await inspector.facts()
    unrecorded = await inspector.unrecorded() if records else 0
    pauses, hosts, errors = await pauses_of(connection), await hosts_of(connection), await by_error(connection)
    aside, schedules = await inspector.rejected(), await paused_in(connection)
    told = hosts, errors, schedules, await lost_hosts(connection), await by_hand(connection)
    said = attention_of(stats, workers, pauses, facts, unrecorded, aside, *told)
    found = [_check(name, each, len(workers), unrecorded) for each in said if each.kind != "server"]
    checks = [*_well(name, found, len(workers), unrecorded if records else None), *found]
    if SCHEDULES in features(connection.broker.url):
        declared = await schedules_of(connection.broker).declared_schedules()
        checks += [Check(f"{name}: schedules", State.WARN, each) for each in disputed(declared)]
    if stats.dead and not any(each.kind == "dead" for each in said):
        fix = "See why: aiotask dead list. Then replay or delete them: aiotask dead replay, aiotask dead delete."
        detail = f"jobs that were given up, none of them in the last hour: {stats.dead:,}"
        checks.append(Check(f"{name}: dead letters", State.WARN, detail, fix))
    return checks


#: What each kind of sentence is called.
_NAMES = {
    "queue": "queue",
    "job": "hosts",
    "workers": "hosts",
    "parked": "parked",
    "dead": "dead letters",
    "aside": "set aside",
    "history": "history",
    "limits": "limits",
}


def _check(name: str, each: Attention, live: int, unrecorded: int) -> Check:
    about = "paused" if each.verb else "workers" if each.kind == "workers" and not live else _NAMES[each.kind]
    is_lost = each.kind == "history" and unrecorded >= 0.9 * BACKLOG_CAP
    return Check(
        f"{name}: {about}",
        State.FAIL if is_lost else State.WARN,
        f"{each.what} {each.rest}".strip() + (f" Beyond {BACKLOG_CAP:,} the oldest are dropped." if is_lost else ""),
        each.fix,
    )


def _well(name: str, found: Sequence[Check], live: int, unrecorded: int | None) -> Iterator[Check]:
    """The checks that passed, beside those that did not."""
    if live:
        yield Check(f"{name}: workers", State.OK, f"{live:,} live")
    elif not any(each.name == f"{name}: workers" for each in found):
        yield Check(f"{name}: workers", State.OK, "none is live, and no job waits")
    if unrecorded is not None and not any(each.name == f"{name}: history" for each in found):
        yield Check(f"{name}: history", State.OK, f"finished jobs not yet recorded: {unrecorded:,}")
