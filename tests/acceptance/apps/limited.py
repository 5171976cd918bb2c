"""Tasks with limits, each run of which is in the ledger."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from aiotask import App, Limit, Retry, current_job

from ..ledger import entered, note

app = App(os.environ["TEST_APP"])
_LEDGER = Path(os.environ["TEST_LEDGER"])

alone = Limit("alone", max_running=1)
tenants = Limit("tenants", by="tenant", max_running=50, max_running_each=2)
#: What another release of the app says instead.
renamed = os.environ.get("TEST_RELEASE", "") == "2"


@app.task(limit=alone)
def one_in_thread(n: int) -> int:
    with entered("one"):
        time.sleep(0.002)
    return n


@app.task(limit=alone)
async def one_in_loop(n: int) -> int:
    with entered("one"):
        await asyncio.sleep(0.002)
    return n


@app.task(max_running=1)
async def hold(n: int) -> int:
    """Waits at a gate, so that the test may kill its process."""
    with entered(f"hold {n}"):
        while not (_LEDGER / "gate").exists():
            await asyncio.sleep(0.01)
    return n


@app.task(max_running=1)
def hold_in_thread(n: int) -> int:
    with entered(f"hold {n}"):
        while not (_LEDGER / "gate").exists():
            time.sleep(0.01)
    return n


@app.task(limit=Limit("gates", by="tenant", max_running=50, max_running_each=2))
async def behind_gate(tenant: str, n: int) -> int:
    """Waits until its own gate is open."""
    with entered([tenant, n]):
        while not (_LEDGER / f"gate {n}").exists():
            await asyncio.sleep(0.02)
    return n


@app.task(limit=tenants)
async def render(tenant: str, n: int, seconds: float = 0.003) -> int:
    with entered(tenant):
        await asyncio.sleep(seconds)
    return n


@app.task(rate="20/s")
async def call(n: int) -> int:
    note(token=f"call {n}", id=current_job().id, attempt=1, pid=os.getpid(), label="call", start=time.monotonic())
    return n


@app.task(limit=Limit("api", max_running=4), retries=1)
async def too_many(n: int) -> int:
    with entered("too many"):
        if n == 0 and current_job().attempt == 1:
            raise Retry("429 Too Many Requests", delay=1.0, limit=True)
    return n


@app.task(limit=Limit("turns", by="tenant"))
async def fair(tenant: str, n: int) -> int:
    with entered(tenant):
        return n


@app.task(limit=Limit("ordered", by="key", max_running_each=1), retries=2, backoff=lambda failures: 0.01)
async def in_order(key: str, n: int) -> int:
    with entered([key, n]) as attempt:
        await asyncio.sleep(0.002)
        if n % 17 == 3 and attempt == 1:
            raise ValueError("once more")
    return n


if not renamed:

    @app.task(name="shop:of_before", limit=Limit("before", max_running=1))
    async def of_before(n: int) -> int:
        return n

else:

    @app.task(name="shop:of_before")
    async def of_now(n: int) -> int:
        return n
