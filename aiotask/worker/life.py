"""What the parts of a worker wait for: its stop, and a change of what it has in hand."""

from __future__ import annotations

import asyncio
import contextlib

__all__ = ["Life"]


class Life:
    """One worker's life, shared by its parts. For the worker's loop.

    Attributes:
        stopping: the worker claims no more, and starts nothing.
        stir: call it when something has changed: a job has ended or went back, or a seat is free.
    """

    def __init__(self) -> None:
        self.stopping = False
        self._changed = asyncio.Event()
        self.stir = self._changed.set

    def stop(self) -> None:
        """From now on the worker is stopping."""
        self.stopping = True
        self.stir()

    async def wait(self, timeout: float | None) -> None:
        """Return at the next change, or after this many seconds. Check for what you wait for right before this call:
        a change before it is not noticed."""
        self._changed.clear()
        if timeout is None:
            await self._changed.wait()
        else:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._changed.wait()
