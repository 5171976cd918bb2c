"""Connections cut by the server: all of a kind, or one by its id, over and over."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from random import Random

from ..arena import Arena

__all__ = ["Storm"]


class Storm:
    """``CLIENT KILL`` in turn to normal clients, to subscribers, and to one by its id.

    Args:
        every: seconds between two.
    """

    def __init__(self, arena: Arena, rng: Random, every: float) -> None:
        self._arena = arena
        self._rng = rng
        self._every = every
        #: Connections that were cut, by how.
        self.cut: Counter[str] = Counter()
        self._before = self._received()
        #: Connections there were when it began.
        self.open = len(self._clients())

    async def rage(self, until: float) -> None:
        """Until that moment (monotonic)."""
        ways = ("normal", "pubsub", "id")
        number = 0
        while time.monotonic() < until:
            await asyncio.sleep(self._every)
            self._strike(ways[number % len(ways)])
            number += 1

    def _strike(self, way: str) -> None:
        call = self._arena.server.call
        if way == "id":
            others = self._clients()
            cut = call("CLIENT KILL", "ID", self._rng.choice(others)) if others else 0
        else:
            cut = call("CLIENT KILL", "TYPE", way)
        self.cut[way] += int(cut)
        self._arena.fault(f"kill {way}")

    def _clients(self) -> list[int]:
        """Ids of all connections but our own."""
        own = int(self._arena.server.call("CLIENT ID"))
        clients = self._arena.server.call("CLIENT LIST")
        return [id for id in (int(client["id"]) for client in clients) if id != own]

    def _received(self) -> int:
        return int(self._arena.server.call("INFO", "stats")["total_connections_received"])

    @property
    def reconnects(self) -> int:
        """Connections that the server has taken since the beginning."""
        return self._received() - self._before
