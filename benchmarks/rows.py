"""Rows and the outbox, on SQLite and PostgreSQL: rates beside tasks on Redis, and how soon a commit becomes a start.

Where PostgreSQL is not installed, SQLite alone is measured.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from aiotask.sql import create_tables

from . import rows_beside
from .databases import databases
from .drain import drain
from .figure import Failed, Figure, percentile
from .fleet import fleet
from .plan import Plan
from .row_service import Starts, burst, service, starts
from .row_tasks import Outbox, Rows
from .tasks import Tasks

__all__ = ["measure"]

#: The rate of rows over that of tasks in the same repetition.
_RATES = {"SQLite": 1 / 6, "PostgreSQL": 1 / 15}
#: Milliseconds from the commit to the start of an idle row, p99; and of one that no session inserts.
_LATE = {"SQLite": 25.0, "PostgreSQL": 10.0}
_UNHEARD = 1_100.0
_COMMITS, _UNHEARD_COMMITS = 200, 12
#: Connections of a worker process: one that works and one that listens; one more while a run uses its session.
_CONNECTIONS = {"idle": 2.0, "a run uses its session": 3.0}
#: Seconds that workers may take until their connections are there.
_CONNECT_TIMEOUT = 120.0
#: Seconds for which their number stands still: workers and keeper each do something once a second.
_STEADY = 2.5


class Figures:
    """Values as they are measured, by the names of their figures, and the goals of these."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, str], list[float]] = {}
        self._goals: dict[tuple[str, str], tuple[float | None, bool]] = {}

    def note(self, name: str, unit: str, value: float, goal: float | None = None, *, more: bool = False) -> None:
        self._values.setdefault((name, unit), []).append(value)
        self._goals[name, unit] = goal, more

    def all(self) -> list[Figure]:
        return [
            Figure("rows", name, unit, values, *self._goals[name, unit])
            for (name, unit), values in self._values.items()
        ]


async def measure(plan: Plan) -> list[Figure]:
    found = Figures()
    with databases(plan.databases) as kinds, starts() as heard:
        if "PostgreSQL" in plan.databases and "PostgreSQL" not in kinds:
            plan.notes.append("PostgreSQL is not installed (initdb): rows were measured on SQLite alone.")
        plan.bar.expect(plan.reps * (2 + 4 * len(kinds)))
        for _ in range(plan.reps):
            tasks = await _rate_of_tasks(plan)
            for kind, create in kinds.items():
                _rates(plan, found, kind, create(), tasks)
                _idle(plan, found, kind, create(), heard)
                await _commits(plan, found, kind, create(), heard)
                await rows_beside.measure(plan, found.note, kind, create())
                plan.bar.step()
            if "PostgreSQL" in kinds:
                _connections(plan, found, kinds["PostgreSQL"]())
            plan.bar.step()
    return found.all()


# ---- rates


async def _rate_of_tasks(plan: Plan) -> float:
    """No-op tasks a second, by one worker process."""
    plan.bar.tell("tasks")
    tasks = Tasks(plan.server.url)
    async with tasks.app:
        with fleet(plan.server, 1) as workers:
            await drain(plan.server, workers, tasks, 1_000, is_async=False)
            return await drain(plan.server, workers, tasks, plan.jobs, is_async=False)


def _rates(plan: Plan, found: Figures, kind: str, database: str, tasks: float) -> None:
    rows = Rows(database)
    create_tables(rows.app)
    for name, model in (("sync", rows.sync), ("async", rows.asynchronous)):
        plan.bar.tell(f"{kind}: {name} no-op rows")
        with rows.app.session() as session:
            session.execute(sa.insert(model), [{} for _ in range(plan.jobs)])
        burst(database)
        rate = _rate(rows, model, plan.jobs)
        found.note(f"{kind}: {name} no-op rows, 1 process", "rows/s", rate)
        found.note(f"{kind}: {name} rows over sync tasks", "x", rate / tasks, _RATES[kind], more=True)
    plan.bar.step()


def _rate(rows: Rows, model: Any, jobs: int) -> float:
    """Rows a second from the first finish to the last, by the clock of the database."""
    with rows.app.session() as session:
        done = session.scalars(sa.select(model.updated_at).where(model.status == "SUCCESS")).all()
    first, last = min(done), max(done)
    if len(done) != jobs or first == last:
        raise Failed(f"{len(done)} of {jobs} rows have succeeded.")
    seconds: float = (last - first) / timedelta(seconds=1)
    return (len(done) - done.count(first)) / seconds


# ---- from the commit to the start


