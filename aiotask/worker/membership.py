"""The registration of a worker: the name under which the broker knows it, and whether the broker can be reached."""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec

from ..broker import Broker
from ..brokers import history_of
from ..errors import BrokerError
from ..job import RELEASE
from ..log.throttle import Throttle
from ..loops.delay import BrokerDelay
from .run import Board

__all__ = ["Membership"]

logger = logging.getLogger("aiotask.worker")

#: Seconds within which the same trouble with the broker is logged once.
_LOGGED_ONCE = 60.0


class Membership:
    """Registers one worker under a new name each time, since a name is live once at most.

    Args:
        board: records the name, to be read after a death.
        recorded: whether finished jobs are kept for a recorder.
        source: what the log calls the broker.
    """

    def __init__(
        self,
        broker: Broker,
        board: Board,
        *,
        host: str,
        number: str,
        facts: dict[str, object],
        recorded: bool,
        source: str = "broker",
    ) -> None:
        self._broker = broker
        self._board = board
        self._host = host
        #: The first name of the worker; a later incarnation has a number behind it.
        self.name = f"{host}.{number}"
        # Clients read the release: which jobs a worker can run, and whether it knows graphs.
        self._facts = {**facts, "release": RELEASE}
        self._recorded = recorded
        #: What the jobs come from, in messages: the broker or the database.
        self.source = source
        self._lives = 0
        #: The current name; empty before the first registration.
        self.incarnation = ""
        #: Whether the broker is out of reach.
        self.lost = False
        #: Log lines about the broker, and the reason in the last one.
        self._lines = Throttle(_LOGGED_ONCE)
        self._reason = ""
        self._loud = True

    async def enlist(self, stopping: Callable[[], bool]) -> None:
        """Become live under a new name, trying again until the broker accepts it or the worker stops."""
        delay = BrokerDelay()
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
            logger.warning("%s Trying again until the %s answers.", error, self.source)

    def say_found(self) -> None:
        """The broker answers again."""
        if self.lost:
            self.lost = False
            if self._loud:
                logger.info("The %s is back; consuming again.", self.source)
