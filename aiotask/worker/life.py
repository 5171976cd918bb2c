"""The signals that the parts of a worker wait for: its stop, and a change of the jobs in hand."""

from __future__ import annotations

import asyncio
import contextlib

__all__ = ["Life"]


class Life:
    """The stop and the changes of one worker, shared by its parts. For the worker's loop.

    Attributes:
        stopping: whether the worker stops: it claims and starts no more jobs.
        drained: whether the same is true until further notice: the worker stays, and goes on once the host is resumed.
        stir: call it when something has changed: a job has ended or went back, or a seat is free.
    """

    def __init__(self) -> None:
        self.stopping = self.drained = False
        self._changed = asyncio.Event()
        self.stir = self._changed.set

    def stop(self) -> None:
        """Begin the stop of the worker."""
        self.stopping = True
        self.stir()

    async def wait(self, timeout: float | None) -> None:
        """Return at the next change, or after ``timeout`` seconds.

        A change before this call is not noticed, so the caller checks its condition right before it."""
        self._changed.clear()
        if timeout is None:
            await self._changed.wait()
        else:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._changed.wait()
