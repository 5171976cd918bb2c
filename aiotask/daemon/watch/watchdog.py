"""What the supervisor sees of its children from outside: who is past a limit, who blocks others, and where all stand.

The stacks come from ``faulthandler``, in C and in a signal handler: no code of the child runs for them, and
whoever holds the GIL holds nothing up.
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
from ..board import Started
from ..child import Forked
from ..messages import ProcessState
from .snapshot import LOOP, Gathering, name_of

__all__ = ["BEAT", "Watchdog"]

logger = logging.getLogger("aiotask.supervisor")

#: Seconds between two beats of a loop.
BEAT = 0.25


class Watchdog:
    """Looks at the children once in every turn of the supervisor.

    Args:
        blocked_loop: seconds for which a job may block the event loop before that is said; 0: it is not said.
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
        #: Who waits for the stacks of which child.
        self._waiting: dict[Forked, list[Callable[[str], None]]] = {}
        #: What was said of each child's jobs: id and start, or the beat after which the loop stood still.
        self._said: dict[Forked, set[tuple[str, float]]] = {}
        #: By hash of the task's name: lines that a job of it takes long.
        self._long_lines: defaultdict[int, Throttle] = defaultdict(partial(Throttle, long_job))
        self._gatherings: list[tuple[Gathering, Callable[[list[ProcessState]], None]]] = []

    def learn(self, apps: Sequence[AppFacts]) -> None:
        """What the children run."""
        self._tasks = {hash(name): name for app in apps for name in app.tasks}

    def tick(self, children: Collection[Forked]) -> None:
        """Enforce limits, and say who stands in the way of others."""
        for child in children:
            started = child.board.started()
            child.enforce_limits(started)
            if child.up and not child.killed:
                self._look_at_loop(child)
                self._look_at_threads(child, started)
        for gone in self._said.keys() - set(children):
            del self._said[gone]
        self._pass_on()
        self._hand_over()

    # ---- who blocks

    def _look_at_loop(self, child: Forked) -> None:
        beat = child.board.heartbeat
        still = time.monotonic() - beat - BEAT
        if self._blocked_loop and still > self._blocked_loop and self._first(child, "", beat):
            self._ask(child, partial(self._blocked, child, beat))

    def _blocked(self, child: Forked, beat: float, dump: str) -> None:
        board = child.board
        if board.heartbeat != beat or child.killed:
            # It went on just now; it is asked again if it stops again.
            return
        threads = threads_in(dump, LOOP)
        loop = next((thread for thread in threads if thread.kind == "loop"), None)
        if loop is None:
            return
        started = {job.slot: job for job in board.started()}
        job, frames = started.get(board.stepping), loop.job_frames
        if job is not None and frames is not None:
            self._say_blocking(child, job, beat, frames, "has blocked the event loop of {}")
        elif frames is not None or users(loop.frames):
            self._say_blocking(child, None, beat, loop.frames, "Code outside the jobs has blocked the event loop of {}")
        elif (holder := _only_job(threads)) and (sync := [job for job in started.values() if job.slot < self._threads]):
            # The loop is ready to go on, and another thread does not let it.
            self._say_blocking(child, sync[0], beat, holder, "has held the GIL, and with it the event loop of {},")

    def _say_blocking(
        self, child: Forked, job: Started | None, beat: float, frames: Sequence[Frame], what: str
    ) -> None:
        if job is not None and not self._first(child, job.id, job.since):
            return
        since = max(beat, job.since) if job else beat
        self._say(JobEvent.BLOCKING, child, job, time.monotonic() - since, frames, what)

    def _look_at_threads(self, child: Forked, started: Sequence[Started]) -> None:
        """Sync jobs that take long."""
        now = time.monotonic()
        for job in started if self._long_job else ():
            if job.slot >= self._threads or now - job.since <= self._long_job:
                continue
            # One with a time limit says how long it may take.
            patience = max(self._long_job, (job.deadline - job.since) / 2 if job.deadline else 0.0)
            if now - job.since <= patience or not self._long_lines[job.task].is_open:
                continue
            if self._first(child, job.id, job.since):
                self._long_lines[job.task].passes()
                self._ask(child, partial(self._takes_long, child, job))

    def _takes_long(self, child: Forked, job: Started, dump: str) -> None:
        if not any(other.id == job.id and other.since == job.since for other in child.board.started()):
            return
        frames = _only_job(threads_in(dump, LOOP)) or []
        self._say(JobEvent.LONG, child, job, time.monotonic() - job.since, frames, "has been running in {}")

    def _first(self, child: Forked, id: str, since: float) -> bool:
        """Whether this is seen for the first time."""
        said = self._said.setdefault(child, set())
        if (id, since) in said:
            return False
        if len(said) > 1000:
            said.clear()
        said.add((id, since))
        return True

    def _say(
        self, kind: JobEvent, child: Forked, job: Started | None, seconds: float, frames: Sequence[Frame], what: str
    ) -> None:
        worker = f"worker-{child.number}"
        self._log.standing(
            kind,
            id=job.id if job else "",
            task=self.task_of(job) if job else "",
            worker=worker,
            seconds=seconds,
            what=what.format(worker),
            place=place(frames),
            stack=text(frames),
        )

    def task_of(self, job: Started) -> str:
        return self._tasks.get(job.task, "?")

    # ---- stacks

    def _ask(self, child: Forked, hear: Callable[[str], None]) -> None:
        """Call it with the child's stacks once they are there; never, if the child ends before."""
        if not child.asked_for_stacks:
            child.ask_for_stacks()
        self._waiting.setdefault(child, []).append(hear)

    def _pass_on(self) -> None:
        for child, hearers in list(self._waiting.items()):
            if child.commands < 0 or child.killed:
                # It has ended, or it ends: what it wrote last is for whoever asks why.
                del self._waiting[child]
            elif not child.asked_for_stacks:
                child.ask_for_stacks()
            elif child.has_told_stacks:
                del self._waiting[child]
                told = child.told_stacks()
                for hear in hearers:
                    hear(told)

    def show(self, children: Sequence[Forked]) -> None:
        """Into the log: the stacks of all of them."""
        for child in children:
            self._ask(child, partial(self._shown, child))

    def _shown(self, child: Forked, dump: str) -> None:
        logger.warning("The stacks of %s (pid %d):\n%s", name_of(child), child.pid, dump or "(no answer)")

    def gather(self, children: Sequence[Forked], tell: Callable[[list[ProcessState]], None]) -> None:
        """Call it with where all of them stand, and this process, as plain data."""
        gathering = Gathering(children, self.task_of)
        for child in children:
            self._ask(child, partial(gathering.told, child))
        self._gatherings.append((gathering, tell))

    def _hand_over(self) -> None:
        over = [each for each in self._gatherings if each[0].is_over]
        self._gatherings = [each for each in self._gatherings if each not in over]
        for gathering, tell in over:
            tell(gathering.found())


def _only_job(threads: Sequence[Thread]) -> list[Frame] | None:
    """The frames of the one sync job that runs; where there are several, nobody knows which is which."""
    running = [frames for thread in threads if thread.kind == "sync" and (frames := thread.job_frames)]
    return running[0] if len(running) == 1 else None
