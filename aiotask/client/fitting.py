"""How many jobs fit into one batch."""

from __future__ import annotations

import operator
from collections.abc import Collection
from itertools import islice

from ..broker import BATCH_BYTES, BATCH_JOBS, Push

__all__ = ["fitting"]

_sealed = operator.attrgetter("sealed")


def fitting(pushes: Collection[Push]) -> int:
    """How many of these jobs, from the first one on, fit into one batch."""
    if len(pushes) <= BATCH_JOBS and sum(map(len, map(_sealed, pushes))) <= BATCH_BYTES:
        return len(pushes)
    size = count = 0
    for push in islice(pushes, BATCH_JOBS):
        size += len(push.sealed)
        if count and size > BATCH_BYTES:
            break
        count += 1
    return count
