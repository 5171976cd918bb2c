"""What the broker has to know of few jobs, besides what it knows of every one."""

from __future__ import annotations

import msgspec

from ..job import RESULT_TTL, More
from ..values.unique import Rule

__all__ = ["Special", "special_of"]


class Special(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What the broker has to know of few jobs. Such a job ends by ``Graphs.finish_special``."""

    #: Limit and key, as ``NAME:KEY``; empty: the job has no limit.
    limit: str = ""
    #: Positive: the Unix time in seconds after which no run of the job starts. Negative: the job expires -``expires``
    #: seconds after the broker has accepted it. 0: the job does not expire.
    expires: float = 0.0
    #: None: the job is not unique.
    unique: Rule | None = None


def special_of(more: More, ttl: float = RESULT_TTL) -> Special | None:
    """What the broker has to know of a job with these fields and this result TTL (seconds); None: nothing."""
    rule = Rule.of(more.unique, ttl) if more.unique else None
    return Special(more.limit, more.expires, rule) if more.limit or more.expires or rule else None
