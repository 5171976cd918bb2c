"""The keeper process: leases, recovery, due jobs and history, where no user code runs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec

from ..brokers import inspect
from ..brokers.sql.address import open_database
from ..errors import AiotaskError, BrokerError
from ..keeper.keeper import Keeper
from ..keeper.recovery import Death
from ..keeper.relay import Relay
from ..keeper.report import Source
from ..log.setup import configure, tend
from ..log.throttle import Throttle
from ..ops.metrics import exposition
from ..wire.control import Ask
from ..worker.stacks import frames_of
from .app_facts import AppFacts, app_key, connect_to
from .app_recorder import recorder_of
from .asked import Questions
from .beating import beating
from .board import SharedBoard, unpack_ring
from .fork import Exit
from .health.health import Branch, Health
from .health.http import Probes
from .health.sockets import ProbeSockets
from .health.vitals import Vitals
from .host_report import HostReader
from .messages import (
    HostAnswer,
    Keeping,
    Leave,
    OnlyKeeper,
    ProcessState,
    Retire,
    Snapshot,
    ThreadState,
    WorkerDeath,
    read_messages,
    send_message,
)
from .report_ledger import ReportLedger
from .settings import WorkerSettings
from .stops import CONT_INTERVAL, STOP_CHECK_TIMEOUT, resume
from .watch.snapshot import state_of
from .watch.stack_file import Stacks

__all__ = ["KeeperResources", "run_keeper"]

logger = logging.getLogger("aiotask.keeper")

#: Seconds without a heartbeat after which a worker's loop counts as standing still.
HEARTBEAT_TIMEOUT = 2.0
#: Seconds that the last scans may take when the supervisor ends.
LEAVE_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class KeeperResources:
    """What the keeper process is given."""

    #: Its own page, for its heartbeat.
    board: SharedBoard
    #: The pages of all workers there may ever be.
    workers: Sequence[SharedBoard]
    #: The supervisor's page.
    vitals: Vitals
    #: Where the keeper answers probes.
    probe_sockets: ProbeSockets
    host: str
    #: Read: messages of the supervisor; its end means that the supervisor is gone.
    messages: int
    #: Write: messages to the supervisor.
    reports: int
    apps: Sequence[AppFacts]
    stacks: Stacks
    #: How far the reports of each unit have come.
    ledgers: Sequence[ReportLedger]


def run_keeper(settings: WorkerSettings, resources: KeeperResources) -> int:
    """The life of a keeper process; the exit code."""
    configure(settings.log_json, settings.log_level, process="keeper")
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    resources.stacks.record()
    rows = [app.rows.address for app in resources.apps if app.rows is not None]
    outboxes = [app.database for app in resources.apps if app.database]
    if any("://" not in address for address in (*rows, *outboxes)):
        # The engine is a function or an attribute in a module of the user.
        sys.path.insert(0, settings.app_dir)
    with beating(resources.board) if rows else contextlib.nullcontext():
        process = KeeperProcess(resources)
    return asyncio.run(process.run())


class KeeperProcess:
    """One keeper per unit, and the messages of the supervisor for all of them."""

    def __init__(self, resources: KeeperResources) -> None:
        self._resources = resources
        self._branches: list[Branch] = []
        self._readers: list[HostReader] = []
        self._buffer = bytearray()
        self._end = asyncio.Event()
        self._questions = Questions(resources.reports)
        self._last: list[Death] = []
        #: By ``app_key``, once there is a successor: apps that are no longer served, and whether their brokers are to
        #: forget this host. None: there is no successor.
        self._lost: dict[tuple[str, str], bool] | None = None
        #: Set once no other keeper of this host is at work.
        self._alone = asyncio.Event()
        self._keepers = list(map(self._keeper, resources.apps, resources.ledgers))
        self._probes: asyncio.Task[None] | None = None
        #: How many deaths of workers the supervisor has sent.
        self._received_deaths = 0

    def _keeper(self, app: AppFacts, ledger: ReportLedger) -> Keeper:
        recorder, reading = recorder_of(app)
        broker = connect_to(app)
        reader = HostReader(app, self._resources.workers, self._resources.vitals, self._resources.host)
        self._readers.append(reader)
        keeper = Keeper(
            broker,
            app.name,
            app.secrets,
            self._resources.host,
            reading=reading,
            recorder=recorder,
            revive=_revive if app.embedded else None,
            queues=app.queues,
            needs=app.needs,
            relay=Relay(app.send_to or broker, app.name, partial(open_database, app.database))
            if app.database
            else None,
            source=Source(reader.counted, reader.report, ledger, self._alone.wait),
        )
        source = "broker" if app.rows is None else "database"
        self._branches.append(Branch(app.label, app.queues, keeper.lease, inspect(broker), source))
        return keeper

    async def run(self) -> int:
        os.set_blocking(self._resources.messages, False)
        asyncio.get_running_loop().add_reader(self._resources.messages, self._read)
        running = [asyncio.create_task(keeper.run()) for keeper in self._keepers]
        health = Health(self._resources.vitals, self._resources.workers, self._branches)
        # These go on while the rest ends.
        answers = Probes(self._resources.probe_sockets.sockets, health.report, self._metrics)
        probes = self._probes = asyncio.create_task(answers.run())
        health_running = asyncio.create_task(health.run())
        watching = [probes, asyncio.create_task(self._beat()), health_running]
        for each in watching:
            each.add_done_callback(_log_fault)
        ending = asyncio.create_task(self._end.wait())
        running += [
            asyncio.create_task(keeper.listen(self._hurry, self._snapshot, self._obey)) for keeper in self._keepers
        ]
        running.append(asyncio.create_task(self._look_after_loops()))
        running.append(asyncio.create_task(self._look_after_supervisor()))
        send_message(self._resources.reports, Keeping())
        code = Exit.DONE
        try:
            done, _ = await asyncio.wait((*running, ending), return_when=asyncio.FIRST_COMPLETED)
            if ending not in done:
                for task in done:
                    task.result()
                code = Exit.NOT_LIVE
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        if self._lost is not None:
            # Its successor answers from now on.
            probes.cancel()
            watching.remove(health_running)
            health_running.cancel()
        if code == Exit.DONE:
            await self._leave()
        for task in (*watching, ending):
            task.cancel()
        for keeper in self._keepers:
            with contextlib.suppress(AiotaskError):
                await keeper.close()
        return code

    async def _metrics(self) -> str:
        """What Prometheus is told of this host, and of the brokers of its apps."""
        apps = []
        for branch, keeper, reader in zip(self._branches, self._keepers, self._readers, strict=True):
            tasks, queues = reader.counts_of_known()
            apps.append(await keeper.metrics(branch.app, tasks, queues, branch.inspector))
        return exposition(apps, self._readers[0].report())

    async def _beat(self) -> None:
        while True:
            self._resources.board.beat()
            tend()
            self._resources.board.handled_deaths = self._received_deaths - max(
                keeper.recovery.open for keeper in self._keepers
            )
            await asyncio.sleep(0.2)

    async def _look_after_supervisor(self) -> None:
        """Have a stopped supervisor continue: meanwhile it replaces no process, enforces no limit, obeys no signal."""
        conts = Throttle(CONT_INTERVAL)
        while True:
            await asyncio.sleep(HEARTBEAT_TIMEOUT / 2)
            vitals = self._resources.vitals
            if time.monotonic() - vitals.turned > STOP_CHECK_TIMEOUT and resume(vitals.pid, conts):
                logger.warning(
                    "The supervisor (pid %d) was stopped by a signal; the keeper has sent it CONT, so that it "
                    "continues.",
                    vitals.pid,
                )

    async def _look_after_loops(self) -> None:
        """Act for workers whose loop stands still: they give back nothing that waits, and receive no cancel."""
        await self._alone.wait()
        for board in self._resources.workers:
            # A relief that an earlier keeper has left halfway.
            board.relief += board.relief % 2
        while True:
            await asyncio.sleep(HEARTBEAT_TIMEOUT / 4)
            for board in self._resources.workers:
                if board.pid and board.incarnations and time.monotonic() - board.heartbeat > HEARTBEAT_TIMEOUT:
                    with contextlib.suppress(BrokerError):
                        await self._relieve(board)

    async def _snapshot(self) -> tuple[list[dict[str, Any]], str]:
        """What every process of this host is doing, as plain data; the supervisor asks them."""
        try:
            return msgspec.to_builtins(await self._questions.snapshot()), ""
        except TimeoutError:
            return msgspec.to_builtins(self._seen()), "The supervisor does not answer; this is what the keeper sees."

    async def _obey(self, ask: Ask) -> tuple[bool, str]:
        """Pass on what an operator asks of this host: the supervisor does it."""
        obeyed = await self._questions.obey(ask)
        await asyncio.gather(*(keeper.report_now() for keeper in self._keepers))
        return obeyed

    def _seen(self) -> list[ProcessState]:
        """What the boards show, where the supervisor does not answer."""
        tasks = {hash(name): name for app in self._resources.apps for name in app.tasks}
        here = [ThreadState("other", frames_of(sys._getframe()))]
        return [
            ProcessState("keeper", os.getpid(), threads=here),
            *(
                state_of(
                    f"worker-{names[0].rpartition('.')[2]}", board.pid, board, lambda job: tasks.get(job.task, "?")
                )
                for board in self._resources.workers
                if board.pid and (names := board.incarnations)
            ),
        ]

    def _hurry(self, id: str) -> None:
        """This job was cancelled: it has to end soon, whatever the loop of its worker is doing."""
        for board in self._resources.workers:
            for job in board.started() if board.pid else ():
                if job.id == id:
                    board.hurry(job.slot, id)

    async def _relieve(self, board: SharedBoard) -> None:
        incarnation = board.incarnations[-1]
        relief = board.relief + 1
        board.relief = relief
        try:
            # A thread of the worker that has just found that it may start a job has written the job down by then.
            await asyncio.sleep(0.05)
            recent = board.recent()
            running = {job.id: job.slot for job in board.started()}
            for app, keeper in zip(self._resources.apps, self._keepers, strict=True):
                await keeper.recovery.relieve(
                    incarnation, app.queues, app.needs, lambda id: id in running or hash(id) in recent
                )
                for id in await keeper.recovery.cancelled(incarnation, list(running)):
                    board.hurry(running[id], id)
        finally:
            # Meanwhile the page may have passed to another process.
            if board.relief == relief:
                board.relief = relief + 1

    def _read(self) -> None:
        try:
            data = os.read(self._resources.messages, 65536)
        except BlockingIOError:
            return
        if not data:
            asyncio.get_running_loop().remove_reader(self._resources.messages)
            if not self._end.is_set():
                self._last = self._orphaned()
                self._end.set()
            return
        for message in read_messages(self._buffer, data):
            match message:
                case Leave(deaths=deaths):
                    self._last = [_death(each) for each in deaths]
                    self._end.set()
                case Retire(apps=apps, deaths=deaths):
                    self._lost = {(app.name, app.url): app.forget for app in apps}
                    self._last = [_death(each) for each in deaths]
                    self._end.set()
                case OnlyKeeper():
                    self._alone.set()
                case Snapshot() | HostAnswer():
                    self._questions.answered(message)
                case WorkerDeath():
                    self._received_deaths += 1
                    for keeper in self._keepers:
                        keeper.report(_death(message))

    def _orphaned(self) -> list[Death]:
        """The supervisor is gone: end its workers with all they started, and only then give back their jobs."""
        logger.error("The supervisor is gone; ending its workers and requeueing their jobs.")
        # The next supervisor may want the port at once.
        self._resources.probe_sockets.remove()
        if self._probes is not None:
            self._probes.cancel()
        groups = [board.pid for board in self._resources.workers if board.pid]
        for pid in groups:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
        deadline = time.monotonic() + 2.0
        while any(_alive(pid) for pid in groups) and time.monotonic() < deadline:
            time.sleep(0.005)
        return [
            Death(name, "the end of its supervisor") for board in self._resources.workers for name in board.incarnations
        ]

    async def _leave(self) -> None:
        """Give back what is left: of all apps, or of those that the successor does not know."""
        leaving = []
        for app, keeper in zip(self._resources.apps, self._keepers, strict=True):
            if self._lost is None or app_key(app) in self._lost:
                forget = self._lost is None or self._lost[app_key(app)]
                leaving.append(keeper.leave(self._last, forget=forget))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_TIMEOUT):
                await asyncio.gather(*leaving)


def _log_fault(task: asyncio.Task[None]) -> None:
    """Log that an agent has failed; leases and recovery go on without it."""
    if not task.cancelled() and (error := task.exception()):
        logger.error("The keeper cannot report the state of this host any more: %s", error, exc_info=error)


def _alive(pid: int) -> bool:
    """Whether the process still runs (a zombie does not)."""
    try:
        os.kill(pid, 0)
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except ProcessLookupError:
        return False
    except OSError:
        return True


def _death(message: WorkerDeath) -> Death:
    return Death(
        message.incarnation,
        message.reason,
        message.blame,
        message.overdue,
        message.exceeded,
        unpack_ring(message.recent),
        message.waited,
        message.obituary,
    )


def _revive() -> None:
    """Start the embedded server again if it crashed (after ``aiotask server stop`` it stays down)."""
    from ..embedded import server as embedded

    if (embedded.state_directory() / "server.pid").exists():
        embedded.ensure()
