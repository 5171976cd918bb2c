"""An event loop in a background thread, for callers without a loop."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar, cast

from ..errors import ConfigError

__all__ = ["Portal", "asyncio_loop", "portal", "run_here", "running_loop"]

T = TypeVar("T")


class Portal:
    """A background thread with an event loop, started at first use; a forked child starts its own."""

    def __init__(self) -> None:
        # Re-entrant: a signal handler or a finalizer may send while this thread is starting the portal.
        self._lock = threading.RLock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._ident = 0

    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop of the portal, which may be just starting.

        Raises:
            RuntimeError: no thread can start any more, since the program ends.
        """
        loop = self._loop
        if loop is not None and not loop.is_closed():
            return loop
        with self._lock:
            loop = _new_loop()
            if self._loop is None or self._loop.is_closed():
                self._start(loop)
            else:
                loop.close()
            assert self._loop is not None
            return self._loop

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        thread = threading.Thread(target=self._serve, args=(loop,), name="aiotask-portal", daemon=True)
        try:
            # In this order: a send that interrupts this one hands over to a loop that is about to run.
            self._loop, self._thread = loop, thread
            thread.start()
        except BaseException:
            if not thread.is_alive():
                self._loop = self._thread = None
                loop.close()
            raise

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        self._ident = threading.get_ident()
        try:
            loop.run_forever()
        finally:
            for task in asyncio.all_tasks(loop):
                task.cancel()
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    def runs(self, loop: asyncio.AbstractEventLoop | None) -> bool:
        """Whether this is the loop of the portal."""
        return loop is not None and loop is self._loop

    @property
    def is_elsewhere(self) -> bool:
        """Whether the portal runs in another thread than the caller. With gevent's or eventlet's patches the portal is
        a greenlet of the caller's thread, and asyncio takes its loop for the caller's."""
        return threading.get_ident() != self._ident

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Start a coroutine in the portal."""
        return asyncio.run_coroutine_threadsafe(work, self.loop())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the portal and wait in this thread; Ctrl-C ends the wait."""
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
        """Stop the loop and close its asynchronous generators; wait at most ``timeout`` seconds for that."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None or not thread.is_alive():
            return
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout)

    def forget(self) -> None:
        """Start anew in a forked child, which has no portal thread."""
        self.__init__()  # type: ignore[misc]


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop in which the caller runs; None outside a loop."""
    loop = asyncio._get_running_loop()
    return None if portal.runs(loop) and portal.is_elsewhere else loop


def asyncio_loop() -> asyncio.AbstractEventLoop:
    """The event loop in which the calling coroutine runs.

    Raises:
        ConfigError: another library than asyncio runs it.
    """
    loop = asyncio._get_running_loop()
    if loop is None:
        how = " In trio: `await trio.to_thread.run_sync(result.get)`." if "trio" in sys.modules else ""
        raise ConfigError(
            "Results are awaited in asyncio, and no event loop of asyncio runs this coroutine. Use "
            f"result.get() or result.blocking in a thread instead.{how}"
        )
    return loop


def run_here(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in this thread, which has no event loop: for the end of a program, when no thread can start."""
    with asyncio.Runner(loop_factory=_new_loop) as runner:
        return runner.run(work)


def _new_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    if isinstance(loop, asyncio.BaseEventLoop):
        resolve = loop.getaddrinfo

        async def getaddrinfo(*args: Any, **kwargs: Any) -> Any:
            try:
                return await resolve(*args, **kwargs)
            except RuntimeError:
                # asyncio resolves names in threads of a pool, which takes no work once the main thread has ended.
                return socket.getaddrinfo(*args, **kwargs)

        loop.getaddrinfo = getaddrinfo  # type: ignore[method-assign]
    return loop


async def _ended(work: Coroutine[Any, Any, T]) -> tuple[T | None, Exception | None]:
    """What a coroutine returns, or raises, as a value: a ``concurrent.futures.Future`` tests the truth of an exception,
    which may run code of its class, and takes a false one for none."""
    try:
        return await work, None
    except Exception as error:
        return None, error


portal = Portal()
os.register_at_fork(after_in_child=portal.forget)
