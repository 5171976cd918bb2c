"""Asyncio tasks of aiotask's own, which user code in the same event loop does not reach."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["agent", "hide", "hide_agents"]

T = TypeVar("T")

_hides = False


def agent(work: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop | None = None) -> asyncio.Task[T]:
    """A new asyncio task in the running event loop (or in ``loop``), made past the loop's task factory.

    ``loop.create_task`` would ask the factory that user code may have set. An eager factory runs the first
    step before it returns the task: a task that clears the attribute in which it is kept would then be kept for ever.
    """
    task = asyncio.Task(work, loop=loop or asyncio.get_running_loop())
    hide(task)
    return task


def hide(task: asyncio.Task[Any]) -> None:
    """Leave the task out of ``asyncio.all_tasks()``, if this process hides its agents."""
    if _hides:
        asyncio.tasks._unregister_task(task)


def hide_agents() -> None:
    """Hide the agents of this process, and all jobs but the calling one, from ``asyncio.all_tasks()``.

    A job that cancels or awaits all tasks but its own means the tasks that it has started.
    """
    global _hides
    _hides = True
    all_others = asyncio.tasks.all_tasks

    def all_tasks(loop: asyncio.AbstractEventLoop | None = None) -> set[asyncio.Task[Any]]:
        """Return a set of all tasks for the loop."""
        loop = loop or asyncio.get_running_loop()
        found = all_others(loop)
        me = asyncio.current_task() if asyncio._get_running_loop() is loop else None
        return found if me is None else found | {me}

    asyncio.all_tasks = asyncio.tasks.all_tasks = all_tasks
