"""The event loop of a worker process, which outlives what the code of jobs does to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from ..loops.agent import agent, hide_agents

__all__ = ["run_loop"]


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
