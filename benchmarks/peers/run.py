"""One interleaved run: in each repetition every workload, in each workload every peer, and never in the same order."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psutil
from rich.progress import Progress, TaskID

from ..report import facts
from .install import Environment
from .outcome import Failure, Outcome, Row
from .rates import calibrate
from .server import Server
from .service import Failed
from .trial import Sizes, Speed, Trial
from .workloads import Workload

__all__ = ["Runner", "about"]

#: What a run may raise that is the peer's own affair, and a row of the table.
_AFFAIRS = (Failed, OSError, ValueError, KeyError, subprocess.SubprocessError, psutil.Error)


def about(server: Server, reps: int, quick: bool, sizes: Sizes) -> dict[str, Any]:
    """What all figures depend on."""
    common = facts(f"{server.name}, loopback TCP, append-only off")
    return {
        "date": common["date"].partition(" ")[0],
        "command": common["command"],
        "machine": f"{common['machine']}; {common['system']}; load before the run {common['load']}",
        "server": common["server"],
        "repetitions": reps,
        "quick": quick,
        "recovery": sizes.recovery,
    }


@dataclass(slots=True)
class Runner:
    """Runs workloads of peers and takes down what they give."""

    server: Server
    environments: Sequence[Environment]
    workloads: Sequence[Workload]
    sizes: Sizes
    reps: int
    outcome: Outcome
    #: Called after every workload, so that a long run that ends early leaves something.
    save: Callable[[], None]

    def run(self, progress: Progress) -> None:
        """Measure everything; a KeyboardInterrupt leaves in the outcome what there is."""
        runs = sum(
            min(each.most, self.reps) for each in self.workloads for env in self.environments if each.fits(env.peer)
        )
        bar = progress.add_task("calibrating", total=runs + len(self.environments))
        speeds = {env.peer.name: self._speed(env, progress, bar) for env in self.environments}
        for repetition in range(self.reps):
            for place, workload in enumerate(self.workloads):
                if repetition >= workload.most:
                    continue
                for env in _rotated(self.environments, repetition + place):
                    if workload.fits(env.peer):
                        text = f"{repetition + 1}/{self.reps} {workload.name}: {env.peer.title}"
                        progress.update(bar, description=text)
                        self._one(workload, env, speeds[env.peer.name], repetition)
                        progress.advance(bar)
                self.save()
                if not progress.console.is_terminal:
                    progress.console.print(f"{repetition + 1}/{self.reps} {workload.name}: done {time.strftime('%X')}")

    def _speed(self, env: Environment, progress: Progress, bar: TaskID) -> Speed | None:
        peer = env.peer
        self.outcome.rows.append(Row(peer.name, peer.title, env.release, env.python_version))
        progress.update(bar, description=f"calibrating {peer.title}")
        try:
            return calibrate(env, self.server, self.sizes)
        except _AFFAIRS as error:
            self.outcome.failures.append(Failure(peer.name, "calibrate", 0, _reason(error)))
            return None
        finally:
            progress.advance(bar)

    def _one(self, workload: Workload, env: Environment, speed: Speed | None, repetition: int) -> None:
        name = env.peer.name
        try:
            if speed is None:
                raise Failed("left out: its first jobs did not run")
            self.outcome.add(name, workload.run(Trial(env, self.server, self.sizes, speed)))
        except _AFFAIRS as error:
            self.outcome.failures.append(Failure(name, workload.name, repetition + 1, _reason(error)))


def _rotated(environments: Sequence[Environment], by: int) -> list[Environment]:
    by %= len(environments)
    return [*environments[by:], *environments[:by]]


def _reason(error: BaseException) -> str:
    return str(error) if isinstance(error, Failed) else f"{type(error).__name__}: {error}"
