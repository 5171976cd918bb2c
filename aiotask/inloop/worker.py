"""Workers inside the event loop of the user, with their keepers in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import secrets as random_source
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..broker import Broker
from ..brokers import history_of
from ..client.limits import declarer
from ..context import job_fields
from ..errors import BrokerError
from ..keeper.keeper import Keeper
from ..keeper.presence import Presence
from ..keeper.relay import Relay
from ..log.events import EventLog
from ..log.records import add_job_fields
from ..loops.agent import agent
from ..loops.async_block import async_block
from ..wire.control import Ask
from ..wire.serializer import check_annotations
from ..worker.declaring import Declarer
from ..worker.executor import Guard, call_sync
from ..worker.job_fork import end_copy
from ..worker.measures import MetricsTable
from ..worker.membership import Membership
from ..worker.patched import refuse_patched_threads
from ..worker.run import NoBoard, Run
from ..worker.seats import Seats
from ..worker.stop_condition import StopCondition
from ..worker.surroundings import Surroundings
from ..worker.sync_lane import SyncLane
from ..worker.unit import Unit
from ..worker.worker import Worker
from .job_fork import JobFork
from .report import in_loop_source
from .watch import InLoopWatch

if TYPE_CHECKING:
    from ..keeper.recording import Recorder

__all__ = ["InLoopWorker", "host_id", "in_loop_worker"]

#: Seconds that running jobs get to end when the ``async with`` block is left.
STOP_TIMEOUT = 10.0


def host_id() -> str:
    """A new, unique name for the host that this process is."""
    return f"{os.uname().nodename.split('.')[0][:40] or 'host'}-{os.getpid()}-{random_source.token_hex(3)}"


class InLoopWorker:
    """What ``app.worker()`` yields: a worker of the app's tasks, one of its rows, or both, as a task of this loop."""

    def __init__(self, workers: Sequence[Worker], until: StopCondition, task: asyncio.Task[None]) -> None:
        self._workers = workers
        self._until = until
        self._task = task

    @property
    def name(self) -> str:
        return self._workers[0].name

    @property
    def enlisted(self) -> asyncio.Event:
        """Set each time the broker knows the worker of the app under a new name."""
        return self._workers[0].enlisted

    @property
    def runs(self) -> int:
        """The number of runs that have ended."""
        return self._until.runs

    async def finished(self) -> None:
        """Return when a burst worker has emptied its queues."""
        await asyncio.shield(self._task)

    async def stop(self) -> None:
        """Claim no more and wait for what runs; after 10 s async jobs are cancelled and go back."""
        self.claim_no_more()
        done, _ = await asyncio.wait((self._task,), timeout=STOP_TIMEOUT)
        if not done:
            for worker in self._workers:
                worker.abort()
            done, _ = await asyncio.wait((self._task,), timeout=STOP_TIMEOUT)
            if not done:
                self._task.cancel()
                await asyncio.wait((self._task,))
        if not self._task.cancelled():
            self._task.result()

    def claim_no_more(self) -> None:
        """Let what runs end; ``finished`` returns then."""
        for worker in self._workers:
            worker.stop()


