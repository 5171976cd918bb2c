"""Event loops that do not send what was handed over in them: closed bare, standing still, or blocked."""

from __future__ import annotations

import asyncio

from .send_buffer import Outbox
from .watchers import wake

__all__ = ["ASK_EVERY", "TICK", "answers", "drained"]

#: Seconds in which a loop that runs has to answer; else it is taken for blocked.
ANSWER_TIMEOUT = 1.0
#: Seconds between two questions.
ASK_EVERY = 0.25
#: Seconds between two looks at what another loop sends.
TICK = 0.01


async def answers(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether a loop runs, and runs what it is given within ANSWER_TIMEOUT seconds."""
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
