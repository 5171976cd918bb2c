"""Tasks and rows for hosts that are told to stop: naps that a later host, in a hurry, cuts short."""

from __future__ import annotations

import asyncio
import os
import time

from aiotask import Limit

from ..app import app as app
from ..ledger import attempt
from .work import HURRY, serve
from .work import Async as Async
from .work import Left as Left
from .work import Plain as Plain

app.database.replace(os.environ["CHAOS_DATABASE"])
serve(app)
#: Jobs of a key of ``limited_rest`` that run at once.
EACH = 2


@app.task
async def rest(seconds: float) -> str:
    with attempt() as token:
        await asyncio.sleep(seconds / HURRY)
        return token


@app.task(limit=Limit(by="key", max_running_each=EACH))
async def limited_rest(key: str, seconds: float) -> str:
    with attempt(key=key) as token:
        await asyncio.sleep(seconds / HURRY)
        return token


@app.task
def sync_rest(seconds: float) -> str:
    with attempt() as token:
        time.sleep(seconds / HURRY)
        return token
