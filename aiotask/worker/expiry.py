"""Jobs that expire: the worker asks the broker how many seconds are left, since only the broker's clock tells."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import cast

from ..broker import Broker
from ..brokers import features
from ..brokers.expiry import Expiry
from ..brokers.technology import EXPIRY
from ..errors import JobExpired
from ..wire.expiry_text import expiry_text
from .asking import AskingRow
from .run import Run

__all__ = ["Expiries", "expired", "is_expired"]


class Expiries(AskingRow[float | None]):
    """A row of runs that wait for the answer of the broker; jobs that do not expire never come here."""

    def __init__(self, broker: Broker) -> None:
        super().__init__("The broker refused to say when jobs expire; trying again: %s")
        self._broker = broker
        #: Whether the broker knows; a worker on another one judges by its own clock.
        self.asks = EXPIRY in features(broker.url)

    async def _answers(self, ids: Sequence[str]) -> list[float | None]:
        return await cast("Expiry", self._broker).seconds_left(ids)

    def _learn(self, run: Run, answer: float | None) -> None:
        run.expires_mono = 0.0 if answer is None else time.monotonic() + answer


def is_expired(run: Run) -> bool:
    """Whether no run of this job may start any more: by the broker's answer, else by the clocks of sender and worker.

    A replay of a dead letter is asked for by people, who want the run: it does not expire."""
    if run.delivery.meta.series:
        return False
    if run.expires_mono:
        return time.monotonic() >= run.expires_mono
    return time.time() >= _moment(run)


def _moment(run: Run) -> float:
    """When the job expires, in Unix seconds; seconds count from the send on, as the sender's clock had it."""
    more = run.job.more
    assert more is not None
    if run.expires_mono:
        return time.time() + run.expires_mono - time.monotonic()
    return more.expires if more.expires > 0 else run.job.sent_at - more.expires


def expired(run: Run) -> JobExpired:
    """The error of a run that was to start too late."""
    return JobExpired(expiry_text(run.job.id, run.task.name, run.delivery.meta.attempt, _moment(run)))
