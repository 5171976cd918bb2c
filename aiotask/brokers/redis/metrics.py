"""Metrics on Redis: minutes as hashes that expire, and a hash with the report of each host."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any

import msgspec

from ...errors import SealError
from ...inspector import Stats
from ...values.metrics import Counts
from ...values.report import HostReport, LostHost, decode_report
from ..metrics import ERRORS_KEPT, MINUTE, MINUTES_TTL, TENS_TTL, Minute, Observed
from .codec import text
from .connection import Wire
from .counts import stats_of
from .script import script

__all__ = ["MetricsVerbs", "MetricsView"]

#: Minutes that one call reads.
_READ = 30
#: In front of a report: the sequence of its host, and when it came (ms); of a lost host, when it was lost
#: (ms), and how many jobs were given back.
_HEAD = struct.Struct(">QQ")
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(strict=False).decode


class MetricsVerbs:
    """The verb of ``Metrics``, a part of ``RedisBroker``."""

    wire: Wire
    prefix: str

    async def observe(self, host: str, sequence: int, observed: Observed, report: bytes) -> None:
        rows: list[Any] = []
        for letter, table in (("t", observed.tasks), ("q", observed.queues)):
            for name, slots in table.items():
                rows += (f"{letter}:{name}", _encode(slots))
        if observed.errors:
            rows += ("e", _encode(observed.errors))
        if observed.releases:
            rows += ("r", _encode(observed.releases))
        await self.wire.run(
            *(script("observe"), self.prefix, host, sequence, report),
            *(MINUTES_TTL, TENS_TTL, ERRORS_KEPT, *rows),
        )


class MetricsView:
    """The verbs of ``MetricsInspector``, a part of ``RedisInspector``."""

    _wire: Wire
    _prefix: str

    async def minutes(self, since: float, until: float | None = None, step: int = MINUTE) -> Sequence[Minute]:
        seconds, micros = map(int, await self._wire.call("TIME"))
        now = seconds + micros / 1e6
        kept = MINUTES_TTL if step == MINUTE else TENS_TTL
        first = math.floor(max(since, now - kept) / step)
        last = math.floor(min(now, now if until is None else until) / step)
        found: list[Minute] = []
        for start in range(first, last + 1, _READ):
            numbers = range(start, min(start + _READ, last + 1))
            reply = await self._wire.run(script("minutes"), self._prefix, "m" if step == MINUTE else "m10", *numbers)
            found += [_minute(int(number) * step, step, fields) for number, fields in reply]
        return found

    async def reports(self) -> list[HostReport]:
        seconds, micros = map(int, await self._wire.call("TIME"))
        flat = await self._wire.call("HGETALL", f"{self._prefix}reports")
        found: list[HostReport] = []
        for host, packed in sorted(zip(flat[::2], flat[1::2], strict=True)):
            try:
                _, at = _HEAD.unpack_from(packed)
                report = decode_report(packed[_HEAD.size :])
            except (struct.error, SealError):
                continue
            age = max(0.0, seconds + micros / 1e6 - at / 1000)
            ahead = report.time - at / 1000 if report.time else 0.0
            found.append(msgspec.structs.replace(report, host=text(host), age=age, ahead=round(ahead, 3)))
        return found

    async def lost(self) -> list[LostHost]:
        seconds, micros = map(int, await self._wire.call("TIME"))
        flat = await self._wire.call("HGETALL", f"{self._prefix}lost")
        found: list[LostHost] = []
        for host, packed in zip(flat[::2], flat[1::2], strict=True):
            if len(packed) >= _HEAD.size:
                at, jobs = _HEAD.unpack_from(packed)
                age = max(0.0, seconds + micros / 1e6 - at / 1000)
                found.append(LostHost(text(host), age, _machine(packed[_HEAD.size :]), jobs))
        return sorted(found, key=lambda each: each.age)


def _machine(packed: bytes) -> str:
    """The machine in the last report of a host; empty: it had none."""
    try:
        return decode_report(packed).machine
    except SealError:
        return ""


def _minute(at: int, step: int, fields: list[bytes]) -> Minute:
    tasks, queues, errors, releases = dict[str, Counts](), dict[str, Counts](), dict[str, int](), dict[str, int]()
    stats: Stats | None = None
    for field, packed in zip(fields[::2], fields[1::2], strict=True):
        kind, _, name = text(field).partition(":")
        if kind == "*":
            stats = _stats_in(packed)
            continue
        known = _numbers(packed)
        if kind == "e":
            errors = {str(shape): number for shape, number in known.items()}
        elif kind == "r":
            releases = {str(release): number for release, number in known.items()}
        elif name:
            counts = Counts({int(slot): number for slot, number in known.items()})
            (tasks if kind == "t" else queues)[name] = counts
    return Minute(float(at), float(step), tasks, queues, errors, stats, releases)


def _numbers(packed: bytes) -> dict[Any, int]:
    """The numbers in a field that the server has summed up; none where something else stands there."""
    try:
        known = _decode(packed)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}
    if not isinstance(known, dict):
        return {}
    return {slot: int(number) for slot, number in known.items() if isinstance(number, int | float)}


def _stats_in(packed: bytes) -> Stats | None:
    """The state of the queues in the field ``*``, which the server has packed: its text is bytes to stats.lua."""
    try:
        return stats_of(_as_bytes(_decode(packed)))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, TypeError, ValueError):
        return None


def _as_bytes(value: Any) -> Any:
    """A reply as the server would have sent it."""
    if isinstance(value, str):
        return value.encode()
    return [_as_bytes(each) for each in value] if isinstance(value, list) else value
