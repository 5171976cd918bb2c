"""The asyncio task that every async job has for itself.

A job that ends without waiting for anything costs less than the asyncio task that would run it. So the first step of
a job is run by the lane, and a task is made where the job can tell the difference: where it waits, or asks for
``asyncio.current_task()``. Python 3.12 and later can start a task eagerly, at little cost: there every job
has one from its beginning.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine, Generator, Iterator, MutableMapping
from contextvars import Context, copy_context
from typing import Any, Protocol

from .run import Run, Steps

__all__ = ["Live", "Opener", "opener"]

Live = Coroutine[Any, Any, None]


class Lane(Protocol):
    """The lane, as far as the opener of its jobs needs it."""

    steps: Steps

    def call(self, run: Run) -> Live:
        """The coroutine that performs the run; it raises nothing."""
        ...

    def live(self, run: Run, call: Live, /) -> Live:
        """The whole life of a run, as the coroutine of a task."""
        ...

    def rest(self, run: Run, call: Live, waits_for: Any, /) -> Live:
        """The life of a run whose first step is over, and has yielded ``waits_for``."""
        ...


class Opener(Protocol):
    """Runs the first step of jobs, one after the other, from within the asyncio task of the lane."""

    def open(self, run: Run) -> asyncio.Task[None] | None:
        """Run the first step of a job, in a context of its own; return the task of the job. None: the job has ended and
        never asked for a task."""
        ...


class _LazyOpener:
    """Makes the task of a job when its first step asks for the current task, or ends with the job suspended."""

    def __init__(self, lane: Lane, loop: asyncio.AbstractEventLoop, me: asyncio.Task[Any]) -> None:
        self._call, self._after, self._steps = lane.call, lane.rest, lane.steps
        self._loop = loop
        self._me = me
        self._call_now: Live | None = None
        #: The context of the job whose first step runs now, the rest of that job, and its task, if there is one.
        self._context: Context | None = None
        self._rest: _Rest | None = None
        self._task: asyncio.Task[None] | None = None
        self._openers = _install().openers
        self._openers[me] = self
        me.add_done_callback(self._openers.pop)

    def open(self, run: Run) -> asyncio.Task[None] | None:
        self._call_now = call = self._call(run)
        self._context = copy_context()
        self._steps[0] = run.slot + 1
        try:
            waits_for = self._context.run(call.send, None)
        except StopIteration:
            run.cpu = run.took
        except Exception as error:
            # An error of aiotask itself: ``call`` catches those of the task. The job must not be left without an end.
            run.error = error if run.error is None else run.error
        else:
            run.coroutine = call
            if self._task is None:
                self._make()
            assert self._rest is not None
            self._rest.suspend(self._after(run, call, waits_for), waits_for)
        self._context = None
        return self._close() if self._task is not None else None

    def ask(self) -> asyncio.Task[Any]:
        """The task of the job whose first step runs, made now and entered; without such a job, the lane's own task."""
        if self._context is None:
            return self._me
        task = self._make()
        asyncio.tasks._leave_task(self._loop, self._me)
        asyncio.tasks._enter_task(self._loop, task)
        return task

    def _make(self) -> asyncio.Task[None]:
        assert self._call_now is not None
        self._rest = _Rest(self._call_now)
        self._task = asyncio.Task(self._rest, loop=self._loop, context=self._context)
        return self._task

    def _close(self) -> asyncio.Task[None] | None:
        """Make the lane's task the current one again after a first step; return the job's task, if one was made."""
        task, self._task, self._rest = self._task, None, None
        if task is not None and asyncio.tasks._current_tasks.get(self._loop) is task:  # type: ignore[attr-defined]
            asyncio.tasks._leave_task(self._loop, task)
            asyncio.tasks._enter_task(self._loop, self._me)
        return task


