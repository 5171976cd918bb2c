"""A worker among the live ones: under which name the broker knows it, and whether it can be reached."""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec

from ..broker import Broker
from ..brokers import history_of
from ..errors import BrokerError
from ..log.throttle import Throttle
from ..loops.delay import BrokerDelay
from .run import Marks

__all__ = ["Membership"]

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
        self._facts = facts
        self._recorded = recorded
        self._lives = 0
        #: The name in force; empty before the first.
        self.incarnation = ""
        #: The broker is out of reach.
        self.lost = False
        #: Log lines about the broker, and the reason in the last one.
        self._lines = Throttle(_LOGGED_ONCE)
        self._reason = ""
        self._loud = True

    async def enlist(self, stopping: Callable[[], bool]) -> None:
        """Become live under a new name; for ever, since a worker outlasts its broker, but not past a stop."""
        delay = BrokerDelay()
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
                await delay.wait()
                continue
            self.incarnation = name
            self.say_found()
            return

    def say_lost(self, error: BrokerError) -> None:
        """The broker does not answer; logged once, and what comes and goes once a minute."""
        if self.lost:
            return
        self.lost = True
        if str(error) != self._reason:
            self._reason = str(error)
            self._lines.reset()
        self._loud = bool(self._lines.passes())
        if self._loud:
            logger.warning("%s Trying again until the broker answers.", error)

    def say_found(self) -> None:
        """The broker answers again."""
        if self.lost:
            self.lost = False
            if self._loud:
                logger.info("The broker is back; consuming again.")
