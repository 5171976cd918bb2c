"""The read side of a broker of rows."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any, cast

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ...broker import Broker
from ...errors import ConfigError
from ...inspector import (
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
from ...job import FINAL, Status
from ..letters import facts_of
from ..pages import EVERY, Place, cursor_of, place_in, unknown_place
from .broker import RowBroker
from .claiming import queues_of
from .facts import app_in
from .finding import ROW_COLUMNS
from .job_table import JobTable, is_status
from .operating import outcome_of, status_of
from .tables import utcnow

__all__ = ["RowInspector"]

#: The greatest number that is counted one by one: a count of all would read the whole table.
COUNTED = 10_000
_OPEN = (Status.PENDING, Status.RUNNING, Status.SCHEDULED, Status.RETRYING)
#: Rows that one statement reads for a page.
_LOOK = 200
#: The statuses behind each count of a queue.
_STATUSES_OF = {
    "pending": (Status.PENDING,),
    "running": (Status.RUNNING,),
    "scheduled": (Status.SCHEDULED, Status.RETRYING),
    "dead": (Status.FAILED,),
}


class RowInspector:
    """Inspector of the rows of one app. Its ids are those of rows, and its queues those of tables."""

    def __init__(self, broker: Broker) -> None:
        self._broker = cast("RowBroker", broker)
        self._database = self._broker.database
        self._tables = self._broker.tables
        self._operating = self._broker._operating

    async def facts(self) -> ServerFacts:
        return await self._broker._do(self._facts)

    def _facts(self) -> ServerFacts:
        with self._database.reading() as connection:
            now = connection.execute(sa.select(utcnow())).scalar_one().timestamp()
            if self._database.is_sqlite:
                version = connection.exec_driver_sql("SELECT sqlite_version()").scalar_one()
                mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar_one()
                durability = Durability(Persistence.LOG_BY_SYSTEM, f"journal_mode={mode}")
                return ServerFacts("SQLite", version, durability, time=now, warnings=_journal_warnings(mode))
            version = connection.exec_driver_sql("SHOW server_version").scalar_one()
            commit = connection.exec_driver_sql("SHOW synchronous_commit").scalar_one()
        kind = Persistence.LOG_EACH_SECOND if commit == "off" else Persistence.LOG_EACH_WRITE
        return ServerFacts("PostgreSQL", version, Durability(kind, f"synchronous_commit={commit}"), time=now)

    async def queues(self, max_age: float = 0.0) -> list[QueueInfo]:
        """The queues; of a status that more than 10,000 rows of a table have, the count is an estimate."""
        return await self._broker._do(self._queues)

    def _queues(self) -> list[QueueInfo]:
        counts: dict[str, Counter[str]] = {table.facts.queue: Counter() for table in self._tables}
        guessed: dict[str, list[str]] = {queue: [] for queue in counts}
        with self._database.reading() as connection:
            for worker in self._workers_in(connection):
                for queue in _served(worker):
                    counts.get(queue, Counter[str]())["consumers"] += 1
            for table in self._tables:
                for what, statuses in _STATUSES_OF.items():
                    number, is_guess = _count(connection, table, statuses)
                    counts[table.facts.queue][what] += number
                    if is_guess and what not in guessed[table.facts.queue]:
                        guessed[table.facts.queue].append(what)
        return [_queue_info(queue, counts[queue], guessed[queue]) for queue in sorted(counts)]

    async def is_waiting(self, queues: Sequence[str]) -> bool:
        return await self._broker._do(self._is_waiting, frozenset(queues))

    def _is_waiting(self, queues: frozenset[str]) -> bool:
        tables = [table for table in self._tables if table.facts.queue in queues]
        with self._database.reading() as connection:
            return any(connection.execute(table.waiting).first() is not None for table in tables)

    async def workers(self) -> list[WorkerInfo]:
        return await self._broker._do(self._workers)

    def _workers(self) -> list[WorkerInfo]:
        with self._database.reading() as connection:
            return self._workers_in(connection)

    def _workers_in(self, connection: Connection) -> list[WorkerInfo]:
        workers = self._broker.own.workers
        found = connection.execute(sa.select(workers).order_by(workers.c.incarnation))
        live = [WorkerInfo(row.incarnation, row.host or "", _facts_of(row.facts)) for row in found]
        # Several apps may share a database.
        return [worker for worker in live if app_in(worker.facts) in ("", self._broker.app)]

    async def stats(self, max_age: float = 0.0) -> Stats:
        queues, workers, at = await self._broker._do(self._stats)
        return Stats(
            queues,
            pending=sum(queue.pending for queue in queues),
            running=sum(queue.running for queue in queues),
            scheduled=sum(queue.scheduled for queue in queues),
            dead=sum(queue.dead for queue in queues),
            workers=workers,
            time=at,
        )

    def _stats(self) -> tuple[list[QueueInfo], int, float]:
        with self._database.reading() as connection:
            at = connection.execute(sa.select(utcnow())).scalar_one().timestamp()
        return self._queues(), len(self._workers()), at

    async def page(self, wanted: JobFilter = EVERY, after: str = "", limit: int = 50, *, newest: bool = False) -> Page:
        """Rows of one table after the other; those of a table by due time."""
        if wanted.text:
            raise ConfigError("Rows are not searched by text: their columns are in your own tables.")
        return await self._broker._do(self._page, wanted, place_in(after) if after else [], limit, newest)

    def _page(self, wanted: JobFilter, after: Place, limit: int, newest: bool) -> Page:
        found: list[JobInfo] = []
        for table in sorted(self._tables, key=lambda each: each.prefix):
            if table.prefix < (after or [""])[0] or not _may_have(table, wanted):
                continue
            start = after if after[:1] == [table.prefix] else []
            while True:
                rows = self._rows_behind(table, wanted.status, start, newest)
                for row in rows:
                    start = [table.prefix, row.due_at.isoformat(), str(table.key_in(row))]
                    info = self._info(table, row)
                    if info.id.startswith(wanted.prefix):
                        found.append(info)
                    if len(found) >= limit:
                        return Page(found, cursor_of(start))
                if len(rows) < _LOOK:
                    break
        return Page(found)

    def _rows_behind(self, table: JobTable, status: Status | None, place: Place, newest: bool) -> Sequence[Any]:
        statuses = _OPEN if status is None else (status,)
        c = table.table.c
        statement = sa.select(table.table).where(is_status(table.table, *statuses))
        if place:
            due_at, key = _read_place(table, place)
            behind = sa.tuple_(sa.literal(due_at, c.due_at.type), sa.literal(key, table.key.type))
            here = sa.tuple_(c.due_at, table.key)
            statement = statement.where(here < behind if newest else here > behind)
        order = (c.due_at.desc(), table.key.desc()) if newest else (c.due_at, table.key)
        with self._database.reading() as connection:
            return connection.execute(statement.order_by(*order).limit(_LOOK)).fetchall()

    async def sample(self, queue: str) -> Sample:
        """Each table has one task, so it is known of every row; more than 10,000 rows are an estimate."""
        return await self._broker._do(self._sample, queue)

    def _sample(self, queue: str) -> Sample:
        tasks = Counter[str]()
        with self._database.reading() as connection:
            for table in self._tables:
                if table.facts.queue == queue:
                    tasks[table.facts.task] += _count(connection, table, (Status.PENDING,))[0]
        return Sample(tasks.total(), tasks.total(), dict(tasks.most_common()))

    async def jobs(self, *, status: Status | None = None, queue: str | None = None, limit: int = 50) -> list[JobInfo]:
        return await self._broker._do(self._jobs, status, queue, limit)

    def _jobs(self, status: Status | None, queue: str | None, limit: int) -> list[JobInfo]:
        found: list[tuple[datetime, JobInfo]] = []
        statuses = _OPEN if status is None else (status,)
        with self._database.reading() as connection:
            for table in self._tables:
                if queue in (None, table.facts.queue):
                    c = table.table.c
                    statement = sa.select(table.table).where(is_status(table.table, *statuses))
                    rows = connection.execute(statement.order_by(c.due_at, table.key).limit(limit))
                    found += [(row.due_at, self._info(table, row)) for row in rows]
        found.sort(key=itemgetter(0))
        return [info for _, info in found[:limit]]

    def _info(self, table: JobTable, row: Any) -> JobInfo:
        delivery = self._broker._claiming.delivery_of(table, row)
        outcome = outcome_of(self._operating.outcomes, table, row) if row.status in FINAL else None
        due = row.due_at.timestamp() if row.status in ("SCHEDULED", "RETRYING") else None
        worker = (row.worker or "") if row.status == Status.RUNNING else ""
        position = f"{delivery.lane}|{delivery.entry}"
        return JobInfo(
            delivery.id, status_of(row.status), position, delivery.meta, due, worker, delivery.sealed, outcome=outcome
        )

    async def job(self, id: str) -> JobInfo | None:
        return await self._broker._do(self._job, id)

    def _job(self, id: str) -> JobInfo | None:
        found = self._operating.read([id])
        return self._info(*found[id]) if id in found else None

    async def columns(self, id: str) -> dict[str, Any]:
        """``failures`` of a row, and ``columns``: those that are the user's, as the database has them."""
        return await self._broker._do(self._columns, id)

    def _columns(self, id: str) -> dict[str, Any]:
        found = self._operating.read([id])
        if id not in found:
            return {}
        table, row = found[id]
        every: sa.Select[Any] = table.by_keys.with_only_columns(sa.literal_column("*"), maintain_column_froms=True)
        with self._database.reading() as connection:
            columns = connection.execute(every, {"_keys": [table.key_of(id)]}).mappings().first()
        own = {name: value for name, value in (columns or {}).items() if name not in ROW_COLUMNS}
        return {"failures": row.failures or [], "columns": own}

    async def dead(self, *, limit: int = 50) -> list[DeadLetter]:
        return await self._broker._do(self._dead, None, limit)

    async def letters(self, after: LetterPlace | None = None, limit: int = 250) -> list[LetterFacts]:
        return [facts_of(letter) for letter in await self._broker._do(self._dead, after, limit)]

    def _dead(self, after: LetterPlace | None, limit: int) -> list[DeadLetter]:
        found: list[tuple[tuple[datetime, str, Any], DeadLetter]] = []
        with self._database.reading() as connection:
            for table in self._tables:
                c = table.table.c
                statement = sa.select(table.table).where(is_status(table.table, Status.FAILED))
                if after is not None:
                    statement = statement.where(_is_behind(table, *after))
                latest = statement.order_by(c.updated_at.desc(), table.key.desc()).limit(limit)
                for row in connection.execute(latest):
                    found.append(((row.updated_at, table.prefix, table.key_in(row)), self._letter(table, row)))
        return [letter for _, letter in heapq.nlargest(limit, found, key=itemgetter(0))]

    def _letter(self, table: JobTable, row: Any) -> DeadLetter:
        delivery = self._broker._claiming.delivery_of(table, row)
        outcome = outcome_of(self._operating.outcomes, table, row)
        return DeadLetter(delivery.id, row.updated_at.timestamp(), delivery.sealed, outcome)

    async def dead_letter(self, id: str) -> DeadLetter | None:
        found = await self._broker._do(self._operating.read, [id])
        if id not in found or found[id][1].status != Status.FAILED:
            return None
        return self._letter(*found[id])

    async def rejected(self) -> int:
        return 0

    async def unrecorded(self) -> int:
        return 0


