"""How late an event loop runs what is due, and how late this machine runs anything.

Run as a script this file is the second: a process that does nothing but sleep, and writes down when
it was woken late. What both saw is the machine's doing.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["LoopLag"]

#: Seconds between two probes, and of lateness that are worth a line.
_EVERY = 0.005
_NOTABLE = 0.005
_HERE = Path(__file__).resolve()


class LoopLag:
    """Probes the running loop for as long as the block lasts.

    Args:
        path: where the other process writes.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._late: list[tuple[float, float]] = []
        self._probing: asyncio.Task[None] | None = None
        self._other: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        with self._path.open("ab") as file:
            self._other = await asyncio.create_subprocess_exec(sys.executable, str(_HERE), stdout=file)
        self._probing = asyncio.create_task(self._probe())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        assert self._probing is not None and self._other is not None
        self._probing.cancel()
        self._other.terminate()
        await self._other.wait()

    async def _probe(self) -> None:
        while True:
            due = time.monotonic() + _EVERY
            await asyncio.sleep(_EVERY)
            now = time.monotonic()
            if now - due > _NOTABLE:
                self._late.append((now, now - due))

    def worst(self, since: float, until: float, leave_out: int = 0) -> float:
        """The greatest lateness of the loop, in seconds; the few worst left out."""
        return _worst(self._late, since, until, leave_out)

    def of_machine(self, since: float, until: float) -> float:
        """The greatest lateness of a process that only sleeps."""
        lines = self._path.read_text().splitlines()
        pairs = [(float(at), float(late)) for at, _, late in (line.partition(" ") for line in lines) if late]
        return _worst(pairs, since, until, 0)


def _worst(late: list[tuple[float, float]], since: float, until: float, leave_out: int) -> float:
    found = sorted((seconds for at, seconds in late if since <= at <= until), reverse=True)
    return found[leave_out] if len(found) > leave_out else 0.0


def _sleep_for_ever() -> None:
    parent = os.getppid()
    while os.getppid() == parent:
        due = time.monotonic() + _EVERY
        time.sleep(_EVERY)
        now = time.monotonic()
        if now - due > _NOTABLE:
            os.write(1, f"{now:.6f} {now - due:.6f}\n".encode())


if __name__ == "__main__":
    _sleep_for_ever()
