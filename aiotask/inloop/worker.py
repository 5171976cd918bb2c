"""A worker inside the event loop of the user, with its keeper in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import secrets as random_source
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..broker import Broker
from ..brokers import connect, history_of
from ..context import job_fields
from ..errors import BrokerError
from ..keeper.keeper import Keeper
from ..keeper.presence import Presence
from ..keeper.relay import Relay
from ..log.events import EventLog
from ..log.records import add_job_fields
from ..loops.agent import agent
from ..loops.async_block import async_block
from ..wire.serializer import check_annotations
from ..worker.executor import Guard, call_sync
from ..worker.membership import Membership
from ..worker.patched import refuse_patched_threads
from ..worker.run import NoBoard
from ..worker.seats import Seats
from ..worker.surroundings import Served, Surroundings
from ..worker.sync_lane import SyncLane
from ..worker.worker import Worker
from .watch import InLoopWatch

if TYPE_CHECKING:
    from ..brokers.sql.database import Database
    from ..keeper.recording import Recorder

__all__ = ["InLoopWorker", "host_id", "in_loop_worker"]

#: Seconds that running jobs get to end when the ``async with`` block is left.
STOP_TIMEOUT = 10.0


def host_id() -> str:
    """A new, unique name for the host that this process is."""
    return f"{os.uname().nodename.split('.')[0][:40] or 'host'}-{os.getpid()}-{random_source.token_hex(3)}"


class InLoopWorker:
    """What ``app.worker()`` yields: a worker that runs as a task of this loop."""

    def __init__(self, worker: Worker, task: asyncio.Task[None]) -> None:
        self._worker = worker
        self._task = task

    @property
    def name(self) -> str:
        return self._worker.name

    async def finished(self) -> None:
        """Return when a burst worker has emptied its queues."""
        await asyncio.shield(self._task)

    async def stop(self) -> None:
        """Claim no more and wait for what runs; after 10 s async jobs are cancelled and go back."""
        self._worker.stop()
        done, _ = await asyncio.wait((self._task,), timeout=STOP_TIMEOUT)
        if not done:
            self._worker.abort()
            done, _ = await asyncio.wait((self._task,), timeout=STOP_TIMEOUT)
            if not done:
                self._task.cancel()
                await asyncio.wait((self._task,))
        if not self._task.cancelled():
            self._task.result()


class _KeeperThread:
    """A keeper with an event loop in a thread, so that a blocked user loop starves nothing."""

    def __init__(
        self,
        url: str,
        app: str,
        secrets: Sequence[str],
        host: str,
        recorder: Recorder | None,
        database: Callable[[], Database] | None,
    ) -> None:
        self.watch = InLoopWatch()
        self._args = (url, app, secrets, host, recorder, database)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), name="aiotask-keeper", daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._ready.wait()

    async def _main(self) -> None:
        url, app, secrets, host, recorder, database = self._args
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        reading = history_of(connect(url, app)) if recorder is not None else None
        broker = connect(url, app)
        relay = Relay(broker, app, database) if database is not None else None
        keeper = Keeper(broker, app, secrets, host, reading=reading, recorder=recorder, relay=relay)
        self._ready.set()
        keeping = keeper.run_for_ever(lambda: connect(url, app))
        agents = (keeping, keeper.listen(lambda id: None, self.watch.snapshot), self.watch.run())
        running = [agent(each) for each in agents]
        await self._stop.wait()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await keeper.leave(())
        await keeper.close()

    async def end(self) -> None:
        assert self._loop is not None and self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        await asyncio.to_thread(self._thread.join, STOP_TIMEOUT)


async def _run(worker: Worker, broker: Broker) -> None:
    await worker.run()
    # A burst worker ends before its block does: until then no caller must find it among the live workers.
    if worker.incarnation:
        with contextlib.suppress(BrokerError):
            await broker.recover(worker.incarnation)


@async_block
async def in_loop_worker(
    *,
    served: Served,
    url: str,
    name: str,
    concurrency: int,
    max_in_flight: int,
    recorder: Callable[[Path], Any] | None,
    result_db: Path | None,
    burst: bool,
    database: Callable[[], Database] | None = None,
) -> AsyncIterator[InLoopWorker]:
    """Run a worker in this loop while the block lasts.

    Args:
        database: finds the app's database, from whose outbox jobs are sent; None: the app has none.
    """
    registry, secrets, serializer, queues = served.registry, served.secrets, served.serializer, served.queues
    check_annotations(serializer, registry)
    add_job_fields(job_fields)
    refuse_patched_threads()
    host = host_id()
    presence = Presence(host)
    # The process group of this process, which includes the programs that tasks execute.
    presence.cells[0][0] = os.getpgrp()
    writer = recorder(result_db) if recorder is not None and result_db is not None else None
    keeper = _KeeperThread(url, name, secrets, host, writer, database)
    keeper.start()
    broker = connect(url, name)
    lane = SyncLane()
    guard, board = Guard(), NoBoard()
    facts = {"pid": os.getpid(), "host": host, "tasks": registry.names, "queues": list(queues), "kind": "in-loop"}
    facts |= {"python": platform.python_version()}
    worker = Worker(
        served,
        broker,
        Membership(broker, board, host=host, number="in-loop", facts=facts, recorded=writer is not None),
        Surroundings(lane, board, Seats(max_in_flight)),
        EventLog("aiotask"),
        burst=burst,
    )
    keeper.watch.worker = worker
    threads = [
        threading.Thread(
            target=lane.serve,
            args=(max_in_flight + n, lambda run: call_sync(run, serializer, board, guard)),
            name=f"aiotask-sync-{n}",
            daemon=True,
        )
        for n in range(concurrency)
    ]
    for thread in threads:
        thread.start()
    here = InLoopWorker(worker, agent(_run(worker, broker)))
    try:
        up = agent(worker.up.wait())
        await asyncio.wait((up, here._task), return_when=asyncio.FIRST_COMPLETED)
        up.cancel()
        yield here
    finally:
        try:
            await here.stop()
        finally:
            lane.stop()
            await keeper.end()
            await broker.close()
            presence.remove()
