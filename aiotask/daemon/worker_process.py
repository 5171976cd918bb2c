"""One worker process: the main thread runs sync jobs, a loop thread does everything else."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from ..app import App
from ..context import job_fields
from ..errors import AiotaskError, ConfigError
from ..functions.loading import log_when_slow
from ..importer import load_apps
from ..log.events import EventLog
from ..log.records import add_job_fields
from ..log.setup import adopt_root, configure, divert, tend
from ..log.streams import fill_standard
from ..loops.agent import agent
from ..wire.serializer import check_annotations
from ..worker.budget import PeakMemory, resident
from ..worker.declaring import Declarer
from ..worker.executor import call_sync, text_of
from ..worker.job_fork import end_copy
from ..worker.membership import Membership
from ..worker.patched import refuse_patched_threads
from ..worker.run import Run
from ..worker.seats import Seats
from ..worker.stacks import awaits
from ..worker.stop_condition import StopCondition
from ..worker.surroundings import Hooks, Surroundings
from ..worker.suspects import Solitude
from ..worker.sync_lane import SyncLane
from ..worker.worker import Worker
from .board import HEARTBEAT_INTERVAL, SharedBoard
from .declared import declare_when_up
from .folders import enter_folder
from .fork import Exit, in_a_line
from .health.vitals import Vitals
from .in_service import in_service
from .interrupts import MainThreadInterrupts
from .job_context import initial_context
from .job_fork import JobFork
from .lag import Lag
from .leftovers import find_leftovers
from .lifespans import Lifespans
from .messages import (
    Booted,
    DeclaredDead,
    Done,
    Drain,
    DumpStacks,
    LoadFailed,
    LoopBroke,
    Oversized,
    ReportSuspended,
    Steered,
    SuspendedJob,
    SuspendedJobs,
    WantsReplacement,
    read_messages,
    send_message,
)
from .own_signals import ALARMS, OwnSignals
from .release import Release
from .served_units import ServedUnit, is_sending, served_units
from .settings import WorkerSettings
from .watch.oom_kills import go_first
from .watch.stack_file import Stacks
from .watch.stderr_file import LastWords
from .worker_loop import log_fault, log_left, run_loop

__all__ = ["WorkerResources", "run_worker"]

logger = logging.getLogger("aiotask.worker")


@dataclass(frozen=True, slots=True)
class WorkerResources:
    """What one worker process is given: its board, its ends of two pipes, its names, files for its stacks and for
    its last words."""

    board: SharedBoard
    number: int
    host: str
    #: Read: messages of the supervisor. Write: messages to it.
    commands: int
    reports: int
    stacks: Stacks
    words: LastWords
    #: When the code was started that this process loads.
    release: Release
    #: The supervisor's page.
    vitals: Vitals


#: Signals that a worker process handles itself.
_OURS = {signal.SIGTERM, signal.SIGINT, *ALARMS}


def run_worker(settings: WorkerSettings, resources: WorkerResources, preloaded: Sequence[App] | None) -> int:
    """The life of a worker process; the exit code."""
    name = f"worker-{resources.number}"
    configure(settings.log_json, settings.log_level, process=name)
    resources.board.settle_in(os.getpid())
    resources.stacks.record()
    go_first()
    is_loaded = False
    try:
        enter_folder(settings)
        with log_when_slow(", ".join(settings.apps)):
            apps = list(preloaded) if preloaded is not None else load_apps(settings.apps, settings.app_dir)
        for app in apps:
            check_annotations(app.serializer, app.registry)
        refuse_patched_threads()
        is_loaded = True
        lifespans = Lifespans(apps)
        units = served_units(lifespans.by_app, settings)
    except Exception as error:
        text = str(error) if isinstance(error, AiotaskError) else f"{type(error).__name__}: {error}"
        # Until then it is the code of the app that is wrong.
        misused = is_loaded and isinstance(error, ConfigError)
        send_message(resources.reports, LoadFailed(text, misused))
        return Exit.MISUSED if misused else Exit.BOOT
    adopt_root(settings.log_level)
    add_job_fields(job_fields, name)
    # The app may have asked for the signals, and the stacks, itself.
    resources.stacks.record()
    booted = Booted([unit.facts for unit in units])
    if lifespans.is_empty:
        send_message(resources.reports, booted)
    try:
        return WorkerProcess(settings, resources, units, lifespans, booted).run()
    except BaseException as error:
        send_message(resources.reports, LoopBroke(in_a_line(error)))
        raise


class WorkerProcess:
    """Threads, pipes and signals of one worker process around its workers (one per unit)."""

    def __init__(
        self,
        settings: WorkerSettings,
        resources: WorkerResources,
        units: Sequence[ServedUnit],
        lifespans: Lifespans,
        booted: Booted,
    ) -> None:
        self._settings = settings
        self._lifespans = lifespans
        self._booted = booted
        self._resources = resources
        self._units = units
        self._lane = SyncLane(PeakMemory())
        self._workers: list[Worker] = []
        # Slots on the board for async jobs of all apps; the first ones are those of the threads.
        self._seats = Seats(settings.max_in_flight, settings.threads)
        self._solitude = Solitude()
        self._until = StopCondition(burst=settings.burst, is_sending=partial(is_sending, units))
        self._declarer = Declarer(" ".join(settings.apps), resources.release.began)
        self._code = Exit.DONE
        self._full = self._draining = False
        self._buffer = bytearray()
        # A Python signal handler does not run while the main thread is in C; the loop thread reads a byte in a socket
        # all the same.
        self._wakeup, wakeup_end = socket.socketpair()
        self._wakeup.setblocking(False)
        wakeup_end.setblocking(False)
        self._signals = OwnSignals(wakeup_end, resources.stacks)
        self._interrupts = MainThreadInterrupts(resources.board, self._signals)
        self._fork = JobFork(resources.board, _OURS, (resources.commands, resources.reports))
        self._fork.register()

    def run(self) -> int:
        # The alarm of a time limit is for the main thread alone; threads inherit this.
        signal.pthread_sigmask(signal.SIG_BLOCK, ALARMS)
        context = initial_context()
        for slot in range(1, self._settings.threads):
            serve = partial(context.copy().run, self._lane.serve, slot, self._execute)
            threading.Thread(target=serve, name=f"sync-{slot}", daemon=True).start()
        loop_thread = threading.Thread(target=partial(context.copy().run, self._loop), name="loop", daemon=True)
        loop_thread.start()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ALARMS)
        context.run(self._lane.serve, 0, self._execute)
        loop_thread.join()
        return self._code

    def _execute(self, run: Run) -> None:
        assert run.owner is not None
        call_sync(run, run.owner.serializer, self._resources.board, self._interrupts)
        if self._fork.is_copy:
            # The task has forked and this is its child process, which takes no runs from the lane.
            end_copy(run)

    # ---- the loop thread

    def _loop(self) -> None:
        try:
            run_loop(self._main(), log_left)
        except BaseException as error:
            # At once: tasks that would be cancelled now would seem to have ended by themselves. And without fail: the
            # streams of this process are in the hands of user code, too.
            try:
                text = f"{type(error).__name__}: {text_of(error)[:200].rstrip('.')}"
                send_message(self._resources.reports, LoopBroke(text))
                logger.exception("The event loop of this worker failed; the process ends.")
            finally:
                os._exit(70)
        finally:
            self._lane.stop()

    async def _main(self) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(log_fault)
        await self._fork.loops.add()
        loop.add_reader(self._resources.commands, self._receive)
        loop.add_reader(self._wakeup.fileno(), self._on_wakeup)
        watching = agent(self._watch())
        try:
            if not await self._open_lifespans():
                return
            await asyncio.gather(*[agent(self._work(unit)) for unit in self._units])
            await self._lifespans.close()
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            for app, _ in self._lifespans.by_app:
                if app._client is not None:
                    await app.client.close()
        # What ends from here on concerns no job.
        send_message(self._resources.reports, Done(find_leftovers()))

    async def _open_lifespans(self) -> bool:
        """Open what the jobs of this process share; False: that failed, and the process ends without a claim."""
        if self._lifespans.is_empty:
            return True
        if failure := await self._lifespans.open():
            await self._lifespans.close()
            self._code = Exit.BOOT
            send_message(self._resources.reports, LoadFailed(failure, False))
            return False
        send_message(self._resources.reports, self._booted)
        return True

    async def _work(self, each: ServedUnit) -> None:
        settings, resources, unit = self._settings, self._resources, each.unit
        broker = unit.connect()
        jitter = random.uniform(0.9, 1.1)
        hooks = Hooks(
            dead=self._end_declared_dead,
            full=lambda: self._is_full("it ran its number of jobs"),
            interrupt=self._interrupts.interrupt,
            alone=self._set_alone,
        )
        worker = Worker(
            unit.served,
            broker,
            Membership(
                broker,
                resources.board,
                host=resources.host,
                number=str(resources.number),
                facts=each.registered(resources.number),
                recorded=each.facts.result_db is not None,
                source=unit.source,
            ),
            Surroundings(
                *(self._lane, resources.board, self._seats, self._solitude, hooks, self._until, self._declarer),
                resources.vitals.is_drained,
            ),
            EventLog(
                "aiotask",
                log_args=settings.log_args,
                log_tracebacks=settings.log_tracebacks,
                hides=each.app.hidden.shown if settings.log_args else None,
            ),
            max_jobs=round(settings.max_jobs_per_child * jitter) or 1 if settings.max_jobs_per_child else None,
            sink=partial(resources.board.metrics.add, each.facts.label),
        )
        self._workers.append(worker)
        if self._draining:
            worker.stop()
        notifying = agent(self._notify_when_up(each, worker))
        declaring = agent(declare_when_up(each, worker, broker, settings, resources.release))
        try:
            await worker.run()
        finally:
            declaring.cancel()
            # A burst may be over before the supervisor has been notified that it began.
            if not worker.up.is_set():
                notifying.cancel()
            await asyncio.gather(notifying, declaring, return_exceptions=True)
            await broker.close()

    async def _notify_when_up(self, each: ServedUnit, worker: Worker) -> None:
        await worker.up.wait()
        send_message(self._resources.reports, await in_service(each.facts.label, each.unit))

    async def _watch(self) -> None:
        """The heartbeat, and the size of this process."""
        limit, at_first = self._settings.max_memory_per_child, resident()
        if limit is not None and at_first > limit:
            # A replacement would be as large as this process.
            send_message(self._resources.reports, Oversized(at_first))
            limit = None
        lag = Lag(HEARTBEAT_INTERVAL)
        while True:
            self._resources.board.beat()
            self._resources.board.metrics.lag = lag.tick()
            self._interrupts.tick()
            tend()
            fill_standard()
            self._signals.tick()
            if self._resources.board.is_relieved:
                await self._notice_relief()
            if limit is not None and (size := resident()) > limit:
                self._is_full(f"it grew to {size / 1e6:.0f} MB", size, at_first)
            await asyncio.sleep(HEARTBEAT_INTERVAL)

    async def _notice_relief(self) -> None:
        """This loop stood still, and the keeper took back what had not started."""
        board, deadline = self._resources.board, time.monotonic() + 5.0
        # The keeper may still take jobs back, or it has died meanwhile.
        while board.relief % 2 and time.monotonic() < deadline:
            board.beat()
            await asyncio.sleep(0.01)
        noticed = board.relief
        for worker in self._workers:
            worker.relieved()
        board.notice(noticed)

    # ---- what comes in

    def _receive(self) -> None:
        try:
            data = os.read(self._resources.commands, 4096)
        except BlockingIOError:
            return
        if not data:
            # The supervisor is gone; the keeper ends this group at once. Do not spin meanwhile.
            asyncio.get_running_loop().remove_reader(self._resources.commands)
            return
        for message in read_messages(self._buffer, data):
            match message:
                case Drain():
                    self._drain()
                case Steered():
                    for worker in self._workers:
                        worker.steered()
                case ReportSuspended():
                    self._report_suspended()
                case DumpStacks():
                    self._resources.stacks.write()

    def _report_suspended(self) -> None:
        found = awaits([run for worker in self._workers for run in worker.suspended])
        jobs = [SuspendedJob(job["id"], job["frames"]) for job in found["jobs"]]
        send_message(self._resources.reports, SuspendedJobs(jobs))

    def _on_wakeup(self) -> None:
        with contextlib.suppress(BlockingIOError):
            if signal.SIGTERM in self._wakeup.recv(4096):
                self._drain()

    def _drain(self) -> None:
        self._draining = True
        for worker in self._workers:
            worker.stop()

    def _is_full(self, reason: str, size: int = 0, size_at_first: int = 0) -> None:
        if not self._full:
            self._full = True
            logger.info("This process is being replaced: %s.", reason)
            send_message(self._resources.reports, WantsReplacement(size, size_at_first))

    def _set_alone(self, alone: bool) -> None:
        """A suspect runs here, or that is over."""
        self._resources.board.set_alone(alone)
        if alone:
            divert(self._resources.words.fd)
            self._resources.words.begin()
        else:
            self._resources.words.end()
            divert(-1)

    def _end_declared_dead(self) -> None:
        """End at once: the broker has declared this worker dead, so its jobs run elsewhere by now."""
        send_message(self._resources.reports, DeclaredDead())
        logging.shutdown()
        os._exit(Exit.NOT_LIVE)
