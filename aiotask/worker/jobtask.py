"""The asyncio task that every async job has for itself.

A job that ends without waiting for anything costs less than the asyncio task that would run it. So the first step of
a job is run by the lane, and a task is made where the job can tell the difference: where it waits, or asks for
``asyncio.current_task()``. Python 3.12 and later start tasks eagerly, which is nearly as cheap; there every job has one.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine, Iterator, MutableMapping
from contextvars import Context, copy_context
from typing import Any, Protocol

__all__ = ["Opener", "opener"]

Live = Coroutine[Any, Any, None]


class Opener(Protocol):
    """Runs the first step of jobs, one after the other, from within the task of the lane."""

    def open(self, live: Live) -> asyncio.Task[None] | None:
        """Run the first step, in a context of its own. The task of the job; None: the job has ended and never asked
        for one."""
        ...


def opener() -> Opener:
    """For the running asyncio task, which is to begin jobs."""
    loop, me = asyncio.get_running_loop(), asyncio.current_task()
    assert me is not None
    return _EagerOpener(loop) if sys.version_info >= (3, 12) else _LazyOpener(loop, me)


class _EagerOpener:
    """Every job is an eager task: its first step runs at once, and most jobs end with it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    if sys.version_info >= (3, 12):

        def open(self, live: Live) -> asyncio.Task[None] | None:
            return asyncio.Task(live, loop=self._loop, context=copy_context(), eager_start=True)

    else:

        def open(self, live: Live) -> asyncio.Task[None] | None:
            raise NotImplementedError


class _LazyOpener:
    """The task of a job is made when its first step asks for the current task, or ends with the job suspended."""

    def __init__(self, loop: asyncio.AbstractEventLoop, me: asyncio.Task[Any]) -> None:
        self._loop = loop
        self._me = me
        #: The job whose first step runs now; what it does after that step; its task, if it has asked for it.
        self._live: Live | None = None
        self._context: Context | None = None
        self._rest: _Rest | None = None
        self._task: asyncio.Task[None] | None = None
        self._openers = _install().openers
        self._openers[me] = self
        me.add_done_callback(self._openers.pop)

    def open(self, live: Live) -> asyncio.Task[None] | None:
        self._live = live
        self._context = context = copy_context()
        try:
            waits_for = context.run(live.send, None)
        except StopIteration:
            self._live = None
            return self._close() if self._task is not None else None
        except BaseException:
            self._live = None
            self._close()
            raise
        if self._task is None:
            self._make()
        self._live = None
        assert self._rest is not None
        self._rest.suspend(waits_for)
        return self._close()

    def ask(self) -> asyncio.Task[Any]:
        """The current task, when the lane's own one is: that of the job whose first step runs."""
        if self._live is None:
            return self._me
        task = self._make()
        asyncio.tasks._leave_task(self._loop, self._me)
        asyncio.tasks._enter_task(self._loop, task)
        return task

    def _make(self) -> asyncio.Task[None]:
        assert self._live is not None
        self._rest = _Rest(self._live)
        self._task = asyncio.Task(self._rest, loop=self._loop, context=self._context)
        return self._task

    def _close(self) -> asyncio.Task[None] | None:
        """The first step is over, and the lane's task is the current one again."""
        task, self._task, self._rest, self._context = self._task, None, None, None
        if task is not None and asyncio.tasks._current_tasks.get(self._loop) is task:  # type: ignore[attr-defined]
            asyncio.tasks._leave_task(self._loop, task)
            asyncio.tasks._enter_task(self._loop, self._me)
        return task


class _Rest(Coroutine[Any, Any, None]):
    """What is left of a job after its first step, as the coroutine of the task that was made meanwhile."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._waits_for: Any = None
        #: The first step ended with the job suspended, and the task has not begun to wait for it.
        self._is_suspended = self._is_new = False

    def suspend(self, waits_for: Any) -> None:
        """The job waits for this."""
        self._waits_for = waits_for
        self._is_suspended = self._is_new = True

    def send(self, value: Any, /) -> Any:
        if not self._is_suspended:
            raise StopIteration(None)
        if self._is_new:
            self._is_new = False
            if self._waits_for is not None:
                return self._taken_over()
        return self._live.send(value)

    def throw(self, kind: Any, value: Any = None, trace: Any = None, /) -> Any:
        error = kind if value is None else value
        if not self._is_suspended:
            raise error
        if self._is_new:
            self._is_new = False
            # As a task does that is cancelled before it waits: what it would wait for is cancelled, and says so.
            if isinstance(error, asyncio.CancelledError) and asyncio.isfuture(self._waits_for):
                if self._waits_for.cancel():
                    return self._taken_over()
        return self._live.throw(error)

    def _taken_over(self) -> Any:
        # The mark that says "awaited just now"; another task that awaits the same future may have removed it.
        if getattr(self._waits_for, "_asyncio_future_blocking", None) is False:
            self._waits_for._asyncio_future_blocking = True
        waits_for, self._waits_for = self._waits_for, None
        return waits_for

    def close(self) -> None:
        self._live.close()

    def __await__(self) -> Iterator[Any]:
        raise TypeError("This coroutine belongs to a task.")

    @property
    def cr_frame(self) -> Any:
        """For those who show the stack of a task."""
        return getattr(self._live, "cr_frame", None)

    @property
    def cr_await(self) -> Any:
        return getattr(self._live, "cr_await", None)

    @property
    def cr_running(self) -> bool:
        return bool(getattr(self._live, "cr_running", False))

    @property
    def cr_code(self) -> Any:
        return getattr(self._live, "cr_code", None)


class _CurrentTasks(MutableMapping[Any, Any]):
    """Stands for the table in which Python 3.11 looks up the current task of an event loop.

    It is a table of Python there: ``asyncio.current_task`` asks it, and the C part of asyncio keeps what it holds.
    """

    def __init__(self, tasks: dict[Any, Any]) -> None:
        self._tasks = tasks
        #: The openers of running lanes by their asyncio tasks.
        self.openers: dict[asyncio.Task[Any], _LazyOpener] = {}

    def __getitem__(self, loop: Any) -> Any:
        task = self._tasks[loop]
        opener = self.openers.get(task)
        return task if opener is None else opener.ask()

    def __setitem__(self, loop: Any, task: Any) -> None:
        self._tasks[loop] = task

    def __delitem__(self, loop: Any) -> None:
        del self._tasks[loop]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._tasks)

    def __len__(self) -> int:
        return len(self._tasks)


def _install() -> _CurrentTasks:
    tasks: Any = asyncio.tasks
    if not isinstance(tasks._current_tasks, _CurrentTasks):
        tasks._current_tasks = _CurrentTasks(tasks._current_tasks)
    found: _CurrentTasks = tasks._current_tasks
    return found