def _queue_info(name: str, counts: Counter[str], guessed: Sequence[str]) -> QueueInfo:
    return QueueInfo(
        name,
        counts["pending"],
        counts["running"],
        counts["scheduled"],
        dead=counts["dead"],
        consumers=counts["consumers"],
        estimates=tuple(guessed),
    )


def _may_have(table: JobTable, wanted: JobFilter) -> bool:
    """Whether rows of a table may match; each table has one queue and one task."""
    return wanted.queue in (None, table.facts.queue) and wanted.task in (None, table.facts.task)


def _is_behind(table: JobTable, at: float, id: str) -> sa.ColumnElement[bool]:
    """Whether a row comes behind this place in the list of dead letters: by time, table and key, the latest first."""
    c = table.table.c
    moment = sa.literal(datetime.fromtimestamp(at, UTC), c.updated_at.type)
    if not id.startswith(table.prefix):
        return c.updated_at <= moment if table.prefix < id else c.updated_at < moment
    key = sa.literal(table.key_of(id), table.key.type)
    return sa.tuple_(c.updated_at, table.key) < sa.tuple_(moment, key)


def _read_place(table: JobTable, place: Place) -> tuple[datetime, Any]:
    try:
        _, due_at, key = place
        return datetime.fromisoformat(due_at), table.key_of(table.id_of(key))
    except (TypeError, ValueError):
        raise unknown_place(cursor_of(place)) from None


