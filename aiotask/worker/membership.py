"""A worker among the live ones: under which name the broker knows it, and whether it can be reached."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable

import msgspec

from ..broker import Broker
from ..brokers import history_of
from ..errors import BrokerError
from ..job import RELEASE
from .run import Marks

__all__ = ["Membership", "pause"]

logger = logging.getLogger("aiotask.worker")

#: Seconds within which the same trouble with the broker is logged once.
_LOGGED_ONCE = 60.0


class Membership:
    """One name after the other: each is live once in its life.

    Args:
        marks: where the name is written down, to be read after a death.
        recorded: finished jobs are kept for a recorder.
    """

    def __init__(
        self, broker: Broker, marks: Marks, *, host: str, number: str, facts: dict[str, object], recorded: bool
    ) -> None:
        self._broker = broker
        self._marks = marks
        self._host = host
        #: The first name of the worker; a later incarnation has a number behind it.
        self.name = f"{host}.{number}"
        # A release that knows graphs sends none while workers of an older one live.
        self._facts = {**facts, "release": RELEASE}
        self._recorded = recorded
        self._lives = 0
        #: The name in force; empty before the first.
        self.incarnation = ""
        #: The broker is out of reach.
        self.lost = False
        self._said = ("", 0.0)
        self._loud = True

    async def enlist(self, stopping: Callable[[], bool]) -> None:
        """Become live under a new name; for ever, since a worker outlasts its broker, but not past a stop."""
        delay = 0.05
        while not stopping():
            self._lives += 1
            name = self.name if self._lives == 1 else f"{self.name}r{self._lives}"
            # First: a death between the two calls is noticed only if the name is written down.
            self._marks.enlist(name)
            try:
                # Is it a server that can do all that is asked of it? Later the refusals would be many and dark.
                await self._broker.open()
                if self._recorded:
                    # Before the first claim: the recorder may come up later than the first job ends.
                    await history_of(self._broker).start_history()
                await self._broker.enlist(name, self._host, msgspec.msgpack.encode(self._facts))
            except BrokerError as error:
                self.say_lost(error)
                delay = await pause(delay)
                continue
            self.incarnation = name
            self.say_found()
            return

    def say_lost(self, error: BrokerError) -> None:
        """The broker does not answer; logged once, and what comes and goes once a minute."""
        if self.lost:
            return
        self.lost = True
        self._loud = str(error) != self._said[0] or time.monotonic() - self._said[1] > _LOGGED_ONCE
        if self._loud:
            self._said = str(error), time.monotonic()
            logger.warning("%s Trying again until the broker answers.", error)

    def say_found(self) -> None:
        """The broker answers again."""
        if self.lost:
            self.lost = False
            if self._loud:
                logger.info("The broker is back; consuming again.")


async def pause(delay: float) -> float:
    """Wait up to ``delay`` seconds before another attempt; returns the next delay."""
    await asyncio.sleep(delay * random.uniform(0.5, 1.0))
    # Well again, the broker is found so within a second.
    return min(delay * 2, 0.8)
