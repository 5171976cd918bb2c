"""Jobs whose end a test decides: each goes on until a file is there."""

from __future__ import annotations

import asyncio
import os
import time

from aiotask import App, exponential

from ..ledger import entered

app = App(os.environ["TEST_APP"])

#: The gate of all tasks; a deploy may leave it out.
GATE = os.path.join(os.environ["TEST_LEDGER"], "gate")


def is_open() -> bool:
    return os.path.exists(GATE)


@app.task
def work(label: str) -> str:
    with entered(label):
        return label


@app.task
async def hold(label: str) -> str:
    with entered(label):
        while not is_open():
            await asyncio.sleep(0.01)
    return label


@app.task
def hold_sync(label: str) -> str:
    with entered(label):
        while not is_open():
            time.sleep(0.01)
    return label


@app.task
async def nap(label: str, seconds: float) -> str:
    with entered(label):
        await asyncio.sleep(seconds)
    return label


@app.task
def fail(label: str) -> None:
    with entered(label):
        raise LookupError(label)


@app.task(retries=1, backoff=exponential(600.0, jitter=False))
def fail_and_wait(label: str) -> None:
    with entered(label):
        raise LookupError(label)
