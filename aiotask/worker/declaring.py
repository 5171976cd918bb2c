"""The agent that tells the broker what the limits of a worker's tasks are."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from typing import NamedTuple, cast

from ..broker import Broker
from ..brokers import features, inspect
from ..brokers.limits import Limits, LimitsReader
from ..brokers.technology import LIMITS
from ..errors import BrokerError, ConnectionLost
from ..log.throttle import ErrorReporter
from ..loops.delay import BrokerDelay
from ..values.limit import LimitSpec

__all__ = ["Declarer", "Declaring"]

logger = logging.getLogger("aiotask.worker")

#: Seconds between two declarations: a server that was emptied, or a key that was deleted, learns the limits again.
EVERY = 60.0


class Declarer(NamedTuple):
    """Who declares limits, as the broker is told."""

    #: What the workers were started for, such as ``shop.tasks:app``. Limits that were declared under this name before,
    #: and are not any more, are removed.
    by: str
    #: When these workers were started, or told to reload, by the monotonic clock of their machine. None: a worker in a
    #: user's program, which only adds limits, and changes none that ``aiotask worker`` has declared.
    since: float | None = None


class Declaring:
    """Declares the limits when the worker has enlisted, and once a minute."""

    def __init__(self, broker: Broker, specs: Sequence[LimitSpec], declarer: Declarer) -> None:
        self._broker = broker
        self._specs = specs
        self._by, self._since = declarer
        self._has_limits = LIMITS in features(broker.url)
        self._soon = asyncio.Event()
        #: Call it when the broker may not know the limits.
        self.hurry = self._soon.set
        self._report_error = ErrorReporter(logger, "The limits of tasks are not in force: %s")

    async def run(self) -> None:
        """Until cancelled."""
        delay = BrokerDelay()
        while self._has_limits:
            await self._wait()
            try:
                await self._declare()
            except ConnectionLost:
                self.hurry()
                await delay.wait()
            except BrokerError as error:
                # A worker of an older release is live; it is being replaced, perhaps.
                self._report_error(error)
                self.hurry()
                await asyncio.sleep(1.0)
            else:
                delay.reset()
        await asyncio.Event().wait()

    async def _wait(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(EVERY if self._specs else None):
                await self._soon.wait()
        self._soon.clear()

    async def _declare(self) -> None:
        infos = await cast("LimitsReader", inspect(self._broker)).limits()
        known = {info.name: info.by for info in infos}
        mine = self._by in known.values()
        if not self._specs and (self._since is None or not mine):
            # Most apps: they have no limits, and had none.
            return
        broker = cast("Limits", self._broker)
        if self._since is not None:
            generation = await self._now() - (time.monotonic() - self._since)
            removed = await broker.declare_limits(generation, self._by, self._specs, removes=True)
            if removed:
                # The own limit of a task is known to people by the name of the task.
                names = {info.name: info.spec.task or info.name for info in infos if info.spec is not None}
                shown = ", ".join(names.get(name, name) for name in removed)
                logger.info("Limits that no task has any more were removed: %s. Their jobs run without them.", shown)
            return
        own = [spec for spec in self._specs if known.get(spec.name) == self._by]
        if own:
            await broker.declare_limits(await self._now(), self._by, own)
        await broker.declare_limits(0.0, self._by, [spec for spec in self._specs if spec not in own])

    async def _now(self) -> float:
        """Unix seconds of the broker's clock."""
        return (await inspect(self._broker).facts()).time or time.time()
