"""Limited tasks: two that share a limit in all and by key, and one with a rate."""

from __future__ import annotations

import asyncio
import os
import time

from aiotask import Limit, Retry, current_job

from ..app import app
from ..ledger import attempt

__all__ = ["EACH", "IN_ALL", "RATE", "app", "call", "render", "sync_render"]

#: Jobs of a key, and of all keys, that run at once.
EACH, IN_ALL = 2, int(os.environ.get("CHAOS_IN_ALL", "60"))
#: Starts per second.
RATE = 50
_shared = Limit("shared", by="key", max_running=IN_ALL, max_running_each=EACH)


@app.task(limit=_shared, retries=1000)
async def render(key: str, seconds: float, fails: int = 0) -> str:
    """Takes so many seconds, and fails so many times before it succeeds."""
    with attempt(key=key) as token:
        await asyncio.sleep(seconds)
        _retry(fails)
        return token


@app.task(limit=_shared, retries=1000)
def sync_render(key: str, seconds: float, fails: int = 0) -> str:
    with attempt(key=key) as token:
        time.sleep(seconds)
        _retry(fails)
        return token


def _retry(fails: int) -> None:
    if current_job().attempt <= fails:
        raise Retry(delay=0.02)


@app.task(rate=f"{RATE}/s")
async def call() -> str:
    with attempt() as token:
        return token
