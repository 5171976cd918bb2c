"""The verbs of schedules on Redis: a hash of schedules, and a sorted set of their next runs."""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from ...broker import Push
from ...errors import BrokerError
from ...wire.seal import OVERHEAD
from ..graphs import target_of
from ..schedules import BATCH_SCHEDULES, Declaration, Declared, Due, Fire, Look, SchedulePage, ScheduleState
from .codec import encode_special, text
from .connection import Wire
from .graphs import older_host
from .script import script

__all__ = ["ScheduleVerbs", "due_of"]

#: As in ``scripts/lib/schedules.lua``.
_HEAD = struct.Struct(">ddddddI8sH")
#: When a pause began, in front of who has begun it and why.
_AT = struct.Struct(">d")
_reason = msgspec.msgpack.Decoder(tuple[str, str])
#: Schedules that are looked at in one call.
_LOOKED_AT = 1_000
#: Seconds after which a declarer looks again for workers of an older release.
_LOOK_EVERY = 60.0


def due_of(others: Sequence[bytes]) -> Due | None:
    """What a reply of promote.lua says of schedules: its last two values, behind five of each expired job."""
    return Due(float(others[-2]), float(others[-1])) if len(others) % 5 else None


def _states(reply: Sequence[bytes]) -> list[ScheduleState]:
    rows = zip(reply[::3], reply[1::3], reply[2::3], strict=True)
    return [_state(text(name), packed, float(due)) for name, packed, due in rows if len(packed) >= _HEAD.size]


def _state(name: str, packed: bytes, due: float) -> ScheduleState:
    _, since, moment, last, paused, _, runs, _, size = _HEAD.unpack_from(packed)
    by, sealed = packed[_HEAD.size : _HEAD.size + size], packed[_HEAD.size + size :]
    return ScheduleState(name, sealed, text(by), due, moment, since, last, runs, paused)


def _with_reason(state: ScheduleState, told: bytes | None) -> ScheduleState:
    # A release that does not know them may have resumed it, and paused it again.
    if not told or _AT.unpack_from(told)[0] != state.paused:
        return state
    by, why = _reason.decode(told[_AT.size :])
    return replace(state, paused_by=by, paused_why=why)


def _arguments(item: Fire) -> list[Any]:
    """ARGV of fire.lua for one schedule."""
    state = item.state
    args: list[Any] = [state.name, repr(state.due), state.sealed[:OVERHEAD]]
    args += (repr(item.due), repr(item.moment), repr(item.last), len(item.jobs))
    for push in item.jobs:
        args += _job_arguments(push)
    return args


def _job_arguments(push: Push) -> tuple[Any, ...]:
    return target_of(push), encode_special(push.special), "1" if push.custom else "", push.id, push.sealed


class ScheduleVerbs:
    """The verbs of ``Schedules``, a part of ``RedisBroker``."""

    wire: Wire
    prefix: str
    schedules_due: Due | None = None
    #: When this object has looked for workers of older releases, by the monotonic clock.
    _declared_at = float("-inf")

    async def _script(self, name: str, *args: Any) -> Any:
        return await self.wire.run(script(name), self.prefix, *args)

    async def declare_schedules(
        self, by: str, generation: float, batch: Sequence[Declaration], *, removes: bool, force: bool = False
    ) -> list[str]:
        if batch:
            await self._refuse_older_hosts()
        return await self._declare(by, generation, batch, "1" if removes else "", "1" if force else "")

    async def set_schedules(self, batch: Sequence[Declaration]) -> list[str]:
        await self._refuse_older_hosts()
        return await self._declare("", 0.0, batch, "", "1")

    async def _declare(self, by: str, generation: float, batch: Sequence[Declaration], *flags: str) -> list[str]:
        args: list[Any] = [by, repr(generation), *flags]
        for item in batch:
            args += (item.name, item.sealed, item.moments, repr(item.horizon))
        return list(map(text, await self._script("declare_schedules", *args)))

    async def _refuse_older_hosts(self) -> None:
        """Raise BrokerError while a worker of an older release lives: its keeper fires nothing, and may be the only
        one."""
        if time.monotonic() - self._declared_at <= _LOOK_EVERY:
            return
        if host := await older_host(self.wire, self.prefix):
            raise BrokerError(
                f'A worker on host "{host}" is of an older release of aiotask, which does not know schedules. Restart '
                "the workers there with this release; until then schedules stay as they are."
            )
        self._declared_at = time.monotonic()

    async def declared_schedules(self) -> list[Declared]:
        reply = await self._script("declarers")
        rows = zip(reply[::3], reply[1::3], reply[2::3], strict=True)
        return [Declared(text(name), text(by), moments) for by, name, moments in rows]

    async def pause_schedule(self, name: str, by: str = "", why: str = "") -> bool:
        return bool(await self._script("steer_schedule", "pause", name, msgspec.msgpack.encode((by, why))))

    async def resume_schedule(self, name: str) -> bool:
        return bool(await self._script("steer_schedule", "resume", name))

    async def remove_schedule(self, name: str) -> bool:
        return bool(await self._script("steer_schedule", "remove", name))

    async def schedule(self, name: str) -> ScheduleState | None:
        packed = await self.wire.call("HGET", f"{self.prefix}schedules", name)
        due = await self.wire.call("ZSCORE", f"{self.prefix}fires", name)
        if not packed or not due or len(packed) < _HEAD.size:
            return None
        [state] = await self._with_reasons([_state(name, packed, float(due))])
        return state

    async def list_schedules(self, after: str = "", limit: int = BATCH_SCHEDULES) -> list[ScheduleState]:
        return await self._with_reasons(_states(await self._script("list_schedules", limit, after)))

    async def paused_schedules(self, limit: int = 20) -> list[ScheduleState]:
        found: list[ScheduleState] = []
        for name in sorted(map(text, await self.wire.call("HKEYS", f"{self.prefix}paused:schedules"))):
            if len(found) >= limit:
                break
            # A release that does not know this key may have resumed it.
            state = await self.schedule(name)
            found += [state] if state is not None and state.paused else []
        return found

    async def _with_reasons(self, states: list[ScheduleState]) -> list[ScheduleState]:
        """The same, with who has paused them and why."""
        paused = [state.name for state in states if state.paused]
        if not paused:
            return states
        told = await self.wire.call("HMGET", f"{self.prefix}paused:schedules", *paused)
        reasons = dict(zip(paused, told, strict=True))
        return [_with_reason(state, reasons.get(state.name)) for state in states]

    async def due_schedules(self, limit: int, skip: int = 0) -> Look:
        at, *found = await self._script("due_schedules", limit, skip)
        return Look(float(at), _states(found))

    async def stray_schedules(self, after: int = 0) -> SchedulePage:
        looked_at, *found = await self._script("stray_schedules", after, _LOOKED_AT)
        return SchedulePage(_states(found), after + looked_at if looked_at == _LOOKED_AT else None)

    async def fire(self, batch: Sequence[Fire]) -> list[bool]:
        args = [part for item in batch for part in _arguments(item)]
        return [answer == 1 for answer in await self._script("fire", *args)]