def _count(connection: Connection, table: JobTable, statuses: Sequence[Status]) -> tuple[int, bool]:
    """The number of rows with one of these statuses, and whether it is an estimate."""
    rows = sa.select(sa.literal(1)).select_from(table.table).where(is_status(table.table, *statuses))
    some = sa.select(sa.func.count()).select_from(rows.limit(COUNTED + 1).subquery())
    found: int = connection.execute(some).scalar_one()
    if found <= COUNTED:
        return found, False
    if connection.dialect.name == "sqlite":
        # It keeps no statistics. A count of a partial index reads that index alone.
        return connection.execute(sa.select(sa.func.count()).select_from(rows.subquery())).scalar_one(), False
    text = rows.compile(connection, compile_kwargs={"literal_binds": True})
    plan = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {text}").scalar_one()
    return max(found, int(plan[0]["Plan"]["Plan Rows"])), True


def _facts_of(facts: bytes | None) -> dict[str, object]:
    try:
        return msgspec.msgpack.decode(facts or b"\x80", type=dict[str, object])
    except msgspec.DecodeError:
        return {}


def _served(worker: WorkerInfo) -> Sequence[str]:
    return queues_of(msgspec.msgpack.encode(worker.facts))


def _journal_warnings(mode: str) -> list[str]:
    if mode == "wal":
        return []
    return [f"The SQLite file is in journal_mode={mode}: readers and writers wait for each other. Use WAL."]
