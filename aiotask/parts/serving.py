"""The parts of an app that only reach out when they are used: a worker in this event loop, and an inspector."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from ..brokers.address import Address
from ..brokers.sql.address import DatabaseAddress
from ..depends import Injection
from ..errors import ConfigError
from ..functions.modules import import_included
from ..loops.async_block import async_block
from ..middleware import Hooks
from ..tasks.task import Registry
from ..values.queue_order import EQUAL_TURNS, QueueOrder, parse_queues
from ..wire.serializer import Serializer

if TYPE_CHECKING:
    from ..client.client import Client
    from ..inloop.worker import InLoopWorker
    from ..inspector import Inspector
    from ..job import Status
    from ..sql.rows import Rows
    from ..worker.stop_condition import StopCondition

__all__ = ["Serving"]


class Serving:
    """The part of an app that runs a worker in this process, and reads what is on the broker."""

    name: str
    registry: Registry
    include: tuple[str, ...]
    address: Address
    database: DatabaseAddress
    hooks: Hooks
    lifespan: Injection
    rows: Rows | None
    result_ttl: float
    _client: Client | None
    #: How many workers of the app run in event loops of this process.
    _workers_here = 0

    @property
    def url(self) -> str:
        """The address of the broker, including its password."""
        return self.address.locate()[0]

    if TYPE_CHECKING:

        @property
        def serializer(self) -> Serializer: ...
        def _declaring(self, enlisted: asyncio.Event) -> AbstractAsyncContextManager[None]: ...
        def _hiding(self) -> AbstractAsyncContextManager[None]: ...

        @property
        def secrets(self) -> tuple[str, ...]: ...

    @async_block
    async def inspector(self) -> AsyncIterator[Inspector]:
        """An ``async with`` block with an Inspector, which reads queues, jobs and workers without changing them."""
        from ..brokers import connect, inspect

        broker = connect(self.url, self.name)
        try:
            await broker.open()
            yield inspect(broker)
        finally:
            await broker.close()

    async def cancel_jobs(
        self, *, queue: str | None = None, task: str | None = None, status: Status | None = None
    ) -> int:
        """Cancel every unfinished job that matches: those that have not started end at once, running ones are
        interrupted by their workers. Jobs that are sent meanwhile are not meant.

        It goes page by page, so the broker serves others in between; one that was interrupted may be repeated.

        Args:
            queue, task: names. Default: those of any queue and task.
            status: an unfinished one. Default: any.

        Returns:
            How many jobs were cancelled, or asked to end.

        Raises:
            ConfigError: the status is one of finished jobs.
        """
        from ..brokers import connect
        from ..client.bulk import Action, BulkAction
        from ..inspector import JobFilter

        broker, count = connect(self.url, self.name), 0
        try:
            await broker.open()
            wanted = JobFilter(status, queue, task)
            async for done in BulkAction(Action.CANCEL, wanted, broker, self.secrets, self.result_ttl).run():
                count = done.done
        finally:
            await broker.close()
        return count

    @async_block
    async def worker(
        self,
        *,
        concurrency: int = 1,
        queues: str | Iterable[str] = (),
        max_in_flight: int = 100,
        result_db: str | Path | None = None,
        burst: bool = False,
    ) -> AsyncIterator[InLoopWorker]:
        """An ``async with`` block that runs a worker in the current event loop: for tests, notebooks and ``memory://``.

        It runs the tasks and the rows of the app.

        The worker first imports the modules of ``include``; a thread of its own keeps its lease alive.

        Args:
            concurrency: number of sync jobs that run at a time, each in a thread. A thread cannot be interrupted, so
                the time limit of a sync job is checked when its function returns.
            queues: the queues to consume: names, which take equal turns; with weights, as in
                ``"critical:6,default:3,low:1"``; or in strict order, as in ``"critical>default>low"``. Default: every
                queue that a task names, and ``default``.
            max_in_flight: number of async jobs that run at a time.
            result_db: path of the history file. Default: finished jobs are not recorded.
            burst: run until the queues are empty, then stop; ``await worker.finished()`` waits for that.

        Raises:
            ConfigError: ``queues`` is not valid, or the broker keeps no history for ``result_db``.
            ImportFailed: a module of ``include`` cannot be imported.
        """
        from ..worker.stop_condition import StopCondition

        names, order = parse_queues(queues)
        async with self._worker(
            names,
            StopCondition(burst=burst, is_sending=self._is_sending),
            order=order,
            concurrency=concurrency,
            max_in_flight=max_in_flight,
            result_db=result_db,
        ) as worker:
            yield worker

    @async_block
    async def _worker(
        self,
        queues: Sequence[str],
        until: StopCondition,
        *,
        order: QueueOrder = EQUAL_TURNS,
        concurrency: int = 1,
        max_in_flight: int = 100,
        result_db: str | Path | None = None,
    ) -> AsyncIterator[InLoopWorker]:
        from ..brokers import require
        from ..brokers.technology import HISTORY
        from ..history.recorder import Recorder
        from ..inloop.worker import in_loop_worker
        from ..worker.lifespan import opened_lifespan
        from .units import no_queue, units_of

        import_included(self.include)
        units = units_of(self, queues, order=order)
        if not units:
            raise no_queue(self, queues)
        if result_db is not None and units[0].rows is None:
            require(self.url, HISTORY, "result_db")
        self._workers_here += 1
        try:
            async with (
                opened_lifespan(units[0].served),
                in_loop_worker(
                    units=units,
                    concurrency=concurrency,
                    max_in_flight=max_in_flight,
                    recorder=lambda path: Recorder(path, units[0].served.secrets, self.name),
                    result_db=Path(result_db) if result_db is not None and units[0].rows is None else None,
                    until=until,
                ) as worker,
                self._declaring(worker.enlisted),
                self._hiding(),
            ):
                yield worker
        finally:
            self._workers_here -= 1

    def work(self, limit: int | None = None, *, burst: bool = False, only: str | Iterable[str | type] = ()) -> int:
        """Run a worker in this thread until it is done: for scripts, cron jobs and tests.

        Without arguments it works until TERM or Ctrl-C; running jobs then end. Those two signals reach it in the main
        thread alone. Sync jobs run one at a time, in a thread of their own.

        Args:
            limit: number of jobs to claim at most; it waits for them, and returns when they have ended.
            burst: return when the queues are empty.
            only: names of queues, or row classes for theirs; with weights or in strict order as ``queues`` of
                ``worker``. Default: the queues of all tasks and rows of the app.

        Returns:
            The number of runs. A job that is retried counts each time.

        Raises:
            ConfigError: as ``worker``; ``limit`` is not a whole number from 1; an event loop runs in this thread.
            ImportFailed: a module of ``include`` cannot be imported.
        """
        from ..inloop.blocking import work_here
        from ..worker.stop_condition import StopCondition

        if limit is not None and (type(limit) is not int or limit < 1):
            raise ConfigError(f"limit={limit!r} is not a number of jobs. Give a whole number from 1, or None.")
        until = StopCondition(burst=burst, limit=limit, is_sending=self._is_sending)
        names, order = parse_queues([self._queue_of(each) for each in ([only] if isinstance(only, str) else only)])
        return work_here(lambda: self._worker(names, until, order=order))

    def _is_sending(self) -> bool:
        return self._client is not None and self._client.is_sending

    def _queue_of(self, named: str | type) -> str:
        if isinstance(named, str):
            return named
        for row in self.rows.registry if self.rows is not None else ():
            if (row.function.__module__, row.function.__qualname__) == (named.__module__, named.__qualname__):
                return row.queue
        raise ConfigError(f"only={named!r} is not a row class of this app. Decorate it with @app.row.")
