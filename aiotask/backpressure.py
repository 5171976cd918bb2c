"""What happens to a job whose queue is full."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from enum import StrEnum

from .broker import Delivery, Finish, Push, Room
from .errors import JobCancelled, QueueFull, SealError
from .job import WIRE_VERSION, Status, decode_job
from .outcome import ErrorInfo, Outcome, encode_outcome
from .seal import Sealer

__all__ = ["Backpressure", "WhenFull"]


class WhenFull(StrEnum):
    """What a sender does about a full queue."""

    REJECT = "reject"
    WAIT = "wait"
    DROP_OLDEST = "drop_oldest"


class Backpressure:
    """The limits of an app's queues, and what is done at them.

    Args:
        max_pending: jobs that may wait, by queue; ``""`` is every queue that is not named.
    """

    def __init__(self, max_pending: Mapping[str, int], when_full: WhenFull, secrets: Sequence[str]) -> None:
        self.when_full = when_full
        self.room = Room(dict(max_pending), when_full is WhenFull.DROP_OLDEST)
        self._jobs_sealer = Sealer(secrets, "job")
        self._outcomes_sealer = Sealer(secrets, "outcome")

    def refusal(self, push: Push) -> QueueFull:
        """Why this job was not taken."""
        limit = self.room.of(push.queue) or 0
        return QueueFull(
            f'Queue "{push.queue}" is full: {limit:,} jobs are waiting in it (max_pending), so job "{push.id}" was '
            "not sent. "
            'Send it later, start more workers, or let senders wait: App(when_full="wait").'
        )

    def dropped(self, oldest: Sequence[Delivery]) -> list[Finish]:
        """The end of jobs that make room."""
        return [self._drop(delivery) for delivery in oldest]

    def _drop(self, delivery: Delivery) -> Finish:
        task, queue, ttl, reply = "", "", 3600.0, ""
        try:
            job = decode_job(self._jobs_sealer.open(delivery.sealed))
        except SealError:
            pass  # no job of ours; whoever waits under its id is told the same
        else:
            task, queue, ttl, reply = job.task, job.queue, job.result_ttl, job.reply
        message = (
            f'Job "{delivery.id}" ({task}) was dropped before it started: queue "{queue}" was full '
            f'({self.room.of(queue) or 0:,} jobs, max_pending), and with when_full="drop_oldest" the oldest waiting '
            "jobs are dropped."
        )
        outcome = Outcome(
            WIRE_VERSION,
            delivery.id,
            task,
            Status.CANCELLED,
            delivery.meta.attempt,
            finished_at=time.time(),
            error=ErrorInfo(f"{JobCancelled.__module__}.{JobCancelled.__qualname__}", message),
        )
        sealed = self._outcomes_sealer.seal(encode_outcome(outcome))
        return Finish(delivery, sealed, Status.CANCELLED, ttl, reply)
