"""Jobs that send others and wait for them, all of which write the ledger."""

from __future__ import annotations

import asyncio
import time
from random import Random

from aiotask import current_job, gather

from ..app import app as app
from ..ledger import attempt

#: Seconds that a child takes at most.
LONGEST = 0.3


@app.task
async def child(parent: str, n: int) -> str:
    with attempt() as token:
        await asyncio.sleep(Random(f"{parent} {n}").uniform(0.0, LONGEST))
        return token


@app.task
def sync_child(parent: str, n: int) -> str:
    with attempt() as token:
        time.sleep(Random(f"{parent} {n}").uniform(0.0, LONGEST))
        return token


@app.task
async def parent(children: int) -> tuple[str, list[str]]:
    """Its run, and the ids of its children, which it sends in two lots."""
    me = current_job().id
    with attempt() as token:
        ids = []
        for lot in range(2):
            sent = [(sync_child if n % 4 == 0 else child).apply_async(me, n) for n in range(lot, children, 2)]
            await gather(sent)
            ids += [result.id for result in sent]
        return token, ids


@app.task
async def grandparent(parents: int, children: int) -> tuple[str, list[str]]:
    """Its run, and the ids of all that came of it."""
    with attempt() as token:
        # Equal calls.
        sent = [parent.apply_async(children) for _ in range(parents)]
        ids = [result.id for result in sent]
        for _, theirs in await asyncio.gather(*sent):
            ids += theirs
        return token, ids
