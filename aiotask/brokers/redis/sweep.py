"""Deletes what is left behind: consumers of dead incarnations in the lanes, reports of jobs that have ended."""

from __future__ import annotations

from typing import Any

from ...log.throttle import Throttle
from ..lanes import ADMITTED, BELL, KINDS, SUSPECT
from .connection import Wire
from .script import script

__all__ = ["Sweep"]

#: Seconds between two sweeps, since the server checks every consumer of every lane.
EVERY = 60.0
#: Lanes in one call.
_LANES = 240


class Sweep:
    """The sweeps of one broker object; the first is due at once."""

    def __init__(self, wire: Wire, prefix: str) -> None:
        self._wire = wire
        self._prefix = prefix
        self._due = Throttle(EVERY)

    def hurry(self) -> None:
        """A host was declared dead: the next sweep is due at once."""
        self._due.reset()

    async def run(self) -> None:
        """Sweep all lanes, if the next sweep is due.

        Raises:
            BrokerError: the server failed a command; the next sweep is due in a minute all the same.
        """
        if not self._due.passes():
            return
        lanes = await self._lanes()
        while lanes:
            done = await self._wire.run(script("sweep"), self._prefix, *lanes[:_LANES])
            lanes = lanes[done:]
        for name in ("progress", "follow", "checkpoints"):
            await self._forget(name)

    async def _forget(self, name: str) -> None:
        """Remove what ended jobs have left in this hash."""
        cursor: Any = b"0"
        while True:
            cursor = await self._wire.run(script("forget_progress"), self._prefix, name, cursor)
            if cursor == b"0":
                return

    async def _lanes(self) -> list[bytes]:
        queues = await self._wire.call("SMEMBERS", f"{self._prefix}queues")
        needs = await self._wire.call("SMEMBERS", f"{self._prefix}parked")
        kinds = [kind.encode() for kind in (*KINDS, SUSPECT, ADMITTED, BELL)]
        return [b"q:%b:%b" % (queue, kind) for queue in queues for kind in kinds] + [
            b"parked:" + need for need in needs
        ]
