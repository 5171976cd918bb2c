"""Kills worker processes, and accounts for the runs that ended with them."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from dataclasses import replace
from typing import Any

import psutil

from .ledger import Entry
from .stage import Stage

__all__ = ["Killer"]


class Killer:
    """Kills worker processes, and knows when: a run that it has ended has no end in the ledger."""

    def __init__(self, stage: Stage, seed: int = 0) -> None:
        self._stage = stage
        self._random = random.Random(seed)
        self._at: dict[int, float] = {}

    @property
    def kills(self) -> int:
        return len(self._at)

    def kill(self, pid: int) -> None:
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            process = psutil.Process(pid)
            os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(psutil.TimeoutExpired):
                process.wait(0)
            self._at[pid] = time.monotonic()

    def kill_one(self) -> None:
        """Kill a process in which a run is under way."""
        running = {run.pid for run in self._stage.ledger.runs() if run.end is None and run.pid not in self._at}
        if running:
            self.kill(self._random.choice(sorted(running)))

    def runs(self, label: Any = None) -> list[Entry]:
        """The runs, those that a kill has ended with its time."""
        found = self._stage.ledger.runs(label)
        return [replace(run, end=self._at.get(run.pid)) if run.end is None else run for run in found]
