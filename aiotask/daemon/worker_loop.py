"""The event loop of a worker process, which outlives what the code of jobs does to it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from ..loops.agent import agent, hide_agents

__all__ = ["log_fault", "log_left", "run_loop"]

logger = logging.getLogger("aiotask.worker")


def log_fault(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log an error that no code awaits, as asyncio does; a log handler that fails must not break the loop."""
    with contextlib.suppress(Exception):
        loop.default_exception_handler(context)


def log_left(error: BaseException) -> None:
    """Log an error that has left the loop."""
    with contextlib.suppress(Exception):
        logger.error(
            "A task or callback in the event loop raised %r, which is meant to end a process. The worker keeps "
            "running, and a job that awaits the task gets the error.",
            error,
            exc_info=error,
        )


def run_loop(main: Coroutine[Any, Any, None], left: Callable[[BaseException], None]) -> None:
    """Run ``main`` to its end in a new event loop of this thread.

    ``SystemExit`` and ``KeyboardInterrupt`` of a task or callback leave any event loop. This one goes on: the error is
    that of the task, and reaches the job that awaits it.

    Args:
        left: called with each error that has left the loop.
    """
    import uvloop

    class WorkerLoop(uvloop.Loop):
        is_closing = False

        def stop(self) -> None:
            self._refuse("stop")
            super().stop()

        async def shutdown_asyncgens(self) -> None:
            self._refuse("shutdown_asyncgens")
            await super().shutdown_asyncgens()

        async def shutdown_default_executor(self, timeout: float | None = None) -> None:
            self._refuse("shutdown_default_executor")
            await super().shutdown_default_executor(*(() if timeout is None else (timeout,)))

        def _refuse(self, name: str) -> None:
            if not self.is_closing:
                raise RuntimeError(
                    f"A job cannot call {name}() on the event loop in which it runs: the loop belongs to the worker, "
                    "and other jobs run in it, too. To end the job, return from the task."
                )

        def end(self, _: object) -> None:
            self.is_closing = True
            super().stop()

    hide_agents()
    with asyncio.Runner(loop_factory=WorkerLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, WorkerLoop)
        task = agent(main, loop)
        task.add_done_callback(loop.end)
        while not task.done():
            try:
                loop.run_forever()
            except (SystemExit, KeyboardInterrupt) as error:
                left(error)
        task.result()
