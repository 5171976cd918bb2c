"""The verbs of limits on Redis, and what people are shown of limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ...broker import Delivery
from ...values.limit import NUMBERS, LimitSpec
from ..lanes import is_parked
from ..limits import KeyInfo, LimitInfo, LineInfo
from .codec import text
from .connection import Wire
from .graphs import GraphVerbs
from .script import script

__all__ = ["LimitVerbs", "LimitsView"]

_encode = msgspec.msgpack.Encoder().encode


class LimitVerbs(GraphVerbs):
    """The verbs of ``Limits``, a part of ``RedisBroker``; ``claim`` and ``wait`` are in ``claims.py``."""

    _waiting: Wire
    #: The server's number of the connection that blocks; None: it has none yet.
    _waiting_id: int | None
    #: Whether blocking claims also wait for bells.
    _hears_bells = False

    async def wake(self) -> None:
        if self._waiting.connected and self._waiting_id is not None:
            await self.wire.call("CLIENT", "UNBLOCK", self._waiting_id)

    async def declare_limits(
        self, generation: float, by: str, limits: Sequence[LimitSpec], *, removes: bool = False
    ) -> list[str]:
        await self._refuse_beside_older()
        if limits and not self._hears_bells:
            self._hears_bells = True
            # The blocking claim that is under way hears none.
            await self.wake()
        args: list[Any] = [repr(float(generation)), by, "1" if removes else ""]
        for spec in limits:
            args += (spec.name, _encode({name: getattr(spec, name) for name in (*NUMBERS, "task", "has_keys")}))
        return sorted(map(text, await self._run("declare_limits", *args)))

    def was_parked(self, delivery: Delivery) -> bool:
        return is_parked(delivery.lane)

    async def hold_limit(self, limit: str, seconds: float) -> None:
        name, _, key = limit.partition(":")
        await self._run("hold_limit", name, key, seconds)

    async def set_limit(self, name: str, numbers: Mapping[str, float]) -> bool:
        return bool(await self._run("set_limit", name, _encode(dict(numbers))))

    async def reset_limit(self, name: str) -> bool:
        return bool(await self._run("set_limit", name, b""))


class LimitsView:
    """The part of ``RedisInspector`` that reads limits."""

    _wire: Wire
    _prefix: str

    async def admits_now(self, queues: Sequence[str]) -> bool:
        """Whether a limit may admit a job of these queues now, so not one that waits for a slot or for its rate."""
        places = await self._wire.call("SMEMBERS", f"{self._prefix}open")
        return any(text(place).rpartition(":")[0] in queues for place in places)

    async def limits(self) -> list[LimitInfo]:
        names = sorted(map(text, await self._wire.call("SMEMBERS", f"{self._prefix}limits")))
        return [await self._limit(name) for name in names]

    async def limit_keys(self, name: str, most: int) -> list[KeyInfo]:
        rows = await self._wire.run(script("limit_keys"), self._prefix, name, most)
        return [
            KeyInfo(text(key), waiting, running, (int(number), text(oldest)) if oldest else None)
            for key, waiting, running, number, oldest in rows
        ]

    async def line(self, line: str) -> LineInfo:
        _, queue, priority, limit, by = line.split(":", 4)
        whole = f"l:{queue}:{priority}:{limit}:"
        turn = await self._wire.call("ZSCORE", f"{self._prefix}ring:{queue}:{priority}:{limit}", by)
        times = [await self._wire.call("ZSCORE", f"{self._prefix}wake", each) for each in {whole, line}]
        seconds, micros = await self._wire.call("TIME")
        left = [float(time) - int(seconds) - int(micros) / 1e6 for time in times if time is not None]
        return LineInfo(turn is not None and not left, max(0.0, *left) if left else None)

    async def _limit(self, name: str) -> LimitInfo:
        flat = await self._wire.call("HGETALL", f"{self._prefix}limit:{name}")
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
        known = fields.get(b"known", b"")
        declared, replaced = _numbers(fields.get(b"declared")), _numbers(fields.get(b"set"))
        places = []
        for place in sorted(await self._wire.call("SMEMBERS", f"{self._prefix}places:{name}")):
            queue, _, priority = text(place).rpartition(":")
            keys = await self._wire.call("ZCARD", f"{self._prefix}ring:{text(place)}:{name}")
            places.append((queue, int(priority), keys))
        return LimitInfo(
            name,
            spec=_spec(name, declared | replaced) if known else None,
            declared=_spec(name, declared) if known and replaced else None,
            by=text(fields.get(b"by", b"")),
            generation=float(fields.get(b"generation", 0)),
            removed=known == b"removed",
            running=await self._wire.call("SCARD", f"{self._prefix}slots:{name}"),
            waiting=_count(fields.get(b"lined", b"")),
            places=places,
        )


def _numbers(packed: bytes | None) -> dict[str, Any]:
    """Numbers of a limit as the server keeps them; none where something else stands there."""
    try:
        found = msgspec.msgpack.decode(packed or b"\x80")
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _count(number: bytes) -> int:
    """A counter of the server; 0 where something else stands there, which the scripts remove."""
    return int(number) if number.isdigit() else 0


def _spec(name: str, numbers: Mapping[str, Any]) -> LimitSpec | None:
    try:
        return msgspec.convert({**numbers, "name": name}, LimitSpec, strict=False)
    except msgspec.ValidationError:
        return None
