"""Jobs that are moved to another queue and back while they run, by commands that are killed on the way."""

from __future__ import annotations

import asyncio
import os
import time
from random import Random

from ...commands import Command
from ...workers import ROOT
from ..arena import Arena

__all__ = ["movers_die"]

#: The queue of the jobs, and the other one that the hosts serve.
_QUEUES = ("default", "aside")


async def movers_die(arena: Arena, rng: Random, every: tuple[float, float], until: float) -> None:
    """`aiotask jobs move` from one queue to the other, in turn, with SIGKILL to each after a while."""
    turn = 0
    while time.monotonic() + every[1] < until:
        start, to = _QUEUES if turn % 2 == 0 else reversed(_QUEUES)
        turn += 1
        process = await asyncio.to_thread(_start, arena, start, to)
        await asyncio.sleep(rng.uniform(*every))
        arena.fault("mover", [process.pid])
        process.kill()
        await asyncio.to_thread(process.wait)


def _start(arena: Arena, start: str, to: str) -> Command:
    arguments = ("jobs", "move", "--queue", start, "--to", to, "--yes", "--url", arena.url, "--name", arena.name)
    with (
        open(os.devnull, "rb") as nothing,
        open(os.devnull, "wb") as nowhere,
        open(2, "wb", closefd=False) as errors,
    ):
        return Command("commands", arguments, (nothing, nowhere, errors), env=os.environ, cwd=ROOT)
