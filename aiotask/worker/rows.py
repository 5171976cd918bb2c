"""Rows of runs that have not started."""

from __future__ import annotations

import contextlib
from collections import deque

from .run import Run

__all__ = ["pick"]


def pick(row: deque[Run], id: str, owner: object = None) -> Run | None:
    """Take the run of one job out of its row, if it is there; a thread may take runs out of the row meanwhile.

    Args:
        owner: only a run of this owner; None: of any.
    """
    for run in list(row):
        if run.job.id == id and (owner is None or run.owner is owner):
            with contextlib.suppress(ValueError):  # a thread was quicker
                row.remove(run)
                return run
    return None
