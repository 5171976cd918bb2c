"""What tests share: waiting for a condition instead of sleeping."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

__all__ = ["WAIT", "wait_until", "wait_until_async"]

T = TypeVar("T")

#: Seconds that tests wait at most for what comes: a machine may do much else, and a timing is no assertion.
WAIT = 120.0
#: Seconds between two looks, at least: a look that takes long is followed by a wait as long, since it keeps a CPU busy
#: that what it waits for needs.
_TICK = 0.01


def wait_until(predicate: Callable[[], T], *, description: str, timeout: float = WAIT) -> T:
    """Block until the predicate is true, and return what it said; AssertionError after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        began = time.monotonic()
        if value := predicate():
            return value
        if (now := time.monotonic()) > deadline:
            raise AssertionError(f"Waited {timeout:g} s in vain until {description}; last: {value!r}.")
        time.sleep(max(_TICK, now - began))


@overload
async def wait_until_async(predicate: Callable[[], Awaitable[T]], *, description: str, timeout: float = ...) -> T: ...
@overload
async def wait_until_async(predicate: Callable[[], T], *, description: str, timeout: float = ...) -> T: ...
async def wait_until_async(predicate: Callable[[], Any], *, description: str, timeout: float = WAIT) -> Any:
    """The same for a running loop; the predicate may be a coroutine function."""
    deadline = time.monotonic() + timeout
    while True:
        began = time.monotonic()
        value = predicate()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return value
        if (now := time.monotonic()) > deadline:
            raise AssertionError(f"Waited {timeout:g} s in vain until {description}; last: {value!r}.")
        await asyncio.sleep(max(_TICK, now - began))
