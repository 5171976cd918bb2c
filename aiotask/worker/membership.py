"""The registration of a worker: the name under which the broker knows it, and whether the broker can be reached."""

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
from .run import Board

__all__ = ["Membership", "pause"]

logger = logging.getLogger("aiotask.worker")

#: Seconds within which the same trouble with the broker is logged once.
_LOGGED_ONCE = 60.0


class Membership:
    """Registers one worker under a new name each time, since a name is live once at most.

    Args:
        board: records the name, to be read after a death.
        recorded: whether finished jobs are kept for a recorder.
    """

    def __init__(
        self, broker: Broker, board: Board, *, host: str, number: str, facts: dict[str, object], recorded: bool
    ) -> None:
        self._broker = broker
        self._board = board
        self._host = host
        #: The first name of the worker; a later incarnation has a number behind it.
        self.name = f"{host}.{number}"
        self._facts = facts
        self._recorded = recorded
        self._lives = 0
        #: The current name; empty before the first registration.
        self.incarnation = ""
        #: Whether the broker is out of reach.
        self.lost = False
        self._said = ("", 0.0)
        self._loud = True

    async def enlist(self, stopping: Callable[[], bool]) -> None:
        """Become live under a new name, trying again until the broker accepts it or the worker stops."""
        delay = 0.05
        while not stopping():
            self._lives += 1
            name = self.name if self._lives == 1 else f"{self.name}r{self._lives}"
            # Before the broker: a death between the two calls is noticed only if the board has the name.
            self._board.enlist(name)
            try:
                # Checks what the server can do: a later refusal would be one of many, and say less.
                await self._broker.open()
                if self._recorded:
                    # Before the first claim, since the recorder may start after the first job has ended.
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