class _Rest(Coroutine[Any, Any, None]):
    """The rest of a job after its first step, as the coroutine of the task that was made during that step."""

    def __init__(self, call: Live) -> None:
        self.__name__ = getattr(call, "__name__", "")
        self.__qualname__ = getattr(call, "__qualname__", "")
        #: The coroutine whose first step was run without the task.
        self._call = call
        #: The life of the run after its first step; None: the job ended within that step.
        self._live: Live | None = None
        #: The object that the first step has yielded, until the task begins to wait for it.
        self._waits_for: Any = None
        self._is_new = True

    def suspend(self, live: Live, waits_for: Any) -> None:
        """Note that the first step has ended with the job suspended; ``live`` begins by waiting for ``waits_for``."""
        self._live, self._waits_for = live, waits_for

    def send(self, value: Any, /) -> Any:
        if self._live is None:
            raise StopIteration(None)
        if not self._is_new:
            return self._live.send(value)
        return self._take_over() if self._waits_for is not None else self._resume()

    def throw(self, kind: Any, value: Any = None, trace: Any = None, /) -> Any:
        error = kind if value is None else value
        if self._live is None:
            raise error
        if self._is_new:
            waits_for = self._waits_for
            # As asyncio cancels a task that waits: the awaited future is cancelled, which then wakes the task.
            if isinstance(error, asyncio.CancelledError) and asyncio.isfuture(waits_for) and waits_for.cancel():
                return self._take_over()
            self._take_over()
        return self._live.throw(error)

    def _resume(self) -> Any:
        # The first step ended with a bare yield, which gives the event loop one turn. That turn is over.
        self._take_over()
        assert self._live is not None
        return self._live.send(None)

    def _take_over(self) -> Any:
        assert self._live is not None
        self._is_new, self._waits_for = False, None
        waits_for = self._live.send(None)
        # asyncio's flag for a future that was just yielded by ``await``; another task that awaits it may have reset it.
        if getattr(waits_for, "_asyncio_future_blocking", None) is False:
            waits_for._asyncio_future_blocking = True
        return waits_for

    def close(self) -> None:
        if self._live is not None:
            self._live.close()

    def __await__(self) -> Generator[Any, Any, None]:
        raise TypeError("This coroutine belongs to a task.")

    # For code that inspects the coroutine of a task.

    @property
    def cr_frame(self) -> Any:
        return getattr(self._call, "cr_frame", None)

    @property
    def cr_await(self) -> Any:
        return getattr(self._call, "cr_await", None)

    @property
    def cr_running(self) -> bool:
        return bool(getattr(self._call, "cr_running", False))

    @property
    def cr_code(self) -> Any:
        return getattr(self._call, "cr_code", None)

    @property
    def cr_origin(self) -> Any:
        return getattr(self._call, "cr_origin", None)


class _CurrentTasks(MutableMapping[Any, Any]):
    """Replaces the dict in which Python 3.11 looks up the current task of an event loop.

    ``asyncio.current_task`` reads this attribute of ``asyncio.tasks``; the C part of asyncio goes on using the dict.
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


if sys.version_info >= (3, 12):

    class _EagerOpener:
        """Makes every job an eager task, whose first step runs at once; most jobs end with that step."""

        def __init__(self, lane: Lane, loop: asyncio.AbstractEventLoop) -> None:
            self._call, self._live = lane.call, lane.live
            self._loop = loop
            self._make = asyncio.Task

        def open(self, run: Run) -> asyncio.Task[None] | None:
            live = self._live(run, self._call(run))
            return self._make(live, loop=self._loop, context=copy_context(), eager_start=True)


def opener(lane: Lane) -> Opener:
    """The opener for the running asyncio task, which is to begin the jobs of this lane."""
    loop, me = asyncio.get_running_loop(), asyncio.current_task()
    assert me is not None
    if sys.version_info >= (3, 12):
        return _EagerOpener(lane, loop)
    return _LazyOpener(lane, loop, me)
