"""The agent of a worker that declares the schedules in the code of its app: once a minute, and as it registers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence

from ..brokers.schedules import Declaration, Schedules
from ..errors import BrokerError
from ..log.throttle import Throttle

__all__ = ["IN_LOOP", "Declaring"]

logger = logging.getLogger("aiotask.worker")

#: The declarer of schedules in the code of workers in event loops.
IN_LOOP = "in-loop"
#: Seconds between two declarations; after one that the broker refused, and while a due run of an old one has not gone.
_EVERY, _AGAIN, _SOON = 60.0, 5.0, 0.5
#: Declarations after which no due run of an old one is waited for any more: no keeper can run it.
_PATIENCE = 20


class Declaring:
    """Declares the schedules of one app.

    Args:
        by: what declares them; IN_LOOP only adds.
        generation: takes the broker's clock, and returns when the code was started, by that clock.
        declarations: takes declarer and generation, and returns the schedules.
        enlisted: set each time the worker registers. It does so again where the broker has lost all it had, and the
            schedules with it.
    """

    def __init__(
        self,
        broker: Schedules,
        by: str,
        generation: Callable[[float], float],
        declarations: Callable[[str, float], Sequence[Declaration]],
        enlisted: asyncio.Event,
    ) -> None:
        self._broker = broker
        self._by = by
        self._generation = generation
        self._declarations = declarations
        self._enlisted = enlisted
        self._lines = Throttle(600.0)
        self._waited = 0

    async def run(self) -> None:
        """Until cancelled; once, where the code declares none."""
        while True:
            self._enlisted.clear()
            try:
                is_empty, left = await self._declare()
            except BrokerError as error:
                if self._lines.passes():
                    logger.warning("Schedules could not be declared; trying again: %s", error)
                await asyncio.sleep(_AGAIN)
                continue
            except Exception:
                logger.exception("Schedules could not be declared; trying again in a minute.")
                await self._rest(_EVERY)
                continue
            if is_empty:
                return
            self._waited = self._waited + 1 if left else 0
            await self._rest(_SOON if left else _EVERY)

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._enlisted.wait()

    async def _declare(self) -> tuple[bool, list[str]]:
        generation = self._generation((await self._broker.due_schedules(0)).time)
        batch = self._declarations(self._by, generation)
        removes = self._by != IN_LOOP
        if not batch and not removes:
            return True, []
        force = self._waited >= _PATIENCE
        left = await self._broker.declare_schedules(
            self._by, generation if removes else 0.0, batch, removes=removes, force=force
        )
        return not batch, left