def _nap() -> None:
    """Long enough for a worker to be idle, and at no fixed moment of its looks."""
    time.sleep(random.uniform(0.02, 0.06))


def _took(commit: Callable[[], None], heard: Starts, count: int) -> list[float]:
    """Milliseconds from the end of each commit to the start of its job."""
    took = []
    for _ in range(count):
        _nap()
        commit()
        committed = time.monotonic()
        # A job may start before the commit has returned to the one who commits.
        took.append(max(0.0, 1_000 * (heard.next() - committed)))
    return took


def _note_times(found: Figures, what: str, took: list[float], goal: float | None) -> None:
    found.note(f"{what}, p50", "ms", percentile(took, 0.5))
    found.note(f"{what}, p99", "ms", percentile(took, 0.99), goal)


def _idle(plan: Plan, found: Figures, kind: str, database: str, heard: Starts) -> None:
    plan.bar.tell(f"{kind}: idle row to start")
    rows, commits = Rows(database), plan.scaled(_COMMITS, 20)
    create_tables(rows.app)

    def commit() -> None:
        with rows.app.session() as session:
            session.add(rows.starting())

    def commit_unheard() -> None:
        """As a program does that is not Python."""
        with rows.app.session() as session:
            session.execute(sa.text("INSERT INTO starting DEFAULT VALUES"))

    with service(database, "rows", socket=heard.path):
        _took(commit, heard, 5)
        _note_times(found, f"{kind}: commit to start of an idle row", _took(commit, heard, commits), _LATE[kind])
        if kind == "PostgreSQL":
            took = _took(commit_unheard, heard, plan.scaled(_UNHEARD_COMMITS, 3))
            _note_times(found, f"{kind}: the same without a hint", took, _UNHEARD)
    plan.bar.step()


async def _commits(plan: Plan, found: Figures, kind: str, database: str, heard: Starts) -> None:
    plan.bar.tell(f"{kind}: outbox commit to start")
    outbox, commits = Outbox(database, plan.server.url), plan.scaled(_COMMITS, 20)
    create_tables(outbox.app)

    def commit() -> None:
        with outbox.app.session() as session, outbox.app.in_transaction(session):
            outbox.start.options(ignore_result=True).apply_async()

    with service(database, "outbox", socket=heard.path, url=plan.server.url):
        _took(commit, heard, 5)
        _note_times(found, f"{kind}: outbox, commit to start", _took(commit, heard, commits), None)
    await outbox.app.client.close()
    plan.bar.step()


# ---- connections


def _connections(plan: Plan, found: Figures, database: str) -> None:
    plan.bar.tell("PostgreSQL: connections")
    rows = Rows(database)
    create_tables(rows.app)
    counts: dict[str, list[int]] = {"idle": [], "a run uses its session": []}
    for processes in (1, 3):
        with service(database, "rows", processes):
            _until(lambda: _count(rows, "aiotask_workers"), processes)
            counts["idle"].append(_steady(rows))
            with rows.app.session() as session:
                session.add_all(rows.keeping() for _ in range(processes))
            _until(lambda: _running(rows), processes)
            counts["a run uses its session"].append(_steady(rows))
    for what, (one, three) in counts.items():
        each = (three - one) / 2
        found.note(f"PostgreSQL: connections per worker process, {what}", "connections", each, _CONNECTIONS[what])
        if what == "idle":
            found.note("PostgreSQL: connections of the keeper", "connections", one - each)
    plan.bar.step()


def _count(rows: Rows, table: str) -> int:
    with rows.app.session() as session:
        return int(session.scalar(sa.text(f"SELECT count(*) FROM {table}")) or 0)


def _running(rows: Rows) -> int:
    with rows.app.session() as session:
        return session.query(rows.keeping).filter_by(status="RUNNING").count()


def _steady(rows: Rows) -> int:
    """Connections of all processes but this one, once their number does not change any more."""
    mine = "pid <> pg_backend_pid() AND datname = current_database()"
    last, since = -1, time.monotonic()
    deadline = since + _CONNECT_TIMEOUT
    while time.monotonic() - since < _STEADY:
        now = _count(rows, f"pg_stat_activity WHERE {mine}")
        if now != last:
            last, since = now, time.monotonic()
        if since > deadline:
            raise Failed("The number of connections does not stand still.")
        time.sleep(0.02)
    return last


def _until(ask: Callable[[], int], expected: int) -> None:
    deadline = time.monotonic() + _CONNECT_TIMEOUT
    while ask() != expected:
        if time.monotonic() > deadline:
            raise Failed(f"There were not {expected} of them after {_CONNECT_TIMEOUT:g} s.")
        time.sleep(0.02)
