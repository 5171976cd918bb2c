"""The broker over the user's own tables: each verb is one short transaction of many rows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from ...broker import (
    BATCH_JOBS,
    Begin,
    Cancelled,
    Claim,
    Delivery,
    Finish,
    JobState,
    Liveness,
    Notice,
    Overflow,
    Push,
    Recovered,
    Replayed,
    Requeue,
    Room,
    Settled,
)
from ...errors import BrokerError, ConfigError, ConnectionLost
from ...job import Obituary
from ...wire.seal import Sealer
from .claimed import ClaimedRow
from .claiming import Claiming
from .database import Database
from .job_table import JobTable
from .keeping import Keeping
from .operating import Operating
from .settling import Settling
from .tables import Tables
from .wake import Wakeup

__all__ = ["RowBroker"]

T = TypeVar("T")

#: Seconds between two looks where no hint comes.
LOOK = 1.0
#: Seconds for which an empty claim counts as a look.
JUST_NOW = 0.05


class RowBroker:
    """Broker of the rows of one app. It has the core verbs; those of sending refuse, since an INSERT sends a row.

    All SQL runs in one thread, which the first verb starts, so after any fork.

    Args:
        app: the name of the app.
        tables: whose rows are jobs.
        own: aiotask's own tables.
        secret: seals envelopes and outcomes, which never leave this process.
        in_hand: where the rows of mapped classes that are claimed are kept for their runs.
        prepare: called, in the thread, before the first statement.
        closed: called as the broker is closed.
    """

    #: A claim goes from table to table in any case.
    by_queue = False

    def __init__(
        self,
        app: str,
        database: Database,
        tables: Sequence[JobTable],
        own: Tables,
        secret: str,
        *,
        in_hand: dict[str, ClaimedRow] | None = None,
        prepare: Callable[[], None] | None = None,
        closed: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.url = "rows://"
        self.app = app
        self.database = database
        self.tables = tables
        self.own = own
        rows: dict[str, ClaimedRow] = {} if in_hand is None else in_hand
        jobs, outcomes = Sealer([secret], "job"), Sealer([secret], "outcome")
        self._prepare = prepare
        self._closed = closed
        self._in_hand = rows
        self._settling = Settling(database, tables, rows, outcomes)
        self._claiming = Claiming(database, tables, own, rows, jobs)
        self._keeping = Keeping(database, tables, own, self._claiming.delivery_of)
        self._operating = Operating(database, self._settling.table_of, jobs, outcomes)
        self._wakeup = Wakeup(database, self._do)
        self._thread: ThreadPoolExecutor | None = None
        #: Whether the connection has broken since the last claim that was answered.
        self._broke = False
        #: When the last claim found nothing (monotonic).
        self._empty_at = 0.0
        self._is_woken = False

    async def _do(self, work: Callable[..., T], *args: Any) -> T:
        """Call a function in the thread of this broker."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="aiotask-rows")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work, *args)
        except ConnectionLost:
            self._broke = True
            raise
        except SQLAlchemyError as error:
            text = str(getattr(error, "orig", None) or error).strip()
            raise BrokerError(f"The database refused a statement of aiotask: {text}") from error

    # ---- life

    async def open(self) -> None:
        await self._do(self._open)

    def _open(self) -> None:
        if self._prepare is not None:
            self._prepare()
        self._keeping.check()

    async def close(self) -> None:
        self._wakeup.close()
        if self._closed is not None:
            await self._closed()
        if self._thread is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, self.database.dispose)
            self._thread.shutdown(wait=False)
            self._thread = None

    def abandon(self) -> None:
        self._thread = None

    # ---- sending

    async def push(
        self, client: str, sequence: int, batch: Sequence[Push], room: Room | None = None, drop: Sequence[Finish] = ()
    ) -> Overflow | None:
        raise ConfigError(_NOT_SENT)

    async def push_row(self, client: str, sequence: int, row: Sequence[Sequence[Push]]) -> int:
        raise ConfigError(_NOT_SENT)

    async def status(self, ids: Sequence[str], address: str = "") -> list[JobState]:
        return await self._do(self._operating.status, list(ids))

    async def listen(
        self, address: str, on_notices: Callable[[list[Notice]], None], on_subscribed: Callable[[], None]
    ) -> None:
        """Look once a second which of the rows in hand were cancelled, or moved otherwise, by a user.

        A row that was deleted runs to its end, which is dropped: a run may delete its own row. Rows send nothing, so a
        broker without rows in hand, as the keeper's, hears nothing.
        """
        on_subscribed()
        while True:
            await asyncio.sleep(LOOK)
            if self._in_hand and (ended := await self._ended()):
                on_notices([Notice(id) for id in ended])

    async def _ended(self) -> list[str]:
        try:
            return await self._do(self._operating.ended, list(self._in_hand))
        except BrokerError:
            # While the database is away; the other verbs report it.
            return []

    async def publish(self, address: str, notice: Notice) -> bool:
        return False

    async def cancel(self, id: str, outcome: bytes, result_ttl: float) -> Cancelled:
        return await self._do(self._operating.cancel, id)

    # ---- working

    async def enlist(self, incarnation: str, host: str, facts: bytes) -> None:
        await self._do(self._keeping.enlist, incarnation, host, facts)

    async def claim(
        self, incarnation: str, queues: Sequence[str], needs: Collection[str], limit: int, *, alone: bool = False
    ) -> Claim:
        self._wakeup.forget()
        claim = await self._do(self._claim, incarnation, list(queues), min(limit, BATCH_JOBS), alone)
        is_empty = not claim.deliveries and not claim.suspects and not alone and limit > 0
        self._empty_at = time.monotonic() if is_empty else 0.0
        if self._broke and not alone:
            self._broke = False
            return Claim(claim.deliveries, claim.liveness, claim.suspects, reconnected=True)
        return claim

    def _claim(self, incarnation: str, queues: list[str], limit: int, alone: bool) -> Claim:
        # In this thread: the loop would wait for the interpreter after each look at the file.
        self._wakeup.mark()
        return self._claiming.claim(incarnation, queues, limit, alone)

    async def wait(self, incarnation: str, queues: Sequence[str], needs: Collection[str], timeout: float) -> Claim:
        self._is_woken = False
        ends = time.monotonic() + timeout
        claim = Claim([])
        # A look that has just found nothing need not be repeated: what has happened since ends the wait.
        if time.monotonic() - self._empty_at > JUST_NOW:
            claim = await self._look(incarnation, queues)
        while not claim.deliveries and claim.liveness is Liveness.LIVE and not self._is_woken:
            left = ends - time.monotonic()
            if left <= 0 or not await self._wakeup.wait(left):
                break
            if not self._is_woken:
                claim = await self._look(incarnation, queues)
        return claim

    async def _look(self, incarnation: str, queues: Sequence[str]) -> Claim:
        claim = await self.claim(incarnation, queues, (), 1)
        return Claim(claim.deliveries, claim.liveness, reconnected=claim.reconnected)

    async def wake(self) -> None:
        self._is_woken = True
        self._wakeup.stir()

    async def adopt(self, incarnation: str, queues: Sequence[str], needs: Collection[str]) -> list[Delivery]:
        return await self._do(self._claiming.adopt, incarnation)

    async def begin(self, incarnation: str, batch: Sequence[Begin]) -> list[bool]:
        """Every row may run again: none of them runs once at most."""
        return [True] * len(batch)

    async def finish(
        self, incarnation: str, batch: Sequence[Finish], *, repeat: bool = False
    ) -> tuple[list[Settled], Liveness]:
        return await self._do(lambda: self._settling.finish(batch, repeat=repeat)), Liveness.LIVE

    async def requeue(
        self, incarnation: str, batch: Sequence[Requeue], *, repeat: bool = False
    ) -> tuple[list[Settled], Liveness]:
        return await self._do(lambda: self._settling.requeue(batch, repeat=repeat)), Liveness.LIVE

    async def reject(self, incarnation: str, batch: Sequence[tuple[Delivery, str]]) -> None:
        """Nothing: every row of a table is a job of this app."""

    async def parked(self, needs: Sequence[str]) -> list[str]:
        return []

    async def cancels(self, incarnation: str, ids: Sequence[str]) -> list[bytes | None]:
        return await self._do(self._operating.cancels, incarnation, list(ids))

    # ---- keeping

    async def renew(self, host: str, counter: int) -> Liveness:
        return await self._do(self._keeping.renew, host, counter)

    async def leases(self) -> dict[str, int]:
        return await self._do(self._keeping.leases)

    async def declare_dead(self, host: str, counter: int | None = None) -> bool:
        return await self._do(self._keeping.declare_dead, host, counter)

    async def recover(
        self,
        dead: str = "",
        *,
        blame: Collection[str] = (),
        reason: str = "",
        obituary: Obituary | None = None,
        keep: Collection[str] = (),
    ) -> Recovered:
        return await self._do(self._keeping.recover, dead, frozenset(blame), reason, frozenset(keep))

    async def promote(self, limit: int = BATCH_JOBS) -> tuple[int, float | None]:
        return await self._do(self._keeping.promote, limit)

    async def replay(self, ids: Sequence[str]) -> list[Replayed]:
        return await self._do(self._operating.replay, list(ids))

    async def discard(self, ids: Sequence[str]) -> list[Replayed]:
        return await self._do(self._operating.discard, list(ids))

    async def forget(self, ids: Sequence[str]) -> list[bool]:
        """Rows are the history themselves; the user deletes them."""
        return [False] * len(ids)


_NOT_SENT = "Rows are not sent to a broker: INSERT one into its table, as session.add(…) does."
