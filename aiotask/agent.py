"""Asyncio tasks of aiotask's own, which user code's settings of the event loop do not reach."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["agent"]

T = TypeVar("T")


def agent(work: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop | None = None) -> asyncio.Task[T]:
    """A new asyncio task in the running event loop (or in ``loop``), made past the loop's task factory.

    ``loop.create_task`` would ask the factory that user code may have set. An eager one runs the first step before the
    task is returned: a task that clears the attribute in which it is kept would then be kept for ever.
    """
    return asyncio.Task(work, loop=loop or asyncio.get_running_loop())
