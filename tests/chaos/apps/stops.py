"""Tasks for hosts that are told to stop: naps that a later host, in a hurry, cuts short."""

from __future__ import annotations

import asyncio
import os
import time

from ..app import app as app
from ..ledger import attempt

#: By what a host divides its naps.
_HURRY = float(os.environ.get("CHAOS_HURRY", "1"))


@app.task
async def rest(seconds: float) -> str:
    with attempt() as token:
        await asyncio.sleep(seconds / _HURRY)
        return token


@app.task
def sync_rest(seconds: float) -> str:
    with attempt() as token:
        time.sleep(seconds / _HURRY)
        return token
