"""Whether a supervisor and all its processes are live and ready: judged from what they do."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import BrokerError
from ...inspector import Inspector
from ...keeper.lease import Lease
from ...log.events import counted, in_words
from ..board import SharedBoard
from .process_state import stop_of
from .vitals import Vitals

__all__ = ["Branch", "Health", "Report"]

#: Seconds between two judgements.
TICK_INTERVAL = 1.0
#: Seconds without a sign of life after which the keeper checks whether a process is stopped.
STOP_CHECK_TIMEOUT = 5.0
#: Seconds of a supervisor without a turn after which it hangs.
SUPERVISOR_TIMEOUT = 10.0
#: Seconds without an answer of the broker after which nothing is ready.
BROKER_TIMEOUT = 5.0
#: Seconds for which a broker may refuse a lease.
REFUSAL_TIMEOUT = 5.0
#: Seconds for which a worker's loop may stand still and count as in service; with no job in hand; with one
#: that has no time limit; and beyond the limit of one that has.
LOOP_TIMEOUT, IDLE_LOOP_TIMEOUT, BUSY_LOOP_TIMEOUT, JOB_LIMIT_TOLERANCE = 10.0, 30.0, 300.0, 10.0
#: Seconds of idleness after which the keeper looks whether a worker's queues are empty, and between two such looks.
IDLE_CHECK_INTERVAL = 10.0
#: Seconds for which an idle worker may leave alone jobs that wait for it.
DEAF_TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class Branch:
    """One unit, the tasks of an app or its rows: where its jobs are."""

    #: The label of the unit.
    app: str
    queues: Sequence[str]
    lease: Lease
    inspector: Inspector
    #: ``broker`` or ``database``.
    source: str = "broker"


@dataclass(frozen=True, slots=True)
class Report:
    """``live``: a restart would not help. ``ready``: jobs are being run, or would be if there were any."""

    live: bool
    ready: bool
    #: What is wrong, as sentences.
    why: list[str]
    pid: int
    wanted: int
    in_service: int
    stopping: bool
    #: Per app, seconds since its broker has answered.
    brokers: dict[str, float]
    #: Per worker process: pid, seconds since its loop turned, jobs that run.
    workers: list[dict[str, float]]


class _Idleness:
    """Since when one worker has started no job, and has left alone jobs that wait."""

    def __init__(self, pid: int, starts: int, now: float) -> None:
        self.pid = pid
        self.starts = starts
        self.since = now
        self.deaf_since: float | None = None


class Health:
    """The judgement of the keeper on all processes of its host.

    Args:
        boards: the pages of all workers there may ever be.
        idle: seconds of idleness after which a worker's queues are looked into.
        deaf: seconds for which a worker may leave alone what waits for it.
    """

    def __init__(
        self,
        vitals: Vitals,
        boards: Sequence[SharedBoard],
        branches: Sequence[Branch],
        *,
        idle: float = IDLE_CHECK_INTERVAL,
        deaf: float = DEAF_TIMEOUT,
    ) -> None:
        self._vitals = vitals
        self._boards = boards
        self._branches = branches
        self._idle = idle
        self._deaf = deaf
        self._idleness: dict[int, _Idleness] = {}
        self._looked = 0.0

    async def run(self) -> None:
        """Judge for ever, and write the verdict where the supervisor reads it."""
        while True:
            await self.tick()
            self._vitals.judge(self.report().live)
            await asyncio.sleep(TICK_INTERVAL)

    # ---- idle workers

    async def tick(self) -> None:
        """Notice which workers are idle, and whether jobs wait for them."""
        now = time.monotonic()
        for number, board in enumerate(self._boards):
            if not board.pid or not board.incarnations:
                self._idleness.pop(number, None)
                continue
            known = self._idleness.get(number)
            if known is None or (known.pid, known.starts) != (board.pid, board.starts) or board.started():
                self._idleness[number] = _Idleness(board.pid, board.starts, now)
        idle = [each for each in self._idleness.values() if now - each.since >= self._idle]
        if not idle or now - self._looked < self._idle:
            return
        self._looked = now
        waiting = await self._is_waiting()
        for each in idle:
            each.deaf_since = (each.deaf_since or now) if waiting else None

    async def _is_waiting(self) -> bool:
        """Whether a job is there for an idle worker."""
        with contextlib.suppress(BrokerError):
            for branch in self._branches:
                if await branch.inspector.is_waiting(branch.queues):
                    return True
        return False

    # ---- the judgement

    def report(self) -> Report:
        """The state of all now."""
        now = time.monotonic()
        wanted, in_service = self._vitals.processes
        brokers = {branch.app: now - branch.lease.renewed_at for branch in self._branches}
        grave = [*self._about_supervisor(now), *self._about_workers(now), *self._about_leases(now)]
        slight = [*self._about_service(now, wanted, in_service), *self._about_brokers(brokers)]
        return Report(
            live=not grave,
            ready=not grave and not slight,
            why=[*grave, *slight],
            pid=self._vitals.pid,
            wanted=wanted,
            in_service=in_service,
            stopping=self._vitals.stopping,
            brokers={app: round(silent, 1) for app, silent in brokers.items()},
            workers=[
                {"pid": board.pid, "still": round(now - board.heartbeat, 1), "running": len(board.started())}
                for board in self._boards
                if board.pid
            ],
        )

    def _about_supervisor(self, now: float) -> list[str]:
        silent = now - self._vitals.turned
        if silent > STOP_CHECK_TIMEOUT and (stopped := stop_of(self._vitals.pid)):
            return [f"The supervisor (pid {self._vitals.pid}) is {stopped}."]
        if silent <= SUPERVISOR_TIMEOUT:
            return []
        return [f"The supervisor (pid {self._vitals.pid}) has not responded for {in_words(silent)}."]

    def _about_workers(self, now: float) -> list[str]:
        found = []
        for number, board in enumerate(self._boards):
            if not board.pid or not board.incarnations:
                continue
            still = now - board.heartbeat
            if still > STOP_CHECK_TIMEOUT and (stopped := stop_of(board.pid)):
                found.append(f"Worker pid {board.pid} is {stopped}.")
            elif still > LOOP_TIMEOUT and (jobs := _hung(board, now, still)) is not None:
                found.append(f"The event loop of worker pid {board.pid} has not run for {in_words(still)}{jobs}.")
            idleness = self._idleness.get(number)
            if idleness is not None and idleness.deaf_since and now - idleness.deaf_since > self._deaf:
                idle = in_words(now - idleness.since)
                found.append(f"Worker pid {board.pid} has started no job for {idle} although jobs are waiting.")
        return found

    def _about_leases(self, now: float) -> list[str]:
        """A broker that is away comes back; one that answers and refuses, say a password, does so for good."""
        return [
            f'The {branch.source} of "{branch.app}" has refused this host\'s lease for {in_words(refused)}: '
            f"{branch.lease.refusal.rstrip('.')}."
            for branch in self._branches
            if branch.lease.refused_since and (refused := now - branch.lease.refused_since) > REFUSAL_TIMEOUT
        ]

    def _about_service(self, now: float, wanted: int, in_service: int) -> list[str]:
        if self._vitals.stopping:
            return ["The worker service is stopping."]
        boards = [board for board in self._boards if board.pid and board.incarnations]
        if not self._vitals.complete:
            return [f"The worker service is starting: {in_service} of {counted(wanted, 'worker process')} are ready."]
        if not in_service:
            return [f"None of {counted(wanted, 'worker process')} is ready."]
        if boards and all(now - board.heartbeat > LOOP_TIMEOUT for board in boards):
            return ["The event loops of all worker processes are blocked."]
        return []

    def _about_brokers(self, brokers: dict[str, float]) -> list[str]:
        return [
            f'The {branch.source} of "{branch.app}" has not answered for {in_words(silent)}.'
            for branch in self._branches
            if (silent := brokers[branch.app]) > BROKER_TIMEOUT
        ]


def _hung(board: SharedBoard, now: float, still: float) -> str | None:
    """What a loop hangs in, for people; None while that may be as it should be."""
    jobs = board.started()
    if not jobs:
        return "" if still > IDLE_LOOP_TIMEOUT else None
    if all(job.deadline for job in jobs):
        # The supervisor, if it lives, ends each job at its limit.
        allowed = now > max(job.deadline for job in jobs) + JOB_LIMIT_TOLERANCE
    else:
        allowed = still > BUSY_LOOP_TIMEOUT
    return f" in {', '.join(job.id for job in jobs[:3])}" if allowed else None
