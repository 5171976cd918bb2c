"""The clock of a store: a parameter, so that a test turns time instead of waiting for it."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Clock"]


class Clock(Protocol):
    """What a store asks for the time; the module ``time`` is one."""

    def time(self) -> float:
        """Unix seconds: for what is due, and for what people read."""
        ...

    def monotonic(self) -> float:
        """Seconds since some moment: for what expires."""
        ...
