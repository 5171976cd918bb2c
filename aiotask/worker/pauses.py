"""What is paused, as a worker knows it, and whether its host is drained: looked up once a second, and at changes."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Sequence
from typing import Any, cast

from ..broker import Broker
from ..brokers import features
from ..brokers.pauses import Pause, Pauses, condition_of
from ..brokers.technology import PAUSES
from ..errors import BrokerError, ConfigError, ConnectionLost
from ..log.throttle import ErrorReporter
from ..loops.delay import BrokerDelay
from ..wire.serializer import Serializer
from .in_hand import InHand
from .life import Life
from .membership import Membership
from .node import is_chunk
from .run import Run

__all__ = ["Paused"]

logger = logging.getLogger("aiotask.worker")

#: The pause of a worker whose host is drained: it alone starts nothing.
_DRAINED = Pause("host")


class Paused:
    """The pauses that one worker obeys.

    Args:
        is_drained: whether the host takes no new jobs.

    Attributes:
        is_any: whether anything is paused for this worker.
        resumed: needs of jobs that are parked, and whose pause is over.
    """

    def __init__(
        self,
        broker: Broker,
        membership: Membership,
        life: Life,
        in_hand: InHand,
        serializer: Serializer,
        is_drained: Callable[[], bool],
    ) -> None:
        self._broker = broker
        self._membership = membership
        self._life = life
        self._in_hand = in_hand
        self._serializer = serializer
        self._is_drained = is_drained
        #: A broker without the verbs pauses nothing.
        self._asks = PAUSES in features(broker.url)
        self._pauses: dict[str, Pause] = {}
        #: The incarnation that has said that it obeys, and how often pauses had changed then.
        self._obeyed = ("", 0)
        #: Ids of pauses that were reported to stop nothing.
        self._warned: set[str] = set()
        self.is_any = False
        self.resumed: list[str] = []
        self._told = asyncio.Event()
        self._report_error = ErrorReporter(logger, "The broker refused to say what is paused; trying again: %s")
        #: Called when the broker or the supervisor tells of a change.
        self.tell = self._told.set

    async def run(self) -> None:
        """Look whenever the broker has told of a change, until cancelled."""
        while True:
            await self._told.wait()
            self._told.clear()
            await self.look_now()

    async def look_first(self) -> None:
        """Look before the first claim: what is paused stays so over a restart, and what is drained over a recycling."""
        delay = BrokerDelay()
        while not self._life.stopping:
            try:
                return await self.look()
            except BrokerError as error:
                if not isinstance(error, ConnectionLost):
                    self._report_error(error)
                await delay.wait()

    async def look_now(self) -> None:
        """Look since something has changed; where that fails, the worker looks within a second in any case."""
        try:
            await self.look()
        except BrokerError as error:
            logger.debug("What is paused could not be looked up: %s", error)

    async def look(self) -> None:
        """Look up what is paused; jobs in hand that have not started go back if more is paused than before."""
        await self._look_at_host()
        if not self._asks:
            return
        broker = cast("Pauses", self._broker)
        standing = await broker.pauses()
        now, self.resumed = {pause.id: pause for pause in standing.pauses}, standing.resumed
        if now.keys() != self._pauses.keys():
            await self._change(now)
        obeyed = (self._membership.incarnation, standing.changes)
        if now and obeyed != self._obeyed:
            await self._say_obeyed(broker, obeyed)
        for id in standing.resuming:
            await broker.resume(id, begun=True)

    async def _say_obeyed(self, broker: Pauses, obeyed: tuple[str, int]) -> None:
        """Confirm to the caller of a pause that this worker obeys it. A server without memory may refuse that, and the
        pause holds even then."""
        try:
            await broker.obey(*obeyed)
            self._obeyed = obeyed
        except BrokerError as error:
            logger.debug("The server was not told that pauses are obeyed: %s", error)

    async def _change(self, now: dict[str, Pause]) -> None:
        before, self._pauses = self._pauses, now
        is_new, self.is_any = now.keys() - before.keys(), bool(now) or self._life.drained
        for pause in now.values():
            if pause.id in is_new:
                logger.info("Paused: %s%s. This worker starts none of its jobs.", pause.what, _reason(pause))
        for id in before.keys() - now.keys():
            logger.info("Resumed: %s.", before[id].what)
        if is_new:
            self._in_hand.give_back_unstarted()
        self._life.stir()
        await self._broker.wake()

    async def _look_at_host(self) -> None:
        if (drained := self._is_drained()) == self._life.drained:
            return
        self._life.drained = drained
        self.is_any = drained or bool(self._pauses)
        if drained:
            self._in_hand.give_back_unstarted()
        self._life.stir()
        await self._broker.wake()

    def open(self, queues: Sequence[str]) -> list[str]:
        """The queues of which jobs may start."""
        if self.is_everything:
            return []
        return [queue for queue in queues if f"queue:{queue}" not in self._pauses]

    @property
    def is_everything(self) -> bool:
        """Whether nothing at all may start."""
        return self._life.drained or "all" in self._pauses

    def pause_of(self, run: Run) -> Pause | None:
        """The pause for which a run may not start. None: there is none.

        The arguments of a node are known once the values upstream of it are there: it is asked again then."""
        if run.begun or run.calls_nothing:
            return None
        if self._life.drained:
            return _DRAINED
        job, task = run.job, run.task
        for pause in self._pauses.values():
            if pause.task:
                if pause.task in (job.task, task.name) and (not pause.where or self._is_true(pause, run)):
                    return pause
            elif not pause.queue or pause.queue == job.queue:
                return pause
        return None

    def _is_true(self, pause: Pause, run: Run) -> bool:
        if is_chunk(run) or (run.flow is not None and run.flow.upstream and not run.upstream):
            return False
        try:
            condition = condition_of(pause.where)
        except ConfigError:
            # It was written by hand, or by a later release.
            return False
        arguments = self._arguments(run)
        if condition.argument not in arguments:
            self._warn_of(pause, condition.argument, run.task.function)
        return condition.holds(arguments)

    def _warn_of(self, pause: Pause, argument: str, function: Callable[..., Any]) -> None:
        """Say once that a pause stops nothing, since the function has no such parameter."""
        parameters = inspect.signature(function).parameters
        takes_any = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())
        if pause.id in self._warned or takes_any or argument in parameters:
            return
        self._warned.add(pause.id)
        logger.warning(
            'The pause of %s stops no job: the task has no parameter "%s". It has: %s.',
            *(pause.what, argument, ", ".join(parameters) or "none"),
        )

    def _arguments(self, run: Run) -> dict[str, Any]:
        """The arguments of a call by their names, with defaults; empty where they cannot be read: the run says why."""
        function = run.task.function
        try:
            if run.upstream:
                args, kwargs = self._serializer.load_call(run.job.body, function, run.upstream)
            else:
                args, kwargs = self._serializer.load_call(run.job.body, function)
            bound = inspect.signature(function).bind_partial(*args, **kwargs)
        except Exception:
            return {}
        bound.apply_defaults()
        return dict(bound.arguments)


def _reason(pause: Pause) -> str:
    """Who has paused it and why, in brackets."""
    said = ": ".join(filter(None, (f"by {pause.by}" if pause.by else "", pause.why)))
    return f" ({said})" if said else ""
