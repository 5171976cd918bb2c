"""Outcomes that no task made: of a job that was cancelled, dropped or killed, or that a dead process left behind."""

from __future__ import annotations

import time

from ..errors import JobCancelled, JobError
from ..job import WIRE_VERSION, Status
from ..outcome import ErrorInfo, Outcome, encode_outcome
from .seal import Sealer

__all__ = ["ended"]


def ended(
    sealer: Sealer,
    id: str,
    task: str,
    error: type[JobError],
    message: str,
    *,
    attempt: int = 1,
    worker: str = "",
    graph: str = "",
) -> bytes:
    """The sealed outcome of a job that this process, not its task, ends now.

    Args:
        sealer: the app's sealer of outcomes.
        id, task: id of the job and name of its task; an empty name is one that is not known here.
        error: the error that the caller gets; with JobCancelled the job is CANCELLED, else FAILED.
        attempt: number of the last run.
        worker: name of the worker that ran the job; empty: no worker did.
        graph: the graph of the job; empty: it is in none.
    """
    status = Status.CANCELLED if error is JobCancelled else Status.FAILED
    info = ErrorInfo(f"{error.__module__}.{error.__qualname__}", message)
    now = time.time()
    outcome = Outcome(WIRE_VERSION, id, task, status, attempt, worker, finished_at=now, error=info, graph=graph)
    return sealer.seal(encode_outcome(outcome))
