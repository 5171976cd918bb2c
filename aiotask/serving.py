"""The parts of an app that only reach out when they are used: a worker in this event loop, and an inspector."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from .brokers.address import Address
from .brokers.sql.address import DatabaseAddress
from .depends import Injection
from .functions.modules import import_included
from .loops.async_block import async_block
from .middleware import Hooks
from .options import check_name
from .tasks import Registry
from .wire.serializer import Serializer

if TYPE_CHECKING:
    from .inloop.worker import InLoopWorker
    from .inspector import Inspector

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
    #: How many workers of the app run in event loops of this process.
    _workers_here = 0

    @property
    def url(self) -> str:
        """The address of the broker, including its password."""
        return self.address.locate()[0]

    if TYPE_CHECKING:

        @property
        def serializer(self) -> Serializer: ...

    @async_block
    async def inspector(self) -> AsyncIterator[Inspector]:
        """An ``async with`` block with an Inspector, which reads queues, jobs and workers without changing them."""
        from .brokers import connect, inspect

        broker = connect(self.url, self.name)
        try:
            await broker.open()
            yield inspect(broker)
        finally:
            await broker.close()

    @async_block
    async def worker(
        self,
        *,
        concurrency: int = 1,
        queues: Iterable[str] = (),
        max_in_flight: int = 100,
        result_db: str | Path | None = None,
        burst: bool = False,
    ) -> AsyncIterator[InLoopWorker]:
        """An ``async with`` block that runs a worker in the current event loop: for tests, notebooks and ``memory://``.

        The worker first imports the modules of ``include``; a thread of its own keeps its lease alive.

        Args:
            concurrency: number of sync jobs that run at a time, each in a thread. A thread cannot be interrupted, so
                the time limit of a sync job is checked when its function returns.
            queues: names of the queues to consume. Default: every queue that a task names, and ``default``.
            max_in_flight: number of async jobs that run at a time.
            result_db: path of the history file. Default: finished jobs are not recorded.
            burst: run until the queues are empty, then stop; ``await worker.finished()`` waits for that.

        Raises:
            ConfigError: a queue name is not valid, or the broker keeps no history for ``result_db``.
            ImportFailed: a module of ``include`` cannot be imported.
        """
        from .brokers import require
        from .brokers.technology import HISTORY
        from .history.recorder import Recorder
        from .inloop.worker import in_loop_worker
        from .worker.lifespan import opened_lifespan
        from .worker.surroundings import Served

        import_included(self.include)
        url, secrets = self.address.locate()
        if result_db is not None:
            require(url, HISTORY, "result_db")
        served = Served(
            self.registry,
            secrets,
            self.serializer,
            [check_name(queue, "a queue") for queue in queues] or self.registry.queues,
            middleware=self.hooks,
            lifespan=self.lifespan,
        )
        self._workers_here += 1
        try:
            async with (
                opened_lifespan(served),
                in_loop_worker(
                    served=served,
                    url=url,
                    name=self.name,
                    concurrency=concurrency,
                    max_in_flight=max_in_flight,
                    recorder=lambda path: Recorder(path, secrets, self.name),
                    result_db=Path(result_db) if result_db is not None else None,
                    burst=burst,
                    database=self.database.open if self.database else None,
                ) as worker,
            ):
                yield worker
        finally:
            self._workers_here -= 1
