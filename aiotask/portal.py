"""An event loop in a thread, for callers that have none."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar, cast

__all__ = ["Portal", "portal"]

T = TypeVar("T")


class Portal:
    """A background thread with an event loop, started at first use; a forked child starts its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None or self._loop.is_closed():
                started = threading.Event()
                self._thread = threading.Thread(target=self._serve, args=(started,), name="aiotask-portal", daemon=True)
                self._thread.start()
                started.wait()
            assert self._loop is not None
            return self._loop

    def _serve(self, started: threading.Event) -> None:
        loop = asyncio.new_event_loop()
        self._loop = loop
        loop.call_soon(started.set)
        try:
            loop.run_forever()
        finally:
            for task in asyncio.all_tasks(loop):
                task.cancel()
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    def runs(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether this is the loop of its thread."""
        return loop is self._loop

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Start a coroutine there."""
        return asyncio.run_coroutine_threadsafe(work, self.loop())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine there and wait in this thread; Ctrl-C ends the wait."""
        future = self.submit(_ended(work))
        try:
            value, error = future.result()
        except BaseException:
            future.cancel()
            raise
        if error is not None:
            raise error
        return cast("T", value)

    def stop(self, timeout: float) -> None:
        """End the loop, with its asynchronous generators closed; waits at most ``timeout`` seconds."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None or not thread.is_alive():
            return
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout)

    def forget(self) -> None:
        """In a forked child: the thread stayed in the parent."""
        self.__init__()  # type: ignore[misc]


async def _ended(work: Coroutine[Any, Any, T]) -> tuple[T | None, Exception | None]:
    """What a coroutine returns or raises: a future of a thread asks an exception for its truth, which may run code of
    its class, and takes a false one for none."""
    try:
        return await work, None
    except Exception as error:
        return None, error


portal = Portal()
os.register_at_fork(after_in_child=portal.forget)