class _KeeperThread:
    """A keeper for each unit, with an event loop in a thread, so that a blocked user loop starves nothing."""

    def __init__(
        self, units: Sequence[Unit], host: str, recorder: Recorder | None, tables: Sequence[MetricsTable]
    ) -> None:
        self.watch = InLoopWatch()
        self._tables = tables
        self._units = units
        self._host = host
        self._recorder = recorder
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), name="aiotask-keeper", daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._ready.wait()

    async def _main(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        keepers = list(map(self._keeper, self._units, self._tables))
        self._ready.set()
        running = [agent(self.watch.run())]
        for unit, keeper in zip(self._units, keepers, strict=True):
            running.append(agent(keeper.run_for_ever(unit.connect_keeper)))
            running.append(agent(keeper.listen(lambda id: None, self.watch.snapshot, partial(self._obey, keeper))))
        await self._stop.wait()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for keeper in keepers:
            await keeper.leave(())
            await keeper.close()

    async def _obey(self, keeper: Keeper, ask: Ask) -> tuple[bool, str]:
        obeyed = self.watch.obey(ask)
        await keeper.report_now()
        return obeyed

    def _keeper(self, unit: Unit, table: MetricsTable) -> Keeper:
        # The tables of rows are their history.
        recorder = self._recorder if unit.rows is None else None
        reading = history_of(unit.connect_keeper()) if recorder is not None else None
        broker = unit.connect_keeper()
        relay = Relay(unit.send_to or broker, unit.app, unit.database) if unit.database is not None else None
        return Keeper(
            *(broker, unit.app, unit.served.secrets, self._host),
            reading=reading,
            recorder=recorder,
            relay=relay,
            source=in_loop_source(table, self._host, self.watch),
        )

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


async def _run_all(workers: Sequence[tuple[Worker, Broker]]) -> None:
    """Until all have ended. One that fails ends the others."""
    running = [agent(_run(*each)) for each in workers]
    try:
        await asyncio.gather(*running)
    finally:
        for each in running:
            each.cancel()
        await asyncio.gather(*running, return_exceptions=True)


@async_block
async def in_loop_worker(
    *,
    units: Sequence[Unit],
    concurrency: int,
    max_in_flight: int,
    recorder: Callable[[Path], Any] | None,
    result_db: Path | None,
    until: StopCondition,
) -> AsyncIterator[InLoopWorker]:
    """Run a worker for each unit in this loop while the block lasts."""
    for unit in units:
        check_annotations(unit.served.serializer, unit.served.registry)
    add_job_fields(job_fields)
    refuse_patched_threads()
    fork = JobFork()
    await fork.loops.add()
    host = host_id()
    presence = Presence(host)
    # The process group of this process, which includes the programs that tasks execute.
    presence.cells[0][0] = os.getpgrp()
    writer = recorder(result_db) if recorder is not None and result_db is not None else None
    tables = [MetricsTable() for _ in units]
    keeper = _KeeperThread(units, host, writer, tables)
    keeper.start()
    lane, guard, board = SyncLane(), Guard(), NoBoard()
    declaring = Declarer(declarer(units[0].app))
    around = Surroundings(
        lane, board, Seats(max_in_flight), until=until, declarer=declaring, is_drained=keeper.watch.is_drained
    )
    recorded = [writer is not None and unit.rows is None for unit in units]
    workers = [_worker(*each, around, host) for each in zip(units, recorded, tables, strict=True)]
    keeper.watch.workers = [worker for worker, _ in workers]
    threads = [
        threading.Thread(
            target=lane.serve,
            args=(max_in_flight + n, partial(_execute, board, guard, fork)),
            name=f"aiotask-sync-{n}",
            daemon=True,
        )
        for n in range(concurrency)
    ]
    for thread in threads:
        thread.start()
    here = InLoopWorker(keeper.watch.workers, until, agent(_run_all(workers)))
    try:
        up = asyncio.gather(*(agent(worker.up.wait()) for worker, _ in workers))
        await asyncio.wait((up, here._task), return_when=asyncio.FIRST_COMPLETED)
        up.cancel()
        yield here
    finally:
        try:
            await here.stop()
        finally:
            lane.stop()
            await keeper.end()
            for _, broker in workers:
                await broker.close()
            presence.remove()
            fork.loops.remove()


def _worker(unit: Unit, recorded: bool, table: MetricsTable, around: Surroundings, host: str) -> tuple[Worker, Broker]:
    """A worker of this loop, and its broker."""
    names, broker = unit.served.registry.names, unit.connect()
    facts = {"pid": os.getpid(), "host": host, "tasks": names, **unit.served.shown_queues, "kind": "in-loop"}
    facts |= {"python": platform.python_version(), **unit.registered}
    membership = Membership(
        broker, around.board, host=host, number="in-loop", facts=facts, recorded=recorded, source=unit.source
    )
    return Worker(unit.served, broker, membership, around, EventLog("aiotask"), sink=table.add), broker


def _execute(board: NoBoard, guard: Guard, fork: JobFork, run: Run) -> None:
    assert run.owner is not None
    call_sync(run, run.owner.serializer, board, guard)
    if fork.is_copy:
        # The task has forked and this is its child process, which takes no runs from the lane.
        end_copy(run)
