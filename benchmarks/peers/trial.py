"""What every measurement is given: the peer, the server, and how much of it."""

from __future__ import annotations

from dataclasses import dataclass

from .install import Environment
from .server import Server

__all__ = ["QUICK", "Sizes", "Speed", "Trial"]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How long things last; times are seconds."""

    #: Of a rate.
    rate: float = 2.5
    idle_calls: int = 300
    idle: float = 10.0
    cpu_jobs: int = 128
    #: What is not back so long after the kill is lost.
    recovery: float = 75.0
    #: After this a run is given up.
    limit: float = 60.0

    def patience(self, gives_back: bool) -> float:
        """How long to wait for interrupted jobs; it shows soon that a queue without claims does not give any back."""
        return self.recovery if gives_back else min(self.recovery, 10.0)


QUICK = Sizes(rate=0.8, idle_calls=100, idle=3.0, cpu_jobs=64, recovery=14.0, limit=30.0)


@dataclass(slots=True)
class Speed:
    """About how fast a peer is here: decides how many jobs a run gets."""

    send: float
    drain: float
    #: Steps of the CPU-bound work in one job.
    steps: int


@dataclass(frozen=True, slots=True)
class Trial:
    """One peer on the server."""

    env: Environment
    server: Server
    sizes: Sizes
    speed: Speed
