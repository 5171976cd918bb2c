"""Send buffers of event loops that no longer send: closed without cleanup, stopped, or blocked."""

from __future__ import annotations

import asyncio

from .send_buffer import SendBuffer
from .watchers import wake

__all__ = ["ASK_EVERY", "TICK", "answers", "drained"]

#: Seconds in which a running loop has to answer; else it counts as blocked.
ANSWER_TIMEOUT = 1.0
#: Seconds between two checks whether a loop answers.
ASK_EVERY = 0.25
#: Seconds between two checks of what another loop has sent.
TICK = 0.01


async def answers(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether a loop runs, and runs a callback within ANSWER_TIMEOUT seconds."""
    if loop.is_closed() or not loop.is_running():
        return False
    answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    try:
        loop.call_soon_threadsafe(wake, answer)
    except RuntimeError:  # closed just now
        return False
    done, _ = await asyncio.wait((answer,), timeout=ANSWER_TIMEOUT)
    return bool(done)


async def drained(send_buffer: SendBuffer) -> None:
    """Return once every job put into this buffer so far is accepted or refused, by a sender in any loop."""
    goal, waiting = send_buffer.handed, None
    while True:
        if send_buffer.settled_count >= goal:
            waiting = (
                set(send_buffer.waiting_for_room) if waiting is None else waiting & send_buffer.waiting_for_room.keys()
            )
            if not waiting:
                return
        await asyncio.sleep(TICK)
