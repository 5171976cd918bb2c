"""Finds the key of an app that has the wrong type, which the server's error does not name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from ..lanes import all_lanes, is_lane
from .keys import in_index

__all__ = ["name_wrong_key"]

#: Types of keys, as in the table in keys.py; keys with an id in their name are left out.
_TYPES = {
    **dict.fromkeys(("queues", "parked", "index"), "set"),
    **dict.fromkeys(("held", "watch", "marks", "begun", "live", "leases", "dead:jobs", "counts", "nodes"), "hash"),
    **dict.fromkeys(("due", "dead", "graphs"), "zset"),
    **dict.fromkeys(("aside", "history"), "stream"),
    "volunteer": "string",
}
#: Lanes that are checked at most: those of the command come first.
_MOST = 500


async def name_wrong_key(ask: Callable[..., Awaitable[object]], prefix: str, command: Iterable[object]) -> str:
    """A sentence about the first key of the wrong type, and what to do; empty: there is no such key (any more).

    Args:
        ask: sends a command and returns the reply.
        command: the refused command, whose arguments may be lanes, with or without the prefix.
    """
    wanted = dict(_TYPES)
    words = [part.removeprefix(prefix) for part in command if isinstance(part, str)]
    lanes = list(filter(is_lane, words))
    if await ask("TYPE", f"{prefix}queues") == b"set":
        queues = await ask("SMEMBERS", f"{prefix}queues")
        names = [queue.decode("utf-8", "replace") for queue in queues] if isinstance(queues, list) else []
        lanes += [lane for name in names for lane in all_lanes(name)]
    wanted.update(dict.fromkeys(lanes[:_MOST], "stream"))
    buckets = {in_index(word.encode())[0].decode("utf-8", "replace") for word in words[:_MOST]}
    wanted.update(dict.fromkeys((f"index:{bucket}" for bucket in buckets), "hash"))
    for name, kind in wanted.items():
        found = await ask("TYPE", prefix + name)
        if isinstance(found, bytes) and found not in (b"none", kind.encode()):
            key = prefix + name
            return (
                f'The key "{key}" holds a {found.decode()}, where aiotask keeps a {kind}: another program wrote it. '
                f'Move the key out of the way (RENAME "{key}" …) or remove it (DEL "{key}"); aiotask then continues '
                "by itself"
            )
    return ""
