"""The keeper thread's view of an in-loop worker: jobs that block the loop, long sync jobs, and all stacks.

The keeper's thread needs the GIL for that, so code that holds the GIL is reported only after it lets go.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

from ..log.events import EventLog, JobEvent
from ..loops.frames import current_frames
from ..wire.control import Ask
from ..worker import executor
from ..worker.run import Run
from ..worker.stacks import Frame, awaits, frames_of, place, text
from ..worker.worker import Worker

__all__ = ["InLoopWatch"]

#: Seconds for which a job may block the loop, and for which a sync job may run, before that is logged.
BLOCKED_LOOP = 1.0
LONG_JOB = 60.0
_EVERY = 0.25
_CALLS = {executor.call_async.__code__, executor.call_sync.__code__}


class InLoopWatch:
    """Watches a worker from the keeper's thread; ``__init__`` is called in the worker's loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._log = EventLog("aiotask")
        #: The workers of this loop, which share its threads.
        self.workers: list[Worker] = []
        self._turns = 0
        self._long: set[tuple[str, float]] = set()
        #: Since when the worker takes no new jobs (Unix seconds, by the broker's clock; 0: it takes them), and by whom.
        self.drained: tuple[float, str] = (0.0, "")

    async def run(self) -> None:
        """Watch until cancelled, or until the worker's loop is closed."""
        while not self._loop.is_closed():
            since, turns, logged = time.monotonic(), self._turns, False
            try:
                self._loop.call_soon_threadsafe(self._turn)
            except RuntimeError:
                return
            await asyncio.sleep(_EVERY)
            while turns == self._turns and not self._loop.is_closed():
                if not logged and time.monotonic() - since > BLOCKED_LOOP:
                    logged = True
                    self._log_blocked(since)
                await asyncio.sleep(_EVERY / 5)
            self._log_long()

    def _turn(self) -> None:
        self._turns += 1

    def _log_blocked(self, since: float) -> None:
        frame = current_frames().get(self._thread)
        run = _run_in(frame)
        if run is not None:
            seconds = time.monotonic() - max(since, run.started_mono)
            what = "has blocked the event loop that this worker shares"
            self._log_event(JobEvent.BLOCKING, run, seconds, what, _above_the_call(frame))

    def _log_long(self) -> None:
        """Log each sync job that takes long, once."""
        now = time.monotonic()
        running = {(run.job.id, run.started_mono): (run, frame) for run, frame in self._sync_runs()}
        self._long &= running.keys()
        for key, (run, frame) in running.items():
            long = max(LONG_JOB, (run.timeout or 0.0) / 2)
            if key not in self._long and run.started_mono and now - run.started_mono > long:
                self._long.add(key)
                what = "has been running in a thread"
                self._log_event(JobEvent.LONG, run, now - run.started_mono, what, _above_the_call(frame))

    def _log_event(self, kind: JobEvent, run: Run, seconds: float, what: str, frames: list[Frame]) -> None:
        self._log.slow(
            kind,
            id=run.job.id,
            task=run.task.name,
            worker=run.worker,
            pid=os.getpid(),
            seconds=seconds,
            what=what,
            place=place(frames),
            stack=text(frames),
        )

    def _sync_runs(self) -> Iterator[tuple[Run, FrameType]]:
        for ident, frame in current_frames().items():
            if ident != self._thread and (run := _run_in(frame)) is not None and self._owns(run):
                yield run, frame

    def _owns(self, run: Run) -> bool:
        return any(worker.owns(run) for worker in self.workers)

    def names(self) -> list[str]:
        """The names of the workers on their brokers."""
        return [worker.incarnation for worker in self.workers if worker.incarnation]

    def runs(self) -> list[Run]:
        """Runs that go on, as far as another thread sees them."""
        found = [run for run, _ in self._sync_runs()]
        with contextlib.suppress(RuntimeError):
            # The worker may change its table while this thread reads it.
            found += [run for worker in self.workers for run in worker.suspended]
        return found

    def is_drained(self) -> bool:
        """Whether the worker takes no new jobs."""
        return self.drained[0] > 0.0

    def obey(self, ask: Ask) -> tuple[bool, str]:
        """Do what an operator asks of this process: whether it was done, and a note."""
        if ask.verb == "drain" and not self.is_drained():
            return self._steer((ask.at, ask.by), "It takes no new jobs; what runs ends as usual.")
        if ask.verb == "drain":
            return True, f"It was drained already, by {self.drained[1] or 'an unknown operator'}."
        if ask.verb == "resume" and self.is_drained():
            return self._steer((0.0, ""), "It takes jobs again.")
        if ask.verb == "resume":
            return False, "It was not drained."
        return False, "This worker runs inside another program, which has to be restarted itself."

    def _steer(self, drained: tuple[float, str], note: str) -> tuple[bool, str]:
        self.drained = drained
        for worker in self.workers:
            # The loop of a program that ends is closed.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(worker.steered)
        return True, note

    async def snapshot(self) -> tuple[list[dict[str, Any]], str]:
        """This process with its jobs and stacks, for ``Requests``."""
        now = time.monotonic()
        if not self.workers:
            return [], "Its worker has not started."
        threads = [
            {"kind": "loop" if ident == self._thread else "other", "frames": frames_of(frame)}
            for ident, frame in current_frames().items()
        ]
        blocking = _run_in(current_frames().get(self._thread))
        runs = [*self._suspended, *(run for run, _ in self._sync_runs()), *([blocking] if blocking else [])]
        answered = asyncio.run_coroutine_threadsafe(self._awaits(), self._loop)
        try:
            where = await asyncio.wait_for(asyncio.wrap_future(answered), 0.5)
        except TimeoutError:
            where = None
        waiting = {job["id"]: job["frames"] for job in (where or {}).get("jobs", ())}
        jobs = [
            {
                "id": run.job.id,
                "task": run.task.name,
                "seconds": round(now - run.started_mono, 3),
                "blocks": where is None and run is blocking,
                "awaits": waiting.get(run.job.id, []),
            }
            for run in {id(run): run for run in runs}.values()
        ]
        here = {"name": "in-loop", "pid": os.getpid(), "incarnations": [self.workers[0].incarnation]}
        return [here | {"still": 0.0, "threads": threads, "jobs": jobs}], ""

    @property
    def _suspended(self) -> list[Run]:
        return [run for worker in self.workers for run in worker.suspended]

    async def _awaits(self) -> dict[str, Any]:
        return awaits(self._suspended)


def _run_in(frame: FrameType | None) -> Run | None:
    """The run that a thread executes, from its current frame; None: it executes none."""
    while frame is not None:
        if frame.f_code in _CALLS:
            run = frame.f_locals.get("run")
            return run if isinstance(run, Run) else None
        frame = frame.f_back
    return None


def _above_the_call(frame: FrameType | None) -> list[Frame]:
    above = []
    while frame is not None and frame.f_code not in _CALLS:
        above.append(Frame(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name))
        frame = frame.f_back
    return above
