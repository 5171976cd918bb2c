"""The time of a claim of rows: beside many rows that have ended or are scheduled, and behind a snapshot that is held.

Claims go through the broker of the rows in this process, as the claims of a worker do.
"""

from __future__ import annotations

import statistics
import time
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import sqlalchemy as sa

from aiotask.broker import Broker
from aiotask.sql import create_tables

from .plan import Plan
from .row_tasks import Rows

__all__ = ["measure"]

_ENDED, _SCHEDULED, _BEHIND = 200_000, 50_000, 200_000
#: Rows of a claim, and claims of a sample.
_BATCH, _CLAIMS = 100, 40
_ME = "bench.1"
#: A claim is at most so many times that of an empty table.
_GOAL = 2.0


class Note(Protocol):
    def __call__(self, name: str, unit: str, value: float, goal: float | None = None) -> None: ...


class Claims:
    """A worker that claims rows and ends them, but runs none."""

    def __init__(self, database: str) -> None:
        self.rows = Rows(database)
        create_tables(self.rows.app)
        assert self.rows.app.rows is not None
        self._broker: Broker = self.rows.app.rows.broker()
        self._model: Any = self.rows.sync

    async def open(self) -> None:
        await self._broker.open()
        await self._broker.enlist(_ME, "bench", b"\x80")

    async def close(self) -> None:
        await self._broker.close()

    def fill(self, status: str, rows: int, due: datetime | None = None) -> None:
        values = {"status": status, **({"due_at": due} if due else {})}
        with self.rows.app.session() as session:
            for start in range(0, rows, 10_000):
                session.execute(sa.insert(self._model), [dict(values) for _ in range(min(10_000, rows - start))])

    async def take(self) -> float:
        """Milliseconds of a claim of waiting rows that were inserted for it; they end then."""
        self.fill("PENDING", _BATCH)
        began = time.perf_counter()
        claim = await self._broker.claim(_ME, ["syncs"], (), _BATCH)
        took = 1_000 * (time.perf_counter() - began)
        assert len(claim.deliveries) == _BATCH
        with self.rows.app.session() as session:
            keys = [int(each.id.partition("/")[2]) for each in claim.deliveries]
            running = sa.update(self._model).where(self._model.id.in_(keys))
            session.execute(running.values(status="SUCCESS"), execution_options={"synchronize_session": False})
        return took

    async def median(self, claims: int) -> float:
        return statistics.median([await self.take() for _ in range(claims)])


async def measure(plan: Plan, note: Note, kind: str, database: str) -> None:
    """Note the figures of one repetition."""
    claims, sample = Claims(database), plan.scaled(_CLAIMS, 10)
    await claims.open()
    try:
        plan.bar.tell(f"{kind}: claims beside other rows")
        await claims.median(sample)
        alone = await claims.median(sample)
        note(f"{kind}: claim of {_BATCH} rows", "ms", alone)
        ended, scheduled = plan.scaled(_ENDED), plan.scaled(_SCHEDULED)
        claims.fill("SUCCESS", ended)
        # Not measured: the database is busy with writing what was inserted.
        await claims.median(sample)
        note(f"{kind}: claim beside {ended:,} rows that have ended", "x", await claims.median(sample) / alone, _GOAL)
        claims.fill("SCHEDULED", scheduled, datetime.now(UTC) + timedelta(days=1))
        await claims.median(sample)
        note(f"{kind}: claim beside {scheduled:,} scheduled rows too", "x", await claims.median(sample) / alone, _GOAL)
        if kind == "PostgreSQL":
            plan.bar.tell(f"{kind}: claims behind a held snapshot")
            behind = await _behind_snapshot(claims, plan.scaled(_BEHIND // _BATCH, 5))
            note(f"{kind}: claim behind a held snapshot", "x", behind / alone, _GOAL)
    finally:
        await claims.close()
    plan.bar.step()


async def _behind_snapshot(claims: Claims, count: int) -> float:
    """The median of the last fifth of so many claims, while another transaction may see all versions of their rows."""
    engine = claims.rows.app.database.open().engine
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as snapshot:
        snapshot.execute(sa.text("SELECT count(*) FROM syncs"))
        took = [await claims.take() for _ in range(count)]
        snapshot.rollback()
    return statistics.median(took[-len(took) // 5 :])
