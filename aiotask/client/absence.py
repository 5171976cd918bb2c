"""Warns callers that wait for a job which no live worker will run."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..brokers import features, inspect
from ..brokers.technology import PROCESSES
from ..errors import BrokerError, ConfigError
from ..log.throttle import Throttle
from ..loops.agent import agent
from ..results.result import AsyncResult
from .mailbox import Mailbox, quietly

if TYPE_CHECKING:
    from ..broker import Broker
    from ..inspector import WorkerInfo

__all__ = ["Absence"]

#: Seconds of waiting after which the live workers are checked, and between two such checks.
CHECK_AFTER, CHECK_EVERY = 2.0, 10.0
#: Seconds without a worker after which waiting on the memory broker fails: no other process can start one.
MEMORY_WORKER_TIMEOUT = 5.0
#: Seconds between two checks of the memory broker.
_MEMORY_CHECK_EVERY = 0.5

logger = logging.getLogger("aiotask.client")

#: What this process has warned of: (URL, app), or (URL, app, queue).
_warned: set[tuple[str, ...]] = set()


class Absence:
    """Checks the live workers of an app while callers of one session wait for long.

    Args:
        app: name of the app.
        broker: broker of the session.
        mailbox: mailbox of the session.
    """

    def __init__(self, app: str, broker: Broker, mailbox: Mailbox) -> None:
        self._app = app
        self._broker = broker
        self._mailbox = mailbox
        self._in_memory = PROCESSES not in features(broker.url)
        self._task: asyncio.Task[None] | None = None

    @property
    def is_watching(self) -> bool:
        return self._task is not None

    def watch(self) -> None:
        """Start checking in the session's loop, until no caller waits any more."""
        if self._task is None:
            self._task = quietly(agent(self._watch()))
            self._task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("Could not look for live workers: %s", error, exc_info=error)

    async def _watch(self) -> None:
        tick = _MEMORY_CHECK_EVERY if self._in_memory else CHECK_AFTER
        absent_since: float | None = None
        checks = Throttle(CHECK_EVERY)
        await asyncio.sleep(CHECK_AFTER)
        while self._mailbox.is_awaited:
            now = time.monotonic()
            waiting = self._mailbox.waiting_since(now - CHECK_AFTER)
            if waiting and (self._in_memory or checks.passes()):
                workers = await self._live()
                if not self._in_memory or workers is None or workers:
                    absent_since = None
                    self._report(workers, waiting)
                else:
                    absent_since = absent_since or now
                    if now - absent_since > MEMORY_WORKER_TIMEOUT - CHECK_AFTER:
                        self._mailbox.fail([result.id for result in waiting], self._none_can_come())
            await asyncio.sleep(tick)

    async def _live(self) -> list[WorkerInfo] | None:
        """The live workers; None: the broker gave no answer, which the waiting callers get as their own error."""
        try:
            return await inspect(self._broker).workers()
        except BrokerError:
            return None

    def _none_can_come(self) -> ConfigError:
        return ConfigError(
            f'No worker of app "{self._app}" runs in this process, and no other process sees the jobs of '
            f'"{self._broker.url}". Run one around the code that waits: `async with app.worker(): …`. The job is '
            "still queued."
        )

    def _report(self, workers: list[WorkerInfo] | None, waiting: Iterable[AsyncResult[Any]]) -> None:
        if workers is None:
            return
        result = next(iter(waiting))
        if not workers:
            self._warn_once(
                (self._broker.url, self._app),
                f'No worker of app "{self._app}" is live at "{self._broker.url}", so job "{result.id}" waits'
                f"{_in_queue(result)}. Start one: {_command(result)}",
            )
            return
        queues = [worker.facts.get("queues") for worker in workers]
        if not all(isinstance(each, list) for each in queues):
            return
        consumed = {queue for each in queues if isinstance(each, list) for queue in each}
        for result in waiting:
            if result._queue and result._queue not in consumed:
                self._warn_once(
                    (self._broker.url, self._app, result._queue),
                    f'No live worker of app "{self._app}" consumes queue "{result._queue}", so job "{result.id}" '
                    f"({result.task}) waits. Check the name of the queue, or start a worker for it: "
                    f"{_command(result)} --queues {result._queue}",
                )

    def _warn_once(self, subject: tuple[str, ...], message: str) -> None:
        if subject not in _warned:
            _warned.add(subject)
            logger.warning("%s", message)


def _in_queue(result: AsyncResult[Any]) -> str:
    return f' in the queue "{result._queue}"' if result._queue else ""


def _command(result: AsyncResult[Any]) -> str:
    module = result.task.partition(":")[0]
    return f"aiotask worker {module if all(part.isidentifier() for part in module.split('.')) else 'MODULE'}"
