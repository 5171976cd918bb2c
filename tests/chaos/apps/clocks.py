"""Tasks whose time matters: one that comes again after a while."""

from __future__ import annotations

from aiotask import Retry, current_job

from ..app import app, nap, noop, sync_nap, sync_noop
from ..ledger import attempt

__all__ = ["RATE", "again", "app", "call", "fleeting", "nap", "noop", "sync_nap", "sync_noop", "tick"]

#: Starts of ``call`` per second.
RATE = 20


@app.task(retries=1)
async def again(seconds: float) -> str:
    """Fails once, and runs again so many seconds later."""
    with attempt() as token:
        if current_job().attempt == 1:
            raise Retry(delay=seconds)
        return token


@app.task(result_ttl=1.0)
async def fleeting() -> str:
    """Its outcome is soon gone."""
    with attempt() as token:
        return token


@app.task
async def tick() -> str:
    """What schedules run."""
    with attempt() as token:
        return token


@app.task(rate=f"{RATE}/s")
async def call() -> str:
    with attempt() as token:
        return token
