"""The clock of a store: a parameter, so that a test advances time instead of waiting."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Clock"]


class Clock(Protocol):
    """The clock that a store reads; the module ``time`` is one."""

    def time(self) -> float:
        """Unix seconds: for due times, and for times that people read."""
        ...

    def monotonic(self) -> float:
        """Seconds since an arbitrary moment: for expiry."""
        ...
