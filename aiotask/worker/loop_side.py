"""The async half of a sync run: its async providers live in the worker's event loop while its thread waits."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextvars import copy_context
from typing import Any

from ..errors import Interrupted
from ..loops.agent import agent
from .run import Run

__all__ = ["LoopSide"]

#: Seconds past its limit that a run has for closing, as a job that is asked to end.
CLOSE_TIMEOUT = 1.0
#: Seconds after which a thread that no signal interrupts looks whether its run is to end.
POLL_INTERVAL = 0.1

Step = tuple[Callable[[], Awaitable[Any]], "Future[Any]"]


class LoopSide:
    """One asyncio task, which does step after step for the thread of a run: what was entered there is left there, as
    task groups and timeouts demand. It runs in a copy of the context of the thread."""

    def __init__(self, run: Run, loop: asyncio.AbstractEventLoop) -> None:
        self._run = run
        self._loop = loop
        self._steps: asyncio.Queue[Step | None] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._current: Future[Any] | None = None
        loop.call_soon_threadsafe(self._begin, context=copy_context())

    # ---- in the thread

    def open(self, step: Callable[[], Awaitable[Any]]) -> Any:
        """The value of a step, which is cancelled at the time limit of the run, and with the run.

        Raises:
            Interrupted: the run is past its limit, or was cancelled.
        """
        return self._wait(step, 0.0)

    def close(self, step: Callable[[], Awaitable[Any]]) -> None:
        """The same for a step that closes: it has a second even when the run is past its limit."""
        self._wait(step, CLOSE_TIMEOUT)

    def end(self) -> None:
        """There are no more steps."""
        self._loop.call_soon_threadsafe(self._steps.put_nowait, None)

    def _wait(self, step: Callable[[], Awaitable[Any]], least: float) -> Any:
        future: Future[Any] = Future()
        self._loop.call_soon_threadsafe(self._steps.put_nowait, (step, future))
        try:
            if threading.current_thread() is threading.main_thread():
                return future.result()
            return self._poll(future, time.monotonic() + least)
        except BaseException:
            if not future.done():
                self._loop.call_soon_threadsafe(self._cancel, future)
                with contextlib.suppress(BaseException):
                    future.exception(CLOSE_TIMEOUT)
            raise

    def _poll(self, future: Future[Any], earliest: float) -> Any:
        """The result of a step in a thread that no signal interrupts."""
        run = self._run
        while True:
            try:
                return future.result(POLL_INTERVAL)
            except TimeoutError:
                if future.done():
                    raise
            now = time.monotonic()
            late = run.timeout is not None and now > run.started_mono + run.timeout
            if (late or run.cancelled) and now > earliest:
                raise Interrupted

    # ---- in the loop

    def _begin(self) -> None:
        self._task = agent(self._serve())

    def _cancel(self, future: Future[Any]) -> None:
        if self._current is future and self._task is not None:
            self._task.cancel()
        else:
            future.cancel()

    async def _serve(self) -> None:
        while True:
            try:
                taken = await self._steps.get()
            except asyncio.CancelledError:
                # A task group of a provider has failed, and says so when it is closed; or the loop is to end, which
                # waits for what runs in threads.
                continue
            if taken is None:
                return
            step, future = taken
            if future.set_running_or_notify_cancel():
                await self._do(step, future)

    async def _do(self, step: Callable[[], Awaitable[Any]], future: Future[Any]) -> None:
        me = asyncio.current_task()
        assert me is not None
        self._current, before = future, me.cancelling()
        try:
            value = await step()
        except BaseException as error:
            while me.cancelling() > before:
                me.uncancel()
            future.set_exception(error)
        else:
            future.set_result(value)
        finally:
            self._current = None
