"""Outcomes that no task made: of a job that was cancelled, dropped or killed, that a dead process left behind, or whose
own outcome the broker rejects."""

from __future__ import annotations

import time

from ..errors import AiotaskError, JobCancelled, JobExpired
from ..job import WIRE_VERSION, Status
from ..outcome import ErrorInfo, Outcome, encode_outcome
from .seal import Sealer

__all__ = ["ended"]

_STATUSES: dict[type[AiotaskError], Status] = {JobCancelled: Status.CANCELLED, JobExpired: Status.EXPIRED}


def ended(
    sealer: Sealer,
    id: str,
    task: str,
    error: type[AiotaskError],
    message: str,
    *,
    attempt: int = 1,
    worker: str = "",
    started_at: float = 0.0,
    finished_at: float | None = None,
    graph: str = "",
) -> bytes:
    """The sealed outcome of a job that this process, not its task, ends.

    Args:
        sealer: the app's sealer of outcomes.
        id, task: id of the job and name of its task; an empty name is one that is not known here.
        error: the error that the caller gets; with JobCancelled the job is CANCELLED, with JobExpired EXPIRED, else
            FAILED.
        attempt: number of the last run.
        worker: name of the worker that ran the job; empty: no worker did.
        started_at, finished_at: start and end of the last run in Unix seconds, 0: not known. Without ``finished_at``
            the job ends now.
        graph: the graph of the job; empty: it is in none.
    """
    status = _STATUSES.get(error, Status.FAILED)
    info = ErrorInfo(f"{error.__module__}.{error.__qualname__}", message)
    end = time.time() if finished_at is None else finished_at
    outcome = Outcome(WIRE_VERSION, id, task, status, attempt, worker, started_at, end, error=info, graph=graph)
    return sealer.seal(encode_outcome(outcome))
