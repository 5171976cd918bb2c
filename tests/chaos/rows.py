"""Trials of rows: a database of the trial's own, what was inserted into it, and the judge of what became of it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence
from pathlib import Path
from random import Random
from types import ModuleType
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from aiotask.errors import BrokerError
from aiotask.sql import create_tables
from aiotask.worker.verdict import MAX_DEATHS

from ..postgres import PostgresServer, programs
from .checker import examine
from .ledger import Attempt
from .pills import WAYS
from .producer import ANYTHING, Sent
from .report import Report

if TYPE_CHECKING:
    from .arena import Arena
    from .deaths import Deaths
    from .trial import Tier

__all__ = ["RowScene", "a_database", "no_postgres", "over_databases", "row_scene", "unlucky"]

#: Distance between the ids of two databases, whose rows are in one ledger.
_APART = 1_000_000
#: Rows that a transaction inserts at most.
_TOGETHER = 100
_TICK = 0.05
_FINAL = ("SUCCESS", "FAILED", "CANCELLED")


def no_postgres() -> str:
    """What this machine lacks for a trial that needs PostgreSQL."""
    return "" if programs() is not None else "PostgreSQL is not installed on this machine (initdb)"


def a_database(rng: Random) -> str:
    """The kind of database for a trial that is performed on one."""
    return rng.choice(("sqlite", "sqlite" if no_postgres() else "postgresql"))


async def over_databases(
    arena: Arena,
    tier: Tier,
    play: Callable[[RowScene], Awaitable[object]],
    *,
    finished: Callable[[RowScene], None] | None = None,
    folder: Path | None = None,
    repeated: Collection[str] = (),
) -> Report:
    """Perform a trial on each database of its tier, and compare all witnesses at the end.

    Args:
        play: starts hosts, inserts rows and does harm. The rows that are left end after it.
        finished: called, in a thread, once the hosts of a scene have ended.
        folder: of the SQLite file; None: that of the trial.
        repeated: what those rows do that may run again without a death.
    """
    scenes = []
    async with contextlib.AsyncExitStack() as stack:
        for number, kind in enumerate(tier.databases):
            if kind == "postgresql" and no_postgres():
                continue
            scene = await stack.enter_async_context(row_scene(arena, kind, number * _APART, folder))
            scenes.append(scene)
            await play(scene)
            await scene.end(tier.patience)
            if finished is not None:
                await asyncio.to_thread(finished, scene)
        report = await examine(arena, settle=5.0)
    for scene in scenes:
        scene.judge(report, repeated)
    if len(scenes) < len(tier.databases):
        report.facts["postgresql"] = f"not tried: {no_postgres()}"
    return report


@contextlib.asynccontextmanager
async def row_scene(arena: Arena, kind: str, first: int = 0, folder: Path | None = None) -> AsyncIterator[RowScene]:
    """A new database, and its tables.

    Args:
        first: the number before that of the first row.
        folder: of the SQLite file; None: that of the trial.
    """
    server = None
    url = f"sqlite+aiosqlite:///{(folder or arena.directory) / 'rows.db'}"
    if kind == "postgresql":
        programs_of_server = programs()
        assert programs_of_server is not None
        # What is committed survives a crash of the server.
        server = PostgresServer(programs_of_server, "synchronous_commit=on")
    try:
        if server is not None:
            await asyncio.to_thread(server.start)
            url = server.create()
        scene = RowScene(arena, kind, url, first, server)
        await asyncio.to_thread(create_tables, scene.app)
        yield scene
        scene.app.database.open().dispose()
    finally:
        if server is not None:
            await asyncio.to_thread(server.remove)


class RowScene:
    """The trial over one database.

    Args:
        first: the number before that of the first row.
        server: of PostgreSQL; None: the database is a file of SQLite.
    """

    def __init__(self, arena: Arena, kind: str, url: str, first: int, server: PostgresServer | None) -> None:
        self.arena = arena
        self.kind = kind
        self.server = server
        arena.variables["CHAOS_DATABASE"] = url
        self.module: ModuleType = arena.load()
        self.app: Any = self.module.app
        #: Rows whose insertion was committed, and what each does, by the id of its job.
        self.inserted: dict[str, str] = {}
        self.failures: list[str] = []
        self.facts: dict[str, Any] = {}
        self._producer = arena.producer(self.module)
        self._numbers = itertools.count(first + 1)
        self._first_fault = len(arena.faults)
        #: At the end: the rows by the id of their jobs, and what runs have left in the sessions of their rows.
        self._rows: dict[str, Any] = {}
        self._left: list[Any] = []

    # ---- inserting

    async def stream(self, rows: int, seconds: float, rng: Random) -> None:
        """Insert so many rows of each kind, evenly over this time."""
        began, done = time.monotonic(), 0
        while done < rows:
            passed = min(1.0, (time.monotonic() - began) / seconds)
            count = min(int(passed * rows) - done, _TOGETHER)
            if count:
                await self.insert([_work(rng) for _ in range(count)])
                done += count
                self.arena.tell(f"{self.kind}: {len(self.arena.faults):,} faults", done, rows)
            else:
                await asyncio.sleep(_TICK)

    async def insert(self, works: Sequence[tuple[str, float]], patience: float = 60.0) -> list[str]:
        """The ids of new rows that do this, sync and async in turn; repeated until the database has them."""
        numbered = [(next(self._numbers), *work) for work in works]
        deadline = time.monotonic() + patience
        while True:
            try:
                await asyncio.to_thread(self._insert, numbered)
                break
            except (BrokerError, SQLAlchemyError):
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(_TICK)
        now = time.monotonic()
        ids = []
        for number, work, _ in numbered:
            id = f"{self._model(number).__tablename__}/{number}"
            ids.append(id)
            self.inserted[id] = work
            self._producer.sent[id] = Sent(id, work or "row", ANYTHING, False, now, "row", ended=True)
        return ids

    def sent(self, ids: Iterable[str]) -> list[Sent]:
        """These rows, as jobs that were sent."""
        return [self._producer.sent[id] for id in ids]

    def _model(self, number: int) -> Any:
        return self.module.Async if number % 2 else self.module.Plain

    def _insert(self, rows: list[tuple[int, str, float]]) -> None:
        """One transaction, whose commit may have succeeded although its answer was lost."""
        with self.app.session() as session:
            numbers = [number for number, _, _ in rows]
            known: set[int] = set()
            for model in (self.module.Plain, self.module.Async):
                known |= set(session.scalars(sa.select(model.id).where(model.id.in_(numbers))))
            session.add_all(
                self._model(number)(id=number, work=work, seconds=seconds)
                for number, work, seconds in rows
                if number not in known
            )

    # ---- watching

    async def until(self, there: Callable[[], bool], description: str, patience: float) -> None:
        """Return once that is so. While the database does not answer, it is not."""

        def look() -> bool:
            with contextlib.suppress(BrokerError, SQLAlchemyError):
                return there()
            return False

        try:
            async with asyncio.timeout(patience):
                while True:
                    began = time.monotonic()
                    if await asyncio.to_thread(look):
                        return
                    # Most of the time is for the workers: a look at many rows takes long.
                    await asyncio.sleep(max(_TICK, 5 * (time.monotonic() - began)))
        except TimeoutError:
            raise AssertionError(
                f"{self.kind}: waited {patience:g} s in vain until {description}; {self.statuses()}"
            ) from None

    async def all_ended(self, patience: float) -> None:
        """Return once every row has ended; fail if none has ended for that many seconds."""
        known = -1

        def there() -> bool:
            nonlocal known
            before, known = known, self.ended()
            return known == len(self.inserted) or known > before

        while known != len(self.inserted):
            await self.until(there, "another row has ended", patience)

    def statuses(self) -> Counter[str]:
        """How many rows have each status, as the database says now."""
        found: Counter[str] = Counter()
        with self.app.database.open().reading() as connection:
            for model in (self.module.Plain, self.module.Async):
                counted = sa.select(model.status, sa.func.count()).group_by(model.status)
                found.update({status: count for status, count in connection.execute(counted)})
        return found

    def ended(self) -> int:
        """How many rows have ended."""
        statuses = self.statuses()
        return sum(statuses[status] for status in _FINAL)

    def _dead_hosts(self) -> list[str]:
        """Hosts that the database still has. A name ends with the process id of the supervisor and a random part."""
        # One that has just been killed may still be seen.
        living = {str(host.pid) for host in self.arena.living() if not host.killed}
        with self.app.database.open().reading() as connection:
            names = [row.host for row in connection.execute(self.app.rows.own.hosts.select())]
        return [name for name in names if name.split("-")[-2] not in living]

    # ---- the end

    async def settle(self, patience: float) -> None:
        """Wait for the rows that are left."""
        await self.all_ended(patience)
        # A dead host is noticed by another one.
        await self.until(lambda: not self._dead_hosts(), "dead hosts are forgotten", patience)

    async def end(self, patience: float) -> None:
        """Wait for the rows that are left, stop the hosts, and read what the database has."""
        await self.settle(patience)
        for host in self.arena.hosts:
            if host.alive:
                code = await asyncio.to_thread(host.supervisor.stop, timeout=45.0)
                host.killed = True
                if code:
                    self.failures.append(f"{self.kind}: a supervisor ended with {code}: {host.supervisor.log_path}")
        await asyncio.to_thread(self.take_stock)

    def read(self) -> dict[str, Any]:
        """The rows by the id of their jobs, as the database has them now."""
        with self.app.session() as session:
            models = (self.module.Plain, self.module.Async)
            return {
                f"{row.__tablename__}/{row.id}": row for model in models for row in session.scalars(sa.select(model))
            }

    def take_stock(self) -> None:
        """Read what the database has, once all hosts have ended."""
        self._rows = self.read()
        with self.app.session() as session:
            self._left = list(session.scalars(sa.select(self.module.Left)))
            for name in ("workers", "hosts"):
                left = session.execute(getattr(self.app.rows.own, name).select()).all()
                if left:
                    self.failures.append(f"{self.kind}: no host is left, but aiotask_{name} has {left[:3]}")
            if self.kind == "sqlite":
                said = list(session.scalars(sa.text("PRAGMA integrity_check")))
                if said != ["ok"]:
                    self.failures.append(f"integrity_check: {said[:3]}")
            session.expunge_all()

    # ---- judging

    def judge(self, report: Report, repeated: Collection[str] = ()) -> None:
        """Compare the rows with the runs of the ledger."""
        runs = self.arena.ledger().by_job
        left = Counter(each.row for each in self._left)
        report.accepted += len(self.inserted)
        for id, work in self.inserted.items():
            _judge(id, work, self._rows.get(id), runs.get(id, []), left[id], report)
        self._judge_left(report)
        self._judge_repeats(report, repeated)
        self._note_facts(report, runs)
        report.failures += self.failures

    def _judge_repeats(self, report: Report, allowed: Collection[str]) -> None:
        """No row runs again without a death, unless it is one of those that may."""
        known = {text: self.inserted.get(text.split()[0]) for text in report.undue_runs}
        found = [f"{work} {text}" for text, work in known.items() if work is not None and work not in allowed]
        report.require(not found, f"{len(found)} rows ran again without a death: {found[:3]}")

    def _judge_left(self, report: Report) -> None:
        """What a run has left in its session is there only if that run has ended well."""
        attempts = self.arena.ledger().attempts
        for each in self._left:
            run = attempts.get(each.token)
            if run is None or run.id != each.row or run.outcome != "ok":
                report.phantom.append(f"{each.row} has left {each.token} without such a run")

    def _note_facts(self, report: Report, runs: dict[str, list[Attempt]]) -> None:
        mine = sum(len(runs.get(id, ())) for id in self.inserted)
        deaths = sum(row.deaths for row in self._rows.values())
        again = sum(len(runs.get(id, ())) - 1 - (work == "fail") for id, work in self.inserted.items())
        report.facts[self.kind] = (
            f"{len(self.inserted):,} rows, {mine:,} runs ({again:,} unplanned), {deaths:,} deaths with a row"
        )
        report.facts |= {f"{self.kind}, {name}": value for name, value in self.facts.items()}


def _work(rng: Random) -> tuple[str, float]:
    """What one of many rows does: most do nothing, some take their time, use their session or fail once."""
    kind = rng.random()
    if kind < 0.04:
        return "", rng.uniform(0.005, 0.05)
    return ("leave" if kind < 0.09 else "fail" if kind < 0.12 else ""), 0.0


def _judge(id: str, work: str, row: Any, runs: list[Attempt], left: int, report: Report) -> None:
    """One row: it has ended, and its columns were changed by one run."""
    if row is None or row.status not in _FINAL:
        report.lost.append(f"{id} {work}: {row and row.status}, {len(runs)} runs")
        return
    said = f"{id} {work}: {row.status}, counter {row.counter}, left {left}, errors {row.errors}, {len(runs)} runs"
    good = work not in WAYS
    if row.counter > good or left > 1:
        report.doubled.append(said)
    elif row.status != ("SUCCESS" if good else "FAILED") or row.counter != good or left != (work == "leave"):
        report.wrong.append(f"{said}: {row.last_error}")
    elif row.errors != (work == "fail"):
        report.wrong.append(f"{said}: error() was saved {row.errors} times")
    elif good and not any(run.outcome == "ok" for run in runs):
        report.phantom.append(f"{said}: no run has ended well")


def unlucky(arena: Arena) -> list[str]:
    """Jobs that so many processes died with that they were given up by contract.

    A process may die between the end of a run of a row and its commit: for a row, its processes count."""
    jobs = arena.ledger().by_job
    return [id for id, runs in jobs.items() if _deaths_with(id, runs, arena.deaths) >= MAX_DEATHS]


def _deaths_with(id: str, runs: list[Attempt], deaths: Deaths) -> int:
    if "/" in id:
        return len({run.pid for run in runs})
    return sum(map(deaths.took, runs))
