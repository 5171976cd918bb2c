"""What is left when all is done: on the server, and of processes."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .arena import Arena
    from .hosts import Host

__all__ = ["immortal_outcomes", "left_behind", "look_until_clean"]

#: Keys that stay when every job is finished (see the table in aiotask/brokers/redis/keys.py).
_USUAL = (
    *(r"q:[^:]+:[0-9rsgb]", "queues", r"r:.+", r"client:.+", "live", "leases", "counts", "history"),
    *("dead", "dead:jobs", "dead:facts", "volunteer", r"g:.+", "graphs", r"kids:.+"),
    *("limits", r"places:.+", r"limit:.+", r"tat:.+", r"once:.+", r"same:.+", r"s:.+", r"reader:.+"),
    *("stats", r"m:\d+", r"m10:\d+", "reports", "audit", "hides", "lost"),
    # The set of the apps of a server has no prefix of an app.
    "aiotask1:apps",
)
#: Of these each needs a time to live.
_MORTAL = re.compile(r"r:|client:|refused:|tat:|once:|same:|s:|reader:|m:|m10:|stats$|volunteer$")
_MORTAL_BESIDE_VALUES = re.compile(_MORTAL.pattern.removeprefix("r:|"))
#: File descriptors that a supervisor may have more than at its start: those of a child that is just being replaced.
_MORE_FDS = 6
#: Items of a key that are shown.
_FEW = 20


async def look_until_clean(
    arena: Arena, settle: float, keys: Sequence[str] = (), *, keeps_values: bool = False
) -> list[str]:
    """What is unfinished or left over on the server, and zombies; looked at until there is nothing, or time is up.

    Args:
        keeps_values: outcomes may live for ever, as those of a graph in which something did not end well.
    """
    deadline = time.monotonic() + settle
    while True:
        found = _on_the_server(arena, keys, _MORTAL_BESIDE_VALUES if keeps_values else _MORTAL)
        for host in arena.living():
            found += [f"zombie: pid {pid} of host {host.pid}" for pid in host.zombies()]
            found += _too_many_fds(host)
        if not found or time.monotonic() > deadline:
            return found
        await asyncio.sleep(0.1)


def _too_many_fds(host: Host) -> list[str]:
    now = host.count_fds()
    if now > host.fds + _MORE_FDS:
        return [f"file descriptors: supervisor {host.pid} has {now}, at its start {host.fds}"]
    return []


def immortal_outcomes(arena: Arena) -> set[str]:
    """Ids of jobs whose outcomes live for ever."""
    names = [name for name in _names(arena) if name.startswith("r:")]
    return {name[2:] for name in names if arena.server.call("PTTL", arena.prefix + name) == -1}


def _on_the_server(arena: Arena, keys: Sequence[str], mortals: re.Pattern[str]) -> list[str]:
    allowed = re.compile("|".join(f"(?:{pattern})" for pattern in (*_USUAL, *keys)))
    server, found = arena.server, []
    for name in _names(arena):
        if name == "index" and _size(arena, name) == 1:
            continue
        if not allowed.fullmatch(name):
            found.append(f"key: {name} ({_size(arena, name)} items){_shown(arena, name)}")
        elif re.fullmatch(r"q:[^:]+:[0-9rsgb]", name):
            found += _in_lane(arena, name)
    mortal = [name for name in _names(arena) if mortals.match(name)]
    for name in mortal[:200]:
        if server.call("PTTL", arena.prefix + name) == -1:
            found.append(f"key: {name} lives for ever")
    return found


def _names(arena: Arena) -> list[str]:
    names, cursor = [], 0
    while True:
        cursor, page = arena.server.call("SCAN", cursor, "MATCH", "*", "COUNT", 5000)
        for key in page:
            name = key.decode()
            names.append(name.removeprefix(arena.prefix))
        if int(cursor) == 0:
            return names


def _size(arena: Arena, name: str) -> Any:
    kind = arena.server.call("TYPE", arena.prefix + name).decode()
    command = {"hash": "HLEN", "zset": "ZCARD", "set": "SCARD", "stream": "XLEN", "string": "STRLEN"}.get(kind)
    return arena.server.call(command, arena.prefix + name) if command else "?"


def _shown(arena: Arena, name: str) -> str:
    """The contents of a small key, which help to find the cause."""
    kind = arena.server.call("TYPE", arena.prefix + name).decode()
    read = {"hash": ("HGETALL",), "zset": ("ZRANGE", 0, -1, "WITHSCORES"), "set": ("SMEMBERS",), "string": ("GET",)}
    if kind not in read or _size(arena, name) > _FEW:
        return ""
    command, *rest = read[kind]
    return f": {arena.server.call(command, arena.prefix + name, *rest)!r:.1000}"


def _in_lane(arena: Arena, name: str) -> list[str]:
    key = arena.prefix + name
    found = []
    if waiting := arena.server.call("XLEN", key):
        found.append(f"entries: {waiting} in {name}")
    live = set(arena.server.call("HGETALL", f"{arena.prefix}live"))
    for group in arena.server.call("XINFO GROUPS", key):
        # Consumers of bells, and what they have heard, are swept once a minute.
        if name.endswith(":b"):
            continue
        if group["pending"]:
            found.append(f"pending: {group['pending']} in {name}")
        for consumer in arena.server.call("XINFO CONSUMERS", key, group["name"]):
            if consumer["name"] not in live:
                found.append(f"consumer: {consumer['name'].decode()} of {name} is not live")
    return found


async def left_behind(arena: Arena) -> list[str]:
    """End every host in good order; what did not end, or outlived its supervisor."""
    found = []
    for host in arena.hosts:
        if host.alive:
            try:
                code = await asyncio.to_thread(host.supervisor.stop, timeout=45.0)
            except AssertionError:
                found.append(f"process: supervisor {host.pid} did not end within 45 s of TERM")
                continue
            if code:
                found.append(f"process: supervisor {host.pid} ended with exit code {code}")
        elif not host.killed:
            found.append(f"process: supervisor {host.pid} had ended with exit code {host.supervisor.exit_code}")
    deadline = time.monotonic() + 15.0
    while (orphans := _orphans({host.pid for host in arena.hosts})) and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    found += [f"process: {orphan} outlived its supervisor" for orphan in orphans]
    return found


def _orphans(sessions: set[int]) -> list[str]:
    """Processes of these sessions, whoever their parent is by now."""
    import psutil

    found = []
    for process in psutil.process_iter():
        try:
            session = os.getsid(process.pid)
            is_orphan = session in sessions and process.pid != session
            if is_orphan and process.status() != psutil.STATUS_ZOMBIE:
                found.append(f"pid {process.pid} of session {session}")
        except (psutil.Error, OSError):
            continue
    return found
