"""The checks of ``aiotask doctor`` on one app: its workers, its queues and its history."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from ..brokers import features, schedules_of
from ..brokers.pauses import Pause
from ..brokers.technology import HISTORY, SCHEDULES
from ..inspector import QueueInfo, Stats, WorkerInfo
from ..log.events import in_words
from .attention import attention_of
from .check import Check, State
from .connection import Connection
from .hosts import hosts_of, lost_hosts
from .limits import by_hand
from .pauses import pauses_of, resume_command
from .schedules import disputed

__all__ = ["about_app"]

#: Number of finished jobs that may wait for a recorder, and number that the server keeps.
BACKLOG, BACKLOG_CAP = 10_000, 1_000_000


async def about_app(connection: Connection) -> list[Check]:
    """Checks of the tasks of an app, or of its rows."""
    inspector, name = connection.inspector, connection.label
    stats = await inspector.stats()
    queues = stats.queues
    workers = await inspector.workers()
    checks = [_workers(name, len(workers), sum(queue.pending for queue in queues))]
    checks += _unconsumed(name, queues, workers)
    checks += await _about_hosts(connection, workers)
    if HISTORY in features(connection.broker.url):
        checks.append(_backlog(name, await inspector.unrecorded()))
    pauses = await pauses_of(connection)
    checks += [_paused(name, pause) for pause in pauses]
    if SCHEDULES in features(connection.broker.url):
        declared = await schedules_of(connection.broker).declared_schedules()
        checks += [Check(f"{name}: schedules", State.WARN, each) for each in disputed(declared)]
    if parked := stats.parked:
        fix = "Start a worker that has what they need: aiotask jobs --status parked shows it."
        detail = f"jobs that no worker could run: {parked:,}"
        if any(not pause.queue for pause in pauses):
            fix = "aiotask jobs --status parked shows what each needs, or the pause that it waits for."
            detail = f"jobs that are paused, or that no worker could run: {parked:,}"
        checks.append(Check(f"{name}: parked", State.WARN, detail, fix))
    if dead := stats.dead:
        fix = (
            "See why with aiotask dead list; run them again with aiotask dead replay, or remove them with "
            "aiotask dead delete."
        )
        checks.append(Check(f"{name}: dead letters", State.WARN, f"jobs that were given up: {dead:,}", fix))
    if rejected := await inspector.rejected():
        fix = "Give every sender and worker the same AIOTASK_SECRET."
        checks.append(Check(f"{name}: set aside", State.WARN, f"messages without a valid seal: {rejected:,}", fix))
    return checks


async def _about_hosts(connection: Connection, workers: Sequence[WorkerInfo]) -> list[Check]:
    """What the overview of the dashboard says of workers and hosts; of the rest the other checks speak."""
    lost = await lost_hosts(connection)
    numbers = await by_hand(connection)
    if not workers and not lost and not numbers:
        return []
    inspector = connection.inspector
    # Without workers there is another check.
    stats, facts = await inspector.stats() if workers else Stats([]), await inspector.facts()
    said = attention_of(stats, workers, [], facts, 0, 0, await hosts_of(connection), lost, numbers)
    return [
        Check(f"{connection.label}: hosts", State.WARN, f"{each.what} {each.rest}".strip(), each.fix)
        for each in said
        if each.kind in ("workers", "job", "limits")
    ]


def _paused(name: str, pause: Pause) -> Check:
    by = f" by {pause.by}" if pause.by else ""
    why = f": {pause.why}" if pause.why else ""
    since = in_words(max(0.0, time.time() - pause.at))
    detail = f"{pause.what}, for {since}{by}{why}"
    return Check(f"{name}: paused", State.WARN, detail, f"If it is no longer needed: {resume_command(pause)}")


def _workers(name: str, live: int, pending: int) -> Check:
    if live:
        return Check(f"{name}: workers", State.OK, f"{live:,} live")
    if pending:
        fix = "Start one: aiotask worker your.module"
        return Check(f"{name}: workers", State.WARN, f"none is live, and jobs wait: {pending:,}", fix)
    return Check(f"{name}: workers", State.OK, "none is live, and no job waits")


def _unconsumed(name: str, queues: Sequence[QueueInfo], workers: Sequence[WorkerInfo]) -> Iterator[Check]:
    """Queues with jobs that none of the live workers takes: a typing error as a rule."""
    consumed: set[object] = set()
    for worker in workers:
        listed = worker.facts.get("queues")
        if not isinstance(listed, list):
            return  # A worker of another release does not register its queues.
        consumed.update(listed)
    for queue in queues if workers else ():
        if queue.name not in consumed and (waiting := queue.pending + queue.scheduled):
            yield Check(
                f"{name}: queue",
                State.WARN,
                f'no live worker consumes "{queue.name}"; jobs in it: {waiting:,}',
                f"Check the name, or start a worker for the queue: aiotask worker your.module --queues {queue.name}",
            )


def _backlog(name: str, waiting: int) -> Check:
    if waiting < BACKLOG:
        return Check(f"{name}: history", State.OK, f"finished jobs not yet recorded: {waiting:,}")
    return Check(
        f"{name}: history",
        State.WARN if waiting < 0.9 * BACKLOG_CAP else State.FAIL,
        f"finished jobs not yet recorded: {waiting:,}; beyond {BACKLOG_CAP:,} the oldest are dropped",
        "Run a worker with --result-db; if one runs, its log says why it does not record.",
    )
