"""Batch tasks: each call notes the list that it was given."""

from __future__ import annotations

import asyncio
import ctypes
import itertools
import os
import time
from collections import deque

from aiotask import App

from ..ledger import entered, is_first

app = App(os.environ["TEST_APP"])


@app.task(batch=64)
async def avector(items: list[str]) -> list[str | Exception]:
    with entered(items):
        return [_value(item) for item in items]


@app.task(batch=64)
def vector(items: list[str]) -> list[str | Exception]:
    with entered(items):
        return [_value(item) for item in items]


@app.task(batch=64, batch_wait=600)
def patient(items: list[str]) -> list[str]:
    with entered(items):
        return items


@app.task(batch=64, batch_wait=600)
async def apatient(items: list[str]) -> list[str]:
    with entered(items):
        return items


@app.task(batch=4, batch_wait=600)
def four(items: list[str]) -> list[str]:
    """Four jobs are a call, without a wait."""
    with entered(items):
        for item in items:
            _act(item)
        return items


@app.task(batch=4, batch_wait=600)
async def afour(items: list[str]) -> list[str]:
    with entered(items):
        for item in items:
            await asyncio.sleep(0)
            _act(item)
        return items


@app.task(batch=3, batch_wait=600, timeout=0.5)
def limited(items: list[str]) -> list[str]:
    with entered(items):
        deque(itertools.repeat(None), maxlen=0)
        return items


@app.task(batch=2, batch_wait=600)
def napping(items: list[str]) -> list[str]:
    with entered(items):
        time.sleep(2.0)
        return items


@app.task(batch=16)
def slow(items: list[int]) -> list[int]:
    with entered(len(items)):
        time.sleep(0.02)
        return items


@app.task(batch=16)
async def aslow(items: list[int]) -> list[int]:
    with entered(len(items)):
        await asyncio.sleep(0.02)
        return items


@app.task
async def stall(gate: str) -> None:
    """Keeps the event loop from turning until this file is there."""
    with entered("stall"):
        while not os.path.exists(gate):
            time.sleep(0.05)  # noqa: ASYNC251 - that is what it is for


def _value(item: str) -> str | Exception:
    return ValueError(item) if item == "bad" else item.upper()


def _act(item: str) -> None:
    if item == "pill" or (item == "once" and is_first("once")):
        ctypes.string_at(0)
