"""Metrics: what brokers with the feature ``METRICS`` keep of what workers count, and of the state of their hosts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from ..inspector import Inspector, Stats
from ..values.metrics import Counts, Table
from ..values.report import HostReport, LostHost

__all__ = [
    "ERRORS_KEPT",
    "MINUTE",
    "MINUTES_TTL",
    "TEN",
    "TENS_TTL",
    "Metrics",
    "MetricsInspector",
    "Minute",
    "Observed",
]

#: Seconds of a minute and of ten, and for which they are kept.
MINUTE, TEN = 60, 600
MINUTES_TTL, TENS_TTL = 8 * 3600, 72 * 3600
#: The most frequent errors that are kept of each.
ERRORS_KEPT = 50


class Minute(msgspec.Struct, frozen=True):
    """What the workers of all hosts counted in one minute, or in ten."""

    #: Unix seconds of its beginning, by the broker's clock, and its length in seconds.
    at: float
    seconds: float
    tasks: dict[str, Counts] = {}
    queues: dict[str, Counts] = {}
    #: The most frequent errors: task, a tabulator, and the shape of the error.
    errors: dict[str, int] = {}
    #: What was on the broker as it began; None: it was not counted.
    stats: Stats | None = None
    #: Reports by the release of the app (``AIOTASK_RELEASE``) that their host had.
    releases: dict[str, int] = {}


class Observed(msgspec.Struct, frozen=True):
    """What was counted on one host since it was last observed: numbers by slot of tasks and queues, errors by shape."""

    tasks: Table = {}
    queues: Table = {}
    errors: dict[str, int] = {}
    #: The release of the app on this host, and 1; empty: it has none.
    releases: dict[str, int] = {}


class Metrics(Protocol):
    """What keepers write."""

    async def observe(self, host: str, sequence: int, observed: Observed, report: bytes) -> None:
        """Add what was counted to the minute and the ten minutes that it is now, by the broker's clock, and keep the
        report of the host in place of its last one.

        Args:
            sequence: counts from 1 for each host; what has been observed under a number is not added again.
        """
        ...


class MetricsInspector(Inspector, Protocol):
    """The read side of a broker that keeps metrics."""

    async def minutes(self, since: float, until: float | None = None, step: int = MINUTE) -> Sequence[Minute]:
        """What was counted in each minute from ``since`` (Unix seconds) on, the oldest first; minutes in which nothing
        was counted are left out.

        Args:
            until: Unix seconds; None: until now.
            step: MINUTE, of the last 8 hours; TEN: ten minutes at a time, of the last 72 hours.
        """
        ...

    async def reports(self) -> list[HostReport]:
        """The last report of each host, by name."""
        ...

    async def lost(self) -> list[LostHost]:
        """The last hosts that were lost, the latest first."""
        ...
