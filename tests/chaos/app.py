"""The app of the trials: its tasks write the ledger and return the token of their run.

Name, broker and ledger come from the environment: ``CHAOS_APP``, ``CHAOS_URL``, ``CHAOS_LEDGER``.
"""

from __future__ import annotations

import asyncio
import os
import time

from aiotask import App, Job, Limit, current_job
from aiotask.brokers import streams_of
from aiotask.errors import BrokerError
from aiotask.wire.checkpoints import load_state, open_checkpoint
from aiotask.wire.seal import Sealer

from .ledger import PlannedError, attempt, attempts, jot
from .pills import end_process

app = App(os.environ["CHAOS_APP"], url=os.environ["CHAOS_URL"])


@app.task
async def noop() -> str:
    with attempt() as token:
        return token


@app.task
def sync_noop() -> str:
    with attempt() as token:
        return token


@app.task
def spin(seconds: float) -> str:
    """So much CPU time of its thread, in Python."""
    with attempt() as token:
        until = time.thread_time() + seconds
        while time.thread_time() < until:
            sum(range(200))
        return token


@app.task
async def nap(seconds: float) -> str:
    with attempt() as token:
        await asyncio.sleep(seconds)
        return token


@app.task
def sync_nap(seconds: float) -> str:
    with attempt() as token:
        time.sleep(seconds)
        return token


@app.task
async def echo(text: str) -> tuple[str, str]:
    """Its run and what it was given."""
    with attempt() as token:
        return token, text


@app.task
async def joined(tokens: list[str]) -> str:
    """Takes the values of other jobs."""
    with attempt() as token:
        return token


@app.task
async def blob(size: int) -> tuple[str, bytes]:
    """Its run and so many bytes."""
    with attempt() as token:
        return token, b"x" * size


@app.task
async def fail(message: str = "planned") -> str:
    with attempt() as token:
        raise PlannedError(token, message)


@app.task(retries=1000)
async def fail_times(times: int) -> str:
    """Fails so many times, each followed by a retry, then succeeds."""
    from aiotask import Retry

    with attempt() as token:
        if current_job().attempt <= times:
            raise Retry(delay=0.02)
        return token


@app.task
def pill(how: str) -> str:
    """Ends its process: ``segfault``, ``abort``, ``overflow``, ``kill``, or an exit code."""
    with attempt():
        end_process(how)


#: Steps of a job that saves checkpoints.
STEPS = 10


@app.task
async def saving() -> str:
    """Goes on behind the last step that an earlier run has saved."""
    job = current_job()
    done = job.last_checkpoint(int) or 0
    jot(saving=job.id, run=job.attempt, began=done)
    with attempt() as token:
        for step in range(done + 1, STEPS + 1):
            await asyncio.sleep(0.06)
            job.checkpoint(step)
            jot(saving=job.id, step=step)
            jot(saving=job.id, kept=await _kept(job))
        return token


async def _kept(job: Job) -> int:
    """The step that the broker keeps of a job; 0: none, or it does not say."""
    try:
        (sealed,) = await streams_of(app.client.session().broker).checkpoints([job.id])
    except BrokerError:
        return 0
    if sealed is None:
        return 0
    body = open_checkpoint(Sealer(app.secrets, "checkpoint"), job.id, job.task, sealed)
    step: int = load_state(app.serializer, job.task, saving.__wrapped__, body, int)
    return step


#: Jobs of a key, and of all keys, of ``limited`` that run at once.
EACH, IN_ALL = 1, 3


@app.task(limit=Limit("few", by="key", max_running=IN_ALL, max_running_each=EACH))
async def limited(key: str) -> str:
    with attempt(key=key) as token:
        await asyncio.sleep(0.005)
        return token


@app.task(batch=16, batch_wait=0.02)
async def batched(items: list[str]) -> list[str]:
    """Each item is empty, or how its process is to end."""
    with attempts() as tokens:
        await asyncio.sleep(0.005)
        for how in filter(None, items):
            end_process(how)
        return tokens


@app.task(batch=16, batch_wait=0.02)
def sync_batched(items: list[str]) -> list[str]:
    with attempts() as tokens:
        time.sleep(0.005)
        for how in filter(None, items):
            end_process(how)
        return tokens
