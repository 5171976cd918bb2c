"""``app.work()``: a worker that runs in the thread of its caller until it is done."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager

from ..errors import ConfigError
from .worker import InLoopWorker

__all__ = ["work_here"]

#: Signals on which the worker claims no more jobs and ends; a second one does what it does without a worker.
_STOPS = (signal.SIGTERM, signal.SIGINT)


def work_here(worker: Callable[[], AbstractAsyncContextManager[InLoopWorker]]) -> int:
    """Run a worker in a new event loop of this thread until it ends by itself or by a signal; the number of its runs.

    Only the main thread of a process receives signals.

    Raises:
        ConfigError: an event loop runs in this thread.
    """
    # Not `get_running_loop`, whose RuntimeError would be the context of every error that a job raises.
    if asyncio._get_running_loop() is not None:
        raise ConfigError(
            "app.work() blocks, and an event loop runs in this thread. Use `async with app.worker() as worker: …` "
            "there, or call app.work() in a thread: `await asyncio.to_thread(app.work)`."
        )
    return asyncio.run(_work(worker))


async def _work(worker: Callable[[], AbstractAsyncContextManager[InLoopWorker]]) -> int:
    async with worker() as here:
        with _stopped_by_signals(here):
            await here.finished()
    return here.runs


@contextlib.contextmanager
def _stopped_by_signals(here: InLoopWorker) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    caught = _STOPS if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.getsignal(number) for number in caught}

    def restore() -> None:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)
        before.clear()

    def stop() -> None:
        restore()
        here.claim_no_more()

    for number in caught:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        restore()
