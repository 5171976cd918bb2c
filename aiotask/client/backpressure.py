"""What happens to a job whose queue is full."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum

from ..broker import Delivery, Finish, Overflow, Push, Room
from ..errors import ConfigError, JobCancelled, QueueFull, SealError
from ..job import RESULT_TTL, Status, decode_job, flow_of
from ..log.throttle import Throttle
from ..loops.delay import DoublingDelay
from ..settings import environment
from ..tasks.options import check_name
from ..values.flow import NOWHERE
from ..wire.ended import ended
from ..wire.seal import Sealer
from .handed_over import is_graph
from .watchers import wake

__all__ = ["Backpressure", "RoomRetry", "WhenFull", "queue_limits"]


_LATER = 'Send it later, start more workers, or let senders wait: App(when_full="wait").'


class WhenFull(StrEnum):
    """What a sender does about a full queue."""

    REJECT = "reject"
    WAIT = "wait"
    DROP_OLDEST = "drop_oldest"


class Backpressure:
    """The limits of an app's queues, and what a sender does when one is reached.

    Args:
        max_pending: number of jobs that may wait, by queue; ``""`` is every queue that is not named.
    """

    def __init__(self, max_pending: Mapping[str, int], when_full: WhenFull, secrets: Sequence[str]) -> None:
        self.when_full = when_full
        self.room = Room(dict(max_pending), when_full is WhenFull.DROP_OLDEST)
        self._jobs_sealer = Sealer(secrets, "job")
        self._outcomes_sealer = Sealer(secrets, "outcome")

    def refusal(self, push: Push) -> QueueFull:
        """The error for a job, or a graph, whose queue is full."""
        if (excess := self.excess_of(push)) is not None:
            queue, count, most = excess
            return QueueFull(
                f'Graph "{push.id}" was not sent: {count:,} of its jobs start in queue "{queue}", where {most:,} may '
                "wait (max_pending), so it never has room. Send it in parts, or give the queue a larger limit."
            )
        if is_graph(push):
            starts = ", ".join(f'{count:,} in "{queue}"' for queue, count in push.staging.sources.items())
            return QueueFull(
                f'Graph "{push.id}" was not sent: there is no room for its jobs that start at once ({starts}), since a '
                f"queue is full (max_pending). {_LATER}"
            )
        limit = self.room.of(push.queue) or 0
        return QueueFull(
            f'Queue "{push.queue}" is full: {limit:,} jobs are waiting in it (max_pending), so job "{push.id}" was '
            f"not sent. {_LATER}"
        )

    def excess_of(self, push: Push) -> tuple[str, int, int] | None:
        """See ``GraphPush.excess``; None for a job."""
        return push.excess(self.room) if is_graph(push) else None

    def refuses(self, first: Push, overflow: Overflow, *, final: bool) -> bool:
        """Whether jobs without room, of which this is the first, do not wait for it."""
        # Nothing is dropped for the sake of a graph, and one that never has room does not wait.
        is_over = (self.when_full is WhenFull.DROP_OLDEST and is_graph(first)) or self.excess_of(first)
        return self.when_full is WhenFull.REJECT or bool(is_over) or (final and not overflow.oldest)

    def dropped(self, oldest: Sequence[Delivery]) -> list[Finish]:
        """The oldest waiting jobs, ended as CANCELLED to make room for newer ones."""
        return [self._drop(delivery) for delivery in oldest]

    def _drop(self, delivery: Delivery) -> Finish:
        task, queue, ttl, reply, flow = "", "", RESULT_TTL, "", NOWHERE
        try:
            job = decode_job(self._jobs_sealer.open(delivery.sealed))
        except SealError:
            pass  # not a job of this app; a caller that waits for its id gets the same outcome
        else:
            task, queue, ttl, reply = job.task, job.queue, job.result_ttl, job.reply
            flow = flow_of(job) or NOWHERE
        message = (
            f'Job "{delivery.id}" ({task}) was dropped before it started: queue "{queue}" was full '
            f'({self.room.of(queue) or 0:,} jobs, max_pending), and with when_full="drop_oldest" the oldest waiting '
            "jobs are dropped."
        )
        attempt = delivery.meta.attempt
        sealed = ended(
            self._outcomes_sealer, delivery.id, task, JobCancelled, message, attempt=attempt, graph=flow.graph
        )
        return Finish(delivery, sealed, Status.CANCELLED, ttl, reply, graph=flow.graph, node=flow.node)


#: Seconds between two attempts to send to a full queue: at first, and at most.
_FIRST, _LONGEST = 0.01, 0.5
#: Seconds for which jobs wait for room until a warning is logged, and until it is logged again.
_WARN_AFTER, _WARN_AGAIN = 5.0, 60.0

logger = logging.getLogger("aiotask.client")


class RoomRetry:
    """When jobs that wait for room in their queue are sent again."""

    def __init__(self) -> None:
        self._delay = DoublingDelay(_FIRST, _LONGEST)
        self._at = 0.0
        #: Warnings about the jobs that wait; None: the last attempt found room for some of them.
        self._warnings: Throttle | None = None
        self._pause: asyncio.Future[None] | None = None

    @property
    def is_due(self) -> bool:
        return time.monotonic() >= self._at

    def reset(self) -> None:
        """Some of the waiting jobs found room: the next delay is the shortest again."""
        self._delay.reset()
        self._warnings = None

    def postpone(self) -> None:
        """No waiting job found room: put the next attempt off, each time for longer."""
        if self._warnings is None:
            self._warnings = Throttle(_WARN_AGAIN, after=_WARN_AFTER)
        self._at = time.monotonic() + self._delay.next()

    async def wait(self, waiting: Collection[Push]) -> None:
        """Sleep until the next attempt is due, or ``interrupt`` is called."""
        if self._warnings is not None and self._warnings.passes():
            queues = ", ".join(f'"{queue}" ({count:,})' for queue, count in Counter(p.queue for p in waiting).items())
            logger.warning("Jobs wait for room, since these queues are full (max_pending): %s.", queues)
        self._pause = asyncio.get_running_loop().create_future()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, self._at - time.monotonic())):
                await self._pause

    def interrupt(self) -> None:
        """End ``wait`` early, since there are other jobs to send."""
        if self._pause is not None and not self._pause.done():
            wake(self._pause)


def queue_limits(
    max_pending: int | Mapping[str, int] | None, when_full: str | None
) -> tuple[dict[str, int], WhenFull] | None:
    """How many jobs may wait in which queue (``""``: in any that is not named), and what a sender does then.

    Raises:
        ConfigError: a limit is no whole number from 1, a queue has an impossible name, or there is no such policy.
    """
    policy = when_full or environment("WHEN_FULL") or WhenFull.REJECT
    if policy not in list(WhenFull):
        raise ConfigError(f"when_full={policy!r} (AIOTASK_WHEN_FULL): give one of {', '.join(WhenFull)}.")
    text = environment("MAX_PENDING")
    given = _parsed(text) if max_pending is None and text is not None else max_pending
    if given is None:
        return None
    limits = dict(given) if isinstance(given, Mapping) else {"": given}
    for queue, limit in limits.items():
        if queue != "":
            check_name(queue, "a queue (max_pending)")
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            raise ConfigError(
                f"max_pending={given!r} (AIOTASK_MAX_PENDING): give a whole number of at least 1, or one for each "
                "queue, "
                'as in {"mail": 10_000}.'
            )
    return limits, WhenFull(policy)


def _parsed(text: str) -> dict[str, int]:
    try:
        pairs = [part.strip().rpartition("=") for part in text.split(",") if part.strip()]
        return {queue.strip(): int(limit) for queue, _, limit in pairs}
    except ValueError:
        raise ConfigError(
            f'AIOTASK_MAX_PENDING="{text}": write one number for every queue, or one for each, as in mail=10000,=500.'
        ) from None
