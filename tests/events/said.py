"""A terminal and a clock for the log, and the lines that were said."""

from __future__ import annotations

import io

TASK = "shop.tasks:render"


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Clock:
    """Time that only moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def __getattr__(self, name: str) -> object:
        import time

        return getattr(time, name)


def lines(stream: io.StringIO) -> list[str]:
    return stream.getvalue().splitlines()
