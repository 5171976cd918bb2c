"""The read side of the SQLite broker."""

from __future__ import annotations

import sqlite3
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

import msgspec

from aiotask.brokers.lanes import need_of
from aiotask.brokers.letters import facts_of, is_behind
from aiotask.brokers.pages import EVERY, Place, page_of, sample_of
from aiotask.inspector import (
    DeadLetter,
    Durability,
    JobFilter,
    JobInfo,
    LetterFacts,
    LetterPlace,
    Page,
    Persistence,
    QueueInfo,
    Sample,
    ServerFacts,
    Stats,
    WorkerInfo,
)
from aiotask.job import Status, decode_job
from aiotask.wire.seal import OVERHEAD

from . import tables

__all__ = ["SqliteInspector"]


class SqliteInspector(ABC):
    """Inspector of one app."""

    @abstractmethod
    def state(self) -> AbstractAsyncContextManager[sqlite3.Connection]:
        """A transaction, in which the methods read."""

    async def facts(self) -> ServerFacts:
        durability = Durability(Persistence.LOG_BY_SYSTEM, "write-ahead log, synchronous=normal")
        return ServerFacts("sqlite", sqlite3.sqlite_version, durability, time=time.time())

    async def queues(self, max_age: float = 0.0) -> list[QueueInfo]:
        async with self.state() as db:
            rows = tables.rows(db, "TRUE")
            jobs = Counter((row.queue, row.status) for row in rows)
            served = Counter(queue for worker in _workers(db) for queue in _queues_of(worker))
            dead = Counter(decode_job(job[OVERHEAD:]).queue for (job,) in db.execute("SELECT job FROM dead"))
        return [
            QueueInfo(
                queue,
                pending=jobs[queue, Status.PENDING],
                running=jobs[queue, Status.RUNNING],
                scheduled=jobs[queue, Status.SCHEDULED] + jobs[queue, Status.RETRYING],
                parked=jobs[queue, Status.PARKED],
                dead=dead[queue],
                consumers=served[queue],
            )
            for queue in sorted({row.queue for row in rows} | set(served) | set(dead))
        ]

    async def is_waiting(self, queues: Sequence[str]) -> bool:
        async with self.state() as db:
            return any(row.status is Status.PENDING and row.queue in queues for row in tables.rows(db, "TRUE"))

    async def workers(self) -> list[WorkerInfo]:
        async with self.state() as db:
            return _workers(db)

    async def stats(self, max_age: float = 0.0) -> Stats:
        queues = await self.queues()
        return Stats(
            queues,
            pending=sum(queue.pending for queue in queues),
            running=sum(queue.running for queue in queues),
            scheduled=sum(queue.scheduled for queue in queues),
            parked=sum(queue.parked for queue in queues),
            dead=sum(queue.dead for queue in queues),
            workers=len(await self.workers()),
            time=time.time(),
        )

    async def page(self, wanted: JobFilter = EVERY, after: str = "", limit: int = 50, *, newest: bool = False) -> Page:
        return page_of(await self._places(wanted, newest=newest), wanted, after, limit)

    async def _places(self, wanted: JobFilter, *, newest: bool = False) -> list[tuple[Place, JobInfo]]:
        async with self.state() as db:
            if wanted.status is Status.FAILED:
                letters = db.execute("SELECT number, id, job, outcome FROM dead").fetchall()
                return [
                    ([-number], JobInfo(id, Status.FAILED, "dead letter", sealed=sealed, outcome=outcome))
                    for number, id, sealed, outcome in letters
                ]
            found = tables.rows(db, "ifnull(queue = ?, TRUE)", wanted.queue)
        sign = -1 if newest else 1
        return [([row.due or 0, row.entry if row.due else sign * row.entry], _info(row)) for row in found]

    async def sample(self, queue: str) -> Sample:
        return sample_of(info for _, info in await self._places(JobFilter(None, queue)) if info.status == "PENDING")

    async def jobs(self, *, status: Status | None = None, queue: str | None = None, limit: int = 50) -> list[JobInfo]:
        async with self.state() as db:
            found = tables.rows(db, "ifnull(queue = ?, TRUE) ORDER BY due, entry", queue)
        return [_info(row) for row in found if status in (None, row.status)][:limit]

    async def job(self, id: str) -> JobInfo | None:
        async with self.state() as db:
            stored, row = tables.outcome_of(db, id), tables.find(db, id)
        if stored:
            return JobInfo(id, Status(stored[1]), "stored outcome", outcome=stored[0])
        return _info(row) if row else None

    async def dead(self, *, limit: int = 50) -> list[DeadLetter]:
        async with self.state() as db:
            sql = "SELECT id, at, job, outcome FROM dead ORDER BY number DESC LIMIT ?"
            return [DeadLetter(*letter) for letter in db.execute(sql, [limit])]

    async def letters(self, after: LetterPlace | None = None, limit: int = 250) -> list[LetterFacts]:
        behind = [letter for letter in await self.dead(limit=-1) if is_behind(letter, after)]
        return [facts_of(letter) for letter in sorted(behind, key=lambda each: (each.at, each.id))[::-1][:limit]]

    async def dead_letter(self, id: str) -> DeadLetter | None:
        return next((letter for letter in await self.dead(limit=-1) if letter.id == id), None)

    async def rejected(self) -> int:
        async with self.state() as db:
            return int(db.execute("SELECT count(*) FROM refused").fetchone()[0])

    async def unrecorded(self) -> int:
        async with self.state() as db:
            return int(db.execute("SELECT count(*) FROM history").fetchone()[0])


def _info(row: tables.Row) -> JobInfo:
    meta = tables.decode_meta(row.meta)
    need = need_of(row.lane) if row.status is Status.PARKED else ""
    return JobInfo(row.id, row.status, f"{row.lane}|{row.entry}", meta, row.due, row.owner, row.sealed, need=need)


def _queues_of(worker: WorkerInfo) -> list[str]:
    queues = worker.facts.get("queues")
    return queues if isinstance(queues, list) else []


def _workers(db: sqlite3.Connection) -> list[WorkerInfo]:
    found = db.execute("SELECT incarnation, host, facts FROM live WHERE NOT is_dead ORDER BY incarnation")
    return [WorkerInfo(name, host, msgspec.msgpack.decode(facts)) for name, host, facts in found]
