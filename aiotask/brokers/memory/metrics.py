"""Metrics, as the memory broker keeps them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from ...errors import SealError
from ...inspector import Stats
from ...values.metrics import Counts
from ...values.report import HostReport, LostHost, decode_report
from ..bounds import LOST_HOSTS
from ..metrics import ERRORS_KEPT, MINUTE, MINUTES_TTL, TEN, TENS_TTL, Minute, Observed
from .clock import Clock

__all__ = ["MinuteBook"]


class MinuteBook:
    """Minutes, and the reports of hosts, in the memory of this process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._minutes: dict[tuple[int, int], Minute] = {}
        #: Sequence, time (Unix seconds) and report of each host.
        self._reports: dict[str, tuple[int, float, bytes]] = {}
        #: When each lost host was declared dead (Unix seconds), its machine, and how many of its jobs were given back.
        self._lost: dict[str, tuple[float, str, int]] = {}

    def observe(
        self, host: str, sequence: int, observed: Observed, report: bytes, stats: Callable[[], Stats], *, leased: bool
    ) -> None:
        """As the verb of ``Metrics``.

        Args:
            stats: counts what is on the broker.
            leased: whether the host has a lease, so that its report is kept.
        """
        now = self._clock.time()
        if sequence > self._reports.get(host, (0, 0.0, b""))[0]:
            for step, kept in ((MINUTE, MINUTES_TTL), (TEN, TENS_TTL)):
                number = math.floor(now / step)
                before = self._minutes.get((step, number)) or Minute(number * step, step, stats=stats())
                self._minutes[step, number] = _with(before, observed)
                for old in [each for each in self._minutes if each[0] == step and each[1] * step < now - kept]:
                    del self._minutes[old]
        if leased:
            self._reports[host] = sequence, now, report

    def forget_host(self, host: str, *, lost: bool) -> None:
        """The host was declared dead: by another one, or since it leaves."""
        machine = next((each.machine for each in self.reports() if each.host == host), "")
        self._reports.pop(host, None)
        if lost:
            self._lost[host] = self._clock.time(), machine, 0
            if len(self._lost) > LOST_HOSTS:
                del self._lost[min(self._lost, key=lambda each: self._lost[each][0])]

    def is_lost(self, host: str) -> bool:
        return host in self._lost

    def note_given_back(self, host: str) -> None:
        """A job of a lost host was given back."""
        at, machine, jobs = self._lost[host]
        self._lost[host] = at, machine, jobs + 1

    def lost(self) -> list[LostHost]:
        now = self._clock.time()
        found = [LostHost(host, max(0.0, now - at), machine, jobs) for host, (at, machine, jobs) in self._lost.items()]
        return sorted(found, key=lambda each: each.age)

    def minutes(self, since: float, until: float | None, step: int) -> Sequence[Minute]:
        last = self._clock.time() if until is None else until
        of_step = (each for (length, _), each in sorted(self._minutes.items()) if length == step)
        return [each for each in of_step if math.floor(since / step) * step <= each.at <= last]

    def reports(self) -> list[HostReport]:
        found: list[HostReport] = []
        now = self._clock.time()
        for host, (_, at, packed) in sorted(self._reports.items()):
            try:
                report = decode_report(packed)
            except SealError:
                continue
            ahead = report.time - at if report.time else 0.0
            found.append(replace(report, host=host, age=max(0.0, now - at), ahead=round(ahead, 3)))
        return found


def _with(minute: Minute, more: Observed) -> Minute:
    tasks, queues = dict(minute.tasks), dict(minute.queues)
    for found, table in ((tasks, more.tasks), (queues, more.queues)):
        for name, slots in table.items():
            found[name] = found.get(name, Counts()) + Counts(slots)
    errors = Counter(minute.errors) + Counter(more.errors)
    releases = dict(Counter(minute.releases) + Counter(more.releases))
    kept = dict(errors.most_common(ERRORS_KEPT))
    return replace(minute, tasks=tasks, queues=queues, errors=kept, releases=releases)
