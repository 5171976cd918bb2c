"""Tasks whose arguments are values of other jobs: each run writes down which values it was given."""

from __future__ import annotations

import asyncio
from typing import Any

from aiotask import Retry, current_job, group

from ..app import app as app
from ..app import nap as nap
from ..app import noop as noop
from ..app import sync_noop as sync_noop
from ..ledger import PlannedError, attempt, jot

__all__ = ["app", "broken", "grow", "join", "nap", "noop", "step", "sync_noop", "sync_step", "told"]


def _seen(inputs: Any) -> list[str]:
    """The tokens of the values that a run was given; an error in the place of a value counts as such."""
    if isinstance(inputs, str):
        return [inputs]
    if isinstance(inputs, BaseException):
        return ["!"]
    return [token for each in inputs for token in _seen(each)]


def _write(token: str, inputs: Any) -> None:
    job = current_job()
    jot(node=job.id, graph=job.graph, token=token, inputs=_seen(inputs))


@app.task(retries=1000)
async def step(inputs: Any, seconds: float = 0.0, *, again: int = 0) -> str:
    """A node: its value is the token of its run."""
    with attempt() as token:
        _write(token, inputs)
        if seconds:
            await asyncio.sleep(seconds)
        if current_job().attempt <= again:
            raise Retry(delay=0.02)
        return token


@app.task
async def broken(inputs: Any) -> str:
    """A node that fails for good."""
    with attempt() as token:
        _write(token, inputs)
        raise PlannedError(token, "planned")


@app.task
def sync_step(inputs: Any) -> str:
    with attempt() as token:
        _write(token, inputs)
        return token


@app.task
async def join(inputs: list[str]) -> str:
    with attempt() as token:
        _write(token, inputs)
        return token


@app.task
async def told(value: Any) -> str:
    """A follow-up, or what takes settled values."""
    with attempt() as token:
        _write(token, value)
        return token


@app.task
def grow(inputs: Any, depth: int, width: int) -> str:
    """Returns calls instead of a value; the value is that of the last one."""
    with attempt() as token:
        _write(token, inputs)
        if not depth:
            return token
        return join.s(group(grow.s([token], depth - 1, width) for _ in range(width)).cast).cast
