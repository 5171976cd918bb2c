"""What becomes of a process that a job forks while its worker runs in the event loop of the user."""

from __future__ import annotations

import os
from typing import ClassVar
from weakref import WeakSet

from ..context import entered
from ..worker.job_fork import LoopThreads, end_with_caller

__all__ = ["JobFork"]


class JobFork:
    """For the forks of the jobs of one worker. What the program forks outside of jobs is its own affair."""

    #: Those of the workers that run in this process.
    _all: ClassVar[WeakSet[JobFork]] = WeakSet()

    def __init__(self) -> None:
        #: This process is a copy.
        self.is_copy = False
        self.loops = LoopThreads()
        JobFork._all.add(self)

    @classmethod
    def become_copies(cls) -> None:
        """In a process that was forked just now."""
        for fork in cls._all:
            fork.is_copy = True
        if entered.get().worker:
            for fork in list(cls._all):
                if fork.loops.caller is not None:
                    end_with_caller(fork.loops)
                    return
            if cls._all:
                end_with_caller(LoopThreads())


os.register_at_fork(after_in_child=JobFork.become_copies)
