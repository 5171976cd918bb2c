"""What the supervisor sees of its children from outside: jobs past a limit, jobs that block others, and all stacks.

The stacks come from ``faulthandler``, in C and in a signal handler: no code of the child runs for them, and
a thread that holds the GIL delays none of them.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from functools import partial

from ...log.events import EventLog, JobEvent
from ...log.throttle import Throttle
from ...worker.stacks import Frame, Thread, place, text, threads_in, users
from ..app_facts import AppFacts
from ..board import HEARTBEAT_INTERVAL, Started
from ..child import Child
from ..messages import ProcessState
from .snapshot import LOOP, STACKS_TIMEOUT, Gathering, name_of

__all__ = ["Watchdog"]

logger = logging.getLogger("aiotask.supervisor")


class Watchdog:
    """Looks at the children once in every turn of the supervisor.

    Args:
        blocked_loop: seconds for which a job may block the event loop before that is logged; 0: it is not logged.
        long_job: the same for sync jobs, which block nothing but their thread.
        threads: that run sync jobs in each child; the first slots of a board are theirs.
    """

    def __init__(self, blocked_loop: float, long_job: float, threads: int) -> None:
        self._threads = threads
        self._blocked_loop = blocked_loop
        self._long_job = long_job
        self._log = EventLog("aiotask")
        #: Names of tasks by their hash, as it stands on the boards.
        self._tasks: dict[int, str] = {}
        #: What to call with the stacks of a child once they are there, and since when the first of them waits.
        self._waiting: dict[Child, list[Callable[[str], None]]] = {}
        self._waiting_since: dict[Child, float] = {}
        #: By child, what has been logged: id and start of a job, or no id and the last heartbeat of a blocked loop.
        self._logged: dict[Child, set[tuple[str, float]]] = {}
        #: By hash of the task's name: lines that a job of it takes long.
        self._long_lines: defaultdict[int, Throttle] = defaultdict(partial(Throttle, long_job))
        self._gatherings: list[tuple[Gathering, Callable[[list[ProcessState]], None]]] = []

    def learn(self, apps: Sequence[AppFacts]) -> None:
        """Keep the names of the tasks that the children run."""
        self._tasks = {hash(name): name for app in apps for name in app.tasks}

    def tick(self, children: Collection[Child]) -> None:
        """Enforce limits, and log which jobs block others."""
        for child in children:
            started = child.board.started()
            child.enforce_limits(started)
            if child.up and not child.killed:
                self._look_at_loop(child)
                self._look_at_threads(child, started)
        for gone in self._logged.keys() - set(children):
            del self._logged[gone]
        self._deliver_stacks()
        self._deliver_snapshots()

    # ---- jobs that block others

    def _look_at_loop(self, child: Child) -> None:
        beat = child.board.heartbeat
        still = time.monotonic() - beat - HEARTBEAT_INTERVAL
        if self._blocked_loop and still > self._blocked_loop and self._is_first(child, "", beat):
            self._ask(child, partial(self._blocked, child, beat))

    def _blocked(self, child: Child, beat: float, dump: str) -> None:
        board = child.board
        if board.heartbeat != beat or child.killed:
            # The loop went on just now; the child is asked again if it stops again.
            return
        threads = threads_in(dump, LOOP)
        loop = next((thread for thread in threads if thread.kind == "loop"), None)
        if loop is None:
            return
        started = {job.slot: job for job in board.started()}
        job, frames = started.get(board.stepping), loop.job_frames
        if job is not None and frames is not None:
            self._log_blocking(child, job, beat, frames, "has blocked the event loop of {}")
        elif frames is not None or users(loop.frames):
            self._log_blocking(child, None, beat, loop.frames, "Code outside the jobs has blocked the event loop of {}")
        elif (holder := _only_job(threads)) and (sync := [job for job in started.values() if job.slot < self._threads]):
            # The loop is ready to go on, and another thread does not let it.
            self._log_blocking(child, sync[0], beat, holder, "has held the GIL, and with it the event loop of {},")

    def _log_blocking(self, child: Child, job: Started | None, beat: float, frames: Sequence[Frame], what: str) -> None:
        if job is not None and not self._is_first(child, job.id, job.since):
            return
        since = max(beat, job.since) if job else beat
        self._log_job(JobEvent.BLOCKING, child, job, time.monotonic() - since, frames, what)

    def _look_at_threads(self, child: Child, started: Sequence[Started]) -> None:
        """Sync jobs that take long."""
        now = time.monotonic()
        for job in started if self._long_job else ():
            if job.slot >= self._threads or now - job.since <= self._long_job:
                continue
            # A job with a time limit says itself how long it may take.
            allowed = max(self._long_job, (job.deadline - job.since) / 2 if job.deadline else 0.0)
            if now - job.since <= allowed or not self._long_lines[job.task].is_open:
                continue
            if self._is_first(child, job.id, job.since):
                self._long_lines[job.task].passes()
                self._ask(child, partial(self._log_long_job, child, job))

    def _log_long_job(self, child: Child, job: Started, dump: str) -> None:
        if not any(other.id == job.id and other.since == job.since for other in child.board.started()):
            return
        frames = _only_job(threads_in(dump, LOOP)) or []
        self._log_job(JobEvent.LONG, child, job, time.monotonic() - job.since, frames, "has been running in {}")

    def _is_first(self, child: Child, id: str, since: float) -> bool:
        """Whether this is seen for the first time."""
        logged = self._logged.setdefault(child, set())
        if (id, since) in logged:
            return False
        if len(logged) > 1000:
            logged.clear()
        logged.add((id, since))
        return True

    def _log_job(
        self, kind: JobEvent, child: Child, job: Started | None, seconds: float, frames: Sequence[Frame], what: str
    ) -> None:
        worker = f"worker-{child.number}"
        self._log.slow(
            kind,
            id=job.id if job else "",
            task=self.task_of(job) if job else "",
            worker=worker,
            pid=child.pid,
            seconds=seconds,
            what=what.format(worker),
            place=place(frames),
            stack=text(frames),
        )

    def task_of(self, job: Started) -> str:
        return self._tasks.get(job.task, "?")

    # ---- stacks

    def _ask(self, child: Child, receive: Callable[[str], None]) -> None:
        """Call ``receive`` with the child's stacks once they are there; never, if the child ends before.

        They are empty if the child does not write any within STACKS_TIMEOUT seconds.
        """
        if not child.asked_for_stacks:
            child.ask_for_stacks()
        self._waiting.setdefault(child, []).append(receive)
        self._waiting_since.setdefault(child, time.monotonic())

    def _deliver_stacks(self) -> None:
        for child, receivers in list(self._waiting.items()):
            if child.commands < 0 or child.killed:
                # The child has ended, or is about to: what it wrote last is for its postmortem.
                del self._waiting[child], self._waiting_since[child]
            elif not child.asked_for_stacks:
                child.ask_for_stacks()
            elif child.has_written_stacks or time.monotonic() - self._waiting_since[child] >= STACKS_TIMEOUT:
                del self._waiting[child], self._waiting_since[child]
                stacks = child.take_stacks()
                for receive in receivers:
                    receive(stacks)

    def show(self, children: Sequence[Child]) -> None:
        """Log the stacks of these processes."""
        for child in children:
            self._ask(child, partial(self._log_stacks, child))

    def _log_stacks(self, child: Child, dump: str) -> None:
        logger.warning("The stacks of %s (pid %d):\n%s", name_of(child), child.pid, dump or "(no answer)")

    def gather(self, children: Sequence[Child], deliver: Callable[[list[ProcessState]], None]) -> None:
        """Call ``deliver`` with what this process and all of these are doing."""
        gathering = Gathering(children, self.task_of)
        for child in children:
            self._ask(child, partial(gathering.add, child))
        self._gatherings.append((gathering, deliver))

    def _deliver_snapshots(self) -> None:
        over = [each for each in self._gatherings if each[0].is_over]
        self._gatherings = [each for each in self._gatherings if each not in over]
        for gathering, deliver in over:
            deliver(gathering.found())


def _only_job(threads: Sequence[Thread]) -> list[Frame] | None:
    """The frames of the one sync job that runs; None where there are several, since a stack does not name its job."""
    running = [frames for thread in threads if thread.kind == "sync" and (frames := thread.job_frames)]
    return running[0] if len(running) == 1 else None
