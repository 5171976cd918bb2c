"""The agent that sends what transactions have left in the outbox of an app's database."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from ..broker import Broker
from ..brokers import connect
from ..brokers.bounds import OUTBOX_CLIENT
from ..errors import BrokerError, ConfigError, ConnectionLost
from ..log.throttle import KEEPER_LOG_DELAY, ErrorReporter
from ..loops.delay import BrokerDelay

if TYPE_CHECKING:
    from ..brokers.sql.database import Database
    from ..brokers.sql.outbox import Batch, Outbox
    from ..brokers.sql.wake import Wakeup

__all__ = ["Relay"]

logger = logging.getLogger("aiotask.keeper")

T = TypeVar("T")

#: Seconds until the next look where no change in the database was noticed.
IDLE = 1.0
#: Seconds that a statement has to end when the relay is closed: a database that hangs must not hold up a stop.
CLOSE_TIMEOUT = 2.0


class Relay:
    """Sends the jobs in the outbox, in their order, and deletes what the broker has accepted.

    Any number of relays may work on one outbox. A batch keeps its random name until it is deleted, and the broker
    accepts each name once: so a relay that dies at any moment loses nothing and doubles nothing.

    Args:
        broker: to which jobs are sent: that of the keeper, or the URL of another one, which the relay contacts when it
            has found a job.
        open_database: finds the database, at the first tick; ConfigError ends the relay.
    """

    def __init__(self, broker: Broker | str, app: str, open_database: Callable[[], Database]) -> None:
        self._broker = broker
        #: A broker that the relay has connected to for itself.
        self._own: Broker | None = None
        self._app = app
        self._open = open_database
        self._parts: tuple[Outbox, Wakeup] | None = None
        #: All SQL runs in one thread; it is started with the first statement.
        self._thread = ThreadPoolExecutor(1, "aiotask-relay")
        self._delay = BrokerDelay()
        said = "Jobs of committed transactions cannot be sent; trying again: %s"
        self._report_error = ErrorReporter(logger, said, KEEPER_LOG_DELAY)
        #: Logs at once what does not pass by itself: that the table is missing, for instance. No worker looks there.
        self._report_refusal = ErrorReporter(logger, said)

    async def run(self) -> None:
        """Until cancelled."""
        try:
            if self._parts is None:
                self._parts = await self._in_thread(self._make_parts)
            outbox, wakeup = self._parts
            self._connect()
        except ConfigError as error:
            logger.error("Jobs of transactions are not being sent: %s", error)
            await asyncio.Event().wait()
            return
        while True:
            try:
                wakeup.forget()
                await self._in_thread(wakeup.mark)
                while await self.tick(outbox):
                    pass
            except Exception as error:
                # Also those of a driver: leases and recovery must not end with them.
                refused = isinstance(error, BrokerError) and not isinstance(error, ConnectionLost)
                (self._report_refusal if refused else self._report_error)(error)
                await self._delay.wait()
            else:
                self._delay.reset()
                await wakeup.wait(IDLE)

    def _make_parts(self) -> tuple[Outbox, Wakeup]:
        # SQLAlchemy comes with them: a keeper without a database does without it.
        database = self._open()
        from ..brokers.sql.outbox import Outbox
        from ..brokers.sql.wake import Wakeup

        _ = database.engine
        return Outbox(database, self._app), Wakeup(database, self._in_thread)

    async def tick(self, outbox: Outbox) -> bool:
        """Send one batch; return whether there was one."""
        batch = await self._in_thread(outbox.take)
        if batch is None:
            return False
        if batch.unreadable:
            logger.error(
                "%d jobs in aiotask_outbox cannot be read and stay there (seq %s): a later release of aiotask has "
                "written them, or something else.",
                len(batch.unreadable),
                ", ".join(map(str, batch.unreadable[:10])),
            )
        await self._send(outbox, batch)
        return True

    def _connect(self) -> Broker:
        """The broker, which is not contacted before the first call."""
        if not isinstance(self._broker, str):
            return self._broker
        if self._own is None:
            self._own = connect(self._broker, self._app)
        return self._own

    async def _send(self, outbox: Outbox, batch: Batch) -> None:
        broker = self._connect()
        if batch.pushes:
            await broker.push(OUTBOX_CLIENT + batch.name, 1, batch.pushes)
        await self._in_thread(lambda: outbox.delete(batch))
        if batch.pushes:
            with contextlib.suppress(BrokerError):
                # From now on the broker remembers the name as long as that of any client.
                await broker.push(OUTBOX_CLIENT + batch.name, 2, ())

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    async def close(self) -> None:
        """Close the connections that the relay has opened for itself, after a statement that is under way."""
        if self._parts is not None:
            self._parts[1].close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._in_thread(lambda: None)
        self._thread.shutdown(wait=False)
        if self._own is not None:
            await self._own.close()
