"""What a measurement is given."""

from __future__ import annotations

from dataclasses import dataclass

from .server import Server

__all__ = ["Plan"]


@dataclass(frozen=True, slots=True)
class Plan:
    """The server to measure against, how many jobs for a rate, and how often."""

    server: Server
    jobs: int
    reps: int
