"""The agent of a worker that tells the broker which arguments its app hides, for tools that do not import the app."""

from __future__ import annotations

import asyncio
import logging

from ..brokers.hides import Hides, decode_hidden, encode_hidden
from ..errors import BrokerError
from ..log.throttle import Throttle
from ..values.hidden import Hidden

__all__ = ["tell_hidden"]

logger = logging.getLogger("aiotask.worker")

#: Seconds between two times that it is told, and after one that the broker refused.
_EVERY, _AGAIN = 60.0, 5.0


async def tell_hidden(broker: Hides, by: str, hidden: Hidden, *, replaces: bool) -> None:
    """Tell the broker now and once a minute, since it may lose what it has; until cancelled, or once where the app
    hides nothing of its own.

    Args:
        by: names the code of the app.
        replaces: whether what the same code hid before counts no more; else it still does.
    """
    lines = Throttle(600.0)
    is_plain = hidden == Hidden()
    while True:
        try:
            if not replaces and not is_plain:
                hidden = decode_hidden([(await broker.hidden()).get(by, b"")]).joined(hidden)
            if replaces or not is_plain:
                await broker.hide(by, b"" if is_plain else encode_hidden(hidden))
        except BrokerError as error:
            if lines.passes():
                logger.warning("The broker could not be told which arguments are hidden; trying again: %s", error)
            await asyncio.sleep(_AGAIN)
            continue
        if is_plain:
            return
        await asyncio.sleep(_EVERY)
