"""Jobs handed over in an event loop that does not send them: it was closed bare, stands still, or is blocked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from .outbox import Outbox
from .portal import portal
from .watchers import wake

if TYPE_CHECKING:
    from .broker import Broker

__all__ = ["Rescue", "drained"]

#: Seconds in which a loop that runs has to answer; else it is taken for blocked.
ANSWER_TIMEOUT = 1.0
#: Seconds between two questions.
ASK_EVERY = 0.25
#: Seconds between two looks at what another loop sends.
TICK = 0.01


class Rescue:
    """Sends from the portal's loop what another loop leaves unsent, once a caller waits for it.

    Args:
        loop_of: the loop that an outbox belongs to; None: that loop has ended.
        broker: the one of the running loop.
    """

    def __init__(
        self, loop_of: Callable[[Outbox], asyncio.AbstractEventLoop | None], broker: Callable[[], Broker]
    ) -> None:
        self._loop_of = loop_of
        self._broker = broker
        #: Those that are watched.
        self.outboxes: set[Outbox] = set()

    def start(self, outbox: Outbox) -> None:
        """See to it that this outbox is emptied."""
        if outbox.is_copy or outbox.empty or outbox in self.outboxes or portal.runs(self._loop_of(outbox)):
            return
        self.outboxes.add(outbox)
        portal.submit(self._empty(outbox))

    async def _empty(self, outbox: Outbox) -> None:
        try:
            while not outbox.empty:
                loop = self._loop_of(outbox)
                if loop is not None and await _answers(loop):
                    await asyncio.sleep(ASK_EVERY)
                else:
                    await outbox.flush(self._broker())
        finally:
            self.outboxes.discard(outbox)


async def _answers(loop: asyncio.AbstractEventLoop) -> bool:
    if loop.is_closed() or not loop.is_running():
        return False
    answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    try:
        loop.call_soon_threadsafe(wake, answer)
    except RuntimeError:  # closed just now
        return False
    done, _ = await asyncio.wait((answer,), timeout=ANSWER_TIMEOUT)
    return bool(done)


async def drained(outbox: Outbox) -> None:
    """Return once all that was handed over there so far is accepted or refused, by a sender in any loop."""
    goal, held = outbox.handed, None
    while True:
        if outbox.settled_count >= goal:
            held = set(outbox.held) if held is None else held & outbox.held.keys()
            if not held:
                return
        await asyncio.sleep(TICK)
