"""What every process of a supervisor is doing, for operators who ask."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from msgspec.structs import replace

from ...worker.stacks import Frame, frames_of, shown_file, threads_in
from .. import worker_loop
from ..board import SharedBoard, Started
from ..child import Child
from ..health.process_state import silence_of
from ..messages import JobState, ProcessState, ReportSuspended, ThreadState

__all__ = ["LOOP", "STACKS_TIMEOUT", "Gathering", "name_of", "state_of"]

#: The file and the function by which the thread of an event loop is known in a stack.
LOOP = (shown_file(worker_loop.__file__), worker_loop.run_loop.__name__)
#: Seconds without a heartbeat after which a loop counts as standing still.
_HEARTBEAT_TIMEOUT = 0.5
#: Seconds that a process has for its stacks, and its loop for where its jobs wait. Stacks take a millisecond; a process
#: that gets no CPU, or waits for a page from a busy disk, may need seconds.
STACKS_TIMEOUT, _LOOP_TIMEOUT = 1.5, 0.5


def name_of(child: Child) -> str:
    """A child for people."""
    return f"worker-{child.number}" if child.number else "the keeper"


class Gathering:
    """The answers of several children, until all are there or nothing more is to be expected.

    Args:
        task_of: the name of a job's task.
    """

    def __init__(self, children: Sequence[Child], task_of: Callable[[Started], str]) -> None:
        self._children = list(children)
        self._task_of = task_of
        self._dumps: dict[Child, str] = {}
        self._since = time.monotonic()
        for child in self._children:
            child.suspended = None
            if child.number:
                child.send(ReportSuspended())

    def add(self, child: Child, dump: str) -> None:
        """Add the stacks of one child."""
        self._dumps[child] = dump

    @property
    def is_over(self) -> bool:
        waited = time.monotonic() - self._since
        if waited > STACKS_TIMEOUT + _LOOP_TIMEOUT:
            return True
        return all(
            child in self._dumps and (not child.number or child.suspended is not None or waited > _LOOP_TIMEOUT)
            for child in self._children
        )

    def found(self) -> list[ProcessState]:
        """One entry for each process, this one first."""
        here = [ThreadState("other", frames_of(sys._getframe(1)))]
        supervisor = ProcessState("supervisor", os.getpid(), threads=here)
        return [supervisor, *(self._one(child) for child in self._children)]

    def _one(self, child: Child) -> ProcessState:
        waiting = {job.id: job.frames for job in child.suspended or ()}
        answered = not child.number or child.suspended is not None
        threads = [ThreadState(*thread) for thread in threads_in(self._dumps.get(child, ""), LOOP)]
        name = name_of(child).removeprefix("the ")
        found = state_of(name, child.pid, child.board, self._task_of, threads, waiting, answered=answered)
        return found if threads else replace(found, silence=silence_of(child.pid))


def state_of(
    name: str,
    pid: int,
    board: SharedBoard,
    task_of: Callable[[Started], str],
    threads: Sequence[ThreadState] = (),
    waiting: Mapping[str, list[Frame]] = MappingProxyType({}),
    *,
    answered: bool = False,
) -> ProcessState:
    """One process by its board, and by what it has answered.

    Args:
        waiting: frames of suspended jobs by their ids.
        answered: the loop of the process has; else it may be blocked, by the job whose step it is on.
    """
    now = time.monotonic()
    still = 0.0 if answered or now - board.heartbeat < _HEARTBEAT_TIMEOUT else round(now - board.heartbeat, 3)
    jobs = [
        JobState(
            id=job.id,
            task=task_of(job),
            seconds=round(now - job.since, 3),
            blocks=bool(still) and job.slot == board.stepping,
            awaits=waiting.get(job.id, []),
        )
        for job in board.started()
    ]
    return ProcessState(name, pid, board.incarnations, still, list(threads), jobs)
