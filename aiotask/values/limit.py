"""The numbers of a limit as they travel between senders, workers and the broker, and the rule of its rates."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

__all__ = ["BURST_SECONDS", "NUMBERS", "Granted", "LimitSpec", "burst_of", "gcra"]

#: Seconds in which a rate lets come in what its burst is, unless the limit gives another burst.
BURST_SECONDS = 0.05
#: The fields of a LimitSpec that an operator may replace.
NUMBERS = ("max_running", "max_running_each", "rate", "rate_each", "burst", "burst_each")


class LimitSpec(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What a limit allows, in all and for each key. A number that is 0 allows everything."""

    name: str
    #: Jobs that may run at once.
    max_running: int = 0
    max_running_each: int = 0
    #: Jobs that may start per second, evenly.
    rate: float = 0.0
    rate_each: float = 0.0
    #: Jobs that may start at once after a time without any; 0: as ``burst_of`` says of the rate.
    burst: int = 0
    burst_each: int = 0
    #: The task whose own limit this is; empty: the limit has a name.
    task: str = ""
    #: Whether its jobs have keys; where they have none, numbers for each key limit nothing.
    has_keys: bool = False


class Granted(NamedTuple):
    """What a rate says to a number of jobs that want to start."""

    #: How many of them may start now.
    starts: int
    #: When the next one would start if all came evenly, in microseconds; what is kept of the rate.
    tat: float
    #: Where none may start: when the first one may, in microseconds.
    until: float


def burst_of(rate: float, burst: int = 0) -> int:
    """The burst of a rate (jobs per second), where the limit gives none: what comes in 50 ms, and 1 at least."""
    return burst or max(1, int(rate * BURST_SECONDS))


def gcra(tat: float, now: float, interval: float, burst: int, wanted: int) -> Granted:
    """The rule of a rate, the generic cell rate algorithm; ``scripts/lib/limits.lua`` has the same.

    Args:
        tat: what ``Granted.tat`` said last; 0: nothing has started.
        now: the broker's clock in microseconds, as all times here.
        interval: microseconds from one start to the next.
    """
    # A time that is further ahead than a burst was written by a clock that has been set back since.
    tat = max(now, min(tat, now + interval * burst))
    # Not "+ interval - interval * burst": rounding would refuse a job that may start.
    first = tat - interval * (burst - 1)
    if first > now:
        return Granted(0, tat, first)
    starts = min(wanted, 1 + int((now - first) / interval + 1e-9))
    return Granted(starts, tat + interval * starts, 0.0)
