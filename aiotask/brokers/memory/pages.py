"""What the store of a memory broker has of jobs: counts, and every job with its place in the lists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from ...inspector import JobFilter, JobInfo, QueueInfo, Stats, WorkerInfo
from ...job import Status, is_paused_need
from ..lanes import is_line, need_of, queue_of
from ..pages import Place
from .graph_record import NodeRecord
from .graphs import GraphStore
from .record import Record

__all__ = ["info_of", "places_in", "records", "stats_of", "waiting_info", "waiting_nodes"]


def places_in(store: GraphStore, wanted: JobFilter, *, newest: bool = False) -> Iterator[tuple[Place, JobInfo]]:
    """Every job of the wanted queue: those in lanes by age (``newest``: the latest first), then those in lines, then by
    due time, then those that wait for others; or every dead letter."""
    if wanted.status is Status.FAILED:
        for queue, letter in store.dead.values():
            if wanted.queue in (None, queue):
                info = JobInfo(letter.id, Status.FAILED, "dead letter", sealed=letter.job, outcome=letter.outcome)
                yield [-letter.at, letter.id], info
        return
    for record in store.index.values():
        if wanted.queue in (None, record.queue):
            yield _place(record, newest=newest), info_of(record)
    for node in waiting_nodes(store):
        if wanted.queue in (None, queue_of(node.lane)):
            yield [3, *store.nodes[node.id], node.id], waiting_info(node)


def _place(record: Record, *, newest: bool) -> Place:
    """Where a job stands in the lists: by its due time, in its line, or by its age in its lane."""
    if record.due_at is not None:
        return [2, record.due_at, record.id]
    if is_line(record.lane):
        return [1, record.lane, int(record.entry), record.id]
    return [0, -int(record.entry) if newest else int(record.entry), record.id]


def records(store: GraphStore) -> Iterator[Record]:
    """Every unfinished job: first the jobs in lanes by age, then the scheduled ones by due time."""
    in_lanes = (record for record in store.index.values() if record.due_at is None)
    yield from sorted(in_lanes, key=lambda record: int(record.entry))
    yield from sorted(
        (record for record in store.index.values() if record.due_at), key=lambda record: record.due_at or 0
    )


def waiting_nodes(store: GraphStore) -> Iterator[NodeRecord]:
    """Every job that waits for others."""
    return (node for id in store.nodes if (node := store.waiting_node(id)) is not None)


def waiting_info(node: NodeRecord) -> JobInfo:
    return JobInfo(node.id, Status.WAITING, node.lane, sealed=node.sealed)


def info_of(record: Record) -> JobInfo:
    return JobInfo(
        record.id,
        record.status,
        position=f"{record.lane}|{record.entry}" if record.entry else record.lane,
        meta=record.meta,
        due_at=record.due_at,
        worker=record.owner,
        sealed=record.sealed,
        need=need_of(record.lane) if record.status is Status.PARKED else "",
    )


def stats_of(store: GraphStore, workers: Sequence[WorkerInfo]) -> Stats:
    jobs = Counter((record.queue, record.status) for record in store.index.values())
    lined = Counter(record.queue for record in store.index.values() if is_line(record.lane))
    dead = Counter(queue for queue, _ in store.dead.values())
    consumers = Counter(queue for worker in workers for queue in _queues_of(worker))
    now, ended = store.clock.time(), Counter[str]()
    for (_, status), count in store.ended.items():
        ended[status] += count
    total = Counter[Status]()
    for (_, known), count in jobs.items():
        total[known] += count
    return Stats(
        [
            QueueInfo(
                queue,
                pending=jobs[queue, Status.PENDING],
                running=jobs[queue, Status.RUNNING],
                scheduled=jobs[queue, Status.SCHEDULED] + jobs[queue, Status.RETRYING],
                parked=jobs[queue, Status.PARKED],
                dead=dead[queue],
                consumers=consumers[queue],
                paused=store.is_paused(queue),
                oldest=_oldest(store, queue, now),
                held=lined[queue],
                ended={status: count for (of, status), count in sorted(store.ended.items()) if of == queue},
            )
            for queue in sorted(store.queues)
        ],
        pending=total[Status.PENDING],
        running=total[Status.RUNNING],
        scheduled=total[Status.SCHEDULED] + total[Status.RETRYING],
        parked=total[Status.PARKED],
        paused=sum(
            record.status is Status.PARKED and is_paused_need(need_of(record.lane)) for record in store.index.values()
        ),
        waiting=sum(1 for _ in waiting_nodes(store)),
        dead=len(store.dead),
        workers=len(workers),
        ended=dict(ended),
        time=now,
        retried=store.runs["retried"],
        returned=store.runs["returned"],
        died=store.runs["died"],
        rejected=store.rejected,
        replaced=store.runs["replaced"],
        dropped=store.runs["dropped"],
        lost=store.runs["lost"],
    )


def _oldest(store: GraphStore, queue: str, now: float) -> float | None:
    """Seconds for which the oldest pending job of a queue has been in its lane."""
    placed = [
        record.placed_at
        for record in store.index.values()
        if record.queue == queue and record.status is Status.PENDING and not is_line(record.lane)
    ]
    return max(0.0, now - min(placed)) if placed else None


def _queues_of(worker: WorkerInfo) -> list[object]:
    queues = worker.facts.get("queues")
    return list(queues) if isinstance(queues, list) else []
