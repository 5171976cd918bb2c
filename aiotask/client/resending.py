"""Jobs that are sent again: each as a new job, from the envelope of the old one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from hashlib import blake2b

import msgspec

from ..broker import Broker, Push, Special
from ..job import RELEASE, Job, More, encode_job
from ..job import ids as new_ids
from ..wire.seal import Sealer
from .done import Done

__all__ = ["NEWER", "SEALED", "SENT_BEFORE", "Resending", "again_id", "is_later", "resent"]

#: Why a job was left as it is.
NEWER = "was sent by a newer release of aiotask"
SEALED = "was sealed with another secret"
SENT_BEFORE = "was sent again before"
_IN_GRAPH = "belongs to a graph, which is replayed as a whole (aiotask graphs replay)"
#: Seconds by which the clock of a sender may be ahead.
_CLOCK_SKEW = 1.0


class Resending:
    """Sends many jobs of one app again, each of them once, however often that is repeated.

    Args:
        jobs: the seal of its jobs.
    """

    def __init__(self, broker: Broker, jobs: Sealer) -> None:
        self._broker = broker
        self._jobs = jobs
        self._client = f"again-{new_ids.next()}"
        self._sequence = 0

    async def send(self, jobs: Sequence[Job], done: Done) -> None:
        batch: list[Push] = []
        for job in jobs:
            push = resent(job, self._jobs, again_id(job))
            if isinstance(push, str):
                done.skip(push)
            else:
                batch.append(push)
        states = await self._broker.status([push.id for push in batch]) if batch else []
        new = [push for push, state in zip(batch, states, strict=True) if state.status is None and not state.outcome]
        done.skip(SENT_BEFORE, len(batch) - len(new))
        if new:
            self._sequence += 1
            await self._broker.push(self._client, self._sequence, new)
        done.done += len(new)


def is_later(job: Job | None, started: float) -> bool:
    """Whether a job was sent after this moment of the broker's clock, by the sender's clock."""
    return job is not None and job.sent_at > started + _CLOCK_SKEW


def again_id(job: Job) -> str:
    """The id of the job as which a bulk action sends another one again: the same each time, so that a repeated action
    sends it once."""
    return f"00again-{blake2b(f'{job.id} {job.sent_at!r}'.encode(), digest_size=11).hexdigest()}"


def resent(job: Job, sealer: Sealer, id: str) -> Push | str:
    """A new job from an old one, due at once, with the same limit and priority; or why there can be none."""
    more = job.more or More()
    if more.flow is not None:
        return _IN_GRAPH
    if job.version > RELEASE:
        return NEWER
    kept = msgspec.structs.replace(more, parent="", expires=0.0, unique="")
    fresh = msgspec.structs.replace(
        job, id=id, sent_at=time.time(), reply="", due_at=0.0, more=None if kept == More() else kept
    )
    special = Special(limit=kept.limit) if kept.limit else None
    return Push(id, job.queue, job.priority, sealer.seal(encode_job(fresh)), custom=True, special=special)
