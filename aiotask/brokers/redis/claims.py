"""How workers claim on Redis: quick claims, blocking ones, and the limited jobs that both admit."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Collection, Sequence
from typing import Any

from ...broker import BATCH_BYTES, BATCH_JOBS, Claim, Delivery, Liveness
from ...errors import BrokerError
from ..lanes import BELL, admitted_lanes, claim_order, flags_of, lane_of, suspect_lanes
from .codec import LIVENESS, claimed, deliveries, delivery
from .keys import GROUP
from .limits import LimitVerbs
from .script import script
from .waits import oldest, oldest_of, waits_of

__all__ = ["Claims"]

#: Limited jobs that a blocking claim admits at most: those that it woke for, as others block too.
_WOKEN = 8
#: Limited jobs in one call of admit.lua at most: one costs the server several plain ones.
_ADMITTED = 100
#: What the sum in a reply of claim.lua consists of.
_VOLUNTEER, _PAUSED, _OPEN = 1, 2, 4


class Claims(LimitVerbs):
    """The verbs of ``Broker`` by which a worker comes to its jobs, a part of ``RedisBroker``."""

    _waiting_seen: int
    _claimed_over: int
    free_seats: int = BATCH_JOBS
    by_queue = False
    #: Whether the last claim has found something that a limit may admit.
    _is_open = False
    #: Whether a claim of a single job tries the lanes first.
    _lanes_first = False
    #: When a rate admits the next job (monotonic); None: no rate holds one back, as far as this object knows.
    _admits_at: float | None = None
    #: How many seconds the server's clock is ahead of the monotonic one here, as the last quick claim has shown.
    _ahead: float | None = None
    #: The end of the blocking claim that is under way, at that time.
    _alarm: asyncio.Task[None] | None = None

    def _epoch(self, incarnation: str) -> bytes:
        return self._epochs.get(incarnation, b"?")

    async def claim(
        self, incarnation: str, queues: Sequence[str], needs: Collection[str], limit: int, *, alone: bool = False
    ) -> Claim:
        limit = min(limit, BATCH_JOBS)
        is_open = self._is_open or (self._admits_at is not None and self._may_admit())
        if is_open and limit > 0 and self.free_seats > 0 and not alone:
            return await self._claim_both(incarnation, queues, needs, limit)
        args = self._claim_arguments(incarnation, queues, needs, limit, alone=alone)
        reply = await self._waiting.run(script("claim"), self.prefix, *args)
        found, waits = claimed(reply, 3), self._waits(reply)
        if reply[1] & _OPEN:
            self._is_open = self._hears_bells = True
            if (room := min(limit - len(found), self.free_seats)) > 0 and not alone and not reply[1] & _VOLUNTEER:
                found += await self._admit(incarnation, queues, needs, room)
        is_volunteer, is_paused = reply[1] & _VOLUNTEER > 0, reply[1] & _PAUSED > 0
        return Claim(found, LIVENESS[reply[0]], is_volunteer, self._has_reconnected(), is_paused, waits)

    def _claim_arguments(
        self,
        incarnation: str,
        queues: Sequence[str],
        needs: Collection[str],
        limit: int,
        room: int = BATCH_BYTES,
        *,
        alone: bool = False,
    ) -> list[Any]:
        """ARGV of claim.lua."""
        lanes = [] if alone else claim_order(queues, needs, by_queue=self.by_queue)
        return [incarnation, self._epoch(incarnation), limit, room, "1" if alone else "", len(queues), *queues, *lanes]

    def _admit_arguments(
        self,
        incarnation: str,
        queues: Sequence[str],
        needs: Collection[str],
        limit: int,
        room: int = BATCH_BYTES,
        *,
        heard: bool = False,
    ) -> list[Any]:
        """ARGV of admit.lua."""
        head = [incarnation, self._epoch(incarnation), min(limit, _ADMITTED), room, "1" if heard else ""]
        return [*head, len(queues), *queues, *claim_order(queues, needs, by_queue=self.by_queue)]

    async def _claim_both(self, incarnation: str, queues: Sequence[str], needs: Collection[str], limit: int) -> Claim:
        """Claim from lanes and lines, in one round trip: half of the room is for each, and the other half of what one
        leaves."""
        share = min(-(-limit // 2), self.free_seats, _ADMITTED)
        if limit == 1:
            self._lanes_first = not self._lanes_first
            share = 0 if self._lanes_first else 1
        rest = limit - share
        half = BATCH_BYTES // 2
        reply, admission = await self._waiting.run_pair(
            self.prefix,
            (script("claim"), self._claim_arguments(incarnation, queues, needs, rest, half)),
            (script("admit"), self._admit_arguments(incarnation, queues, needs, share, half)),
        )
        for answer, other in ((reply, admission), (admission, reply)):
            # What the other one has brought is not lost; the next claim meets the same error.
            if isinstance(answer, BrokerError) and (isinstance(other, BrokerError) or len(other) == 2):
                raise answer
        plain = [] if isinstance(reply, BrokerError) else claimed(reply, 3)
        waits = [] if isinstance(reply, BrokerError) else self._waits(reply)
        limited = [] if isinstance(admission, BrokerError) else self._admitted(admission)
        is_volunteer, is_paused, liveness = False, False, Liveness.LIVE
        if not isinstance(reply, BrokerError):
            liveness, self._is_open = LIVENESS[reply[0]], reply[1] & _OPEN > 0
            is_volunteer, is_paused = reply[1] & _VOLUNTEER > 0, reply[1] & _PAUSED > 0
        found = plain + limited
        if liveness is Liveness.LIVE and not is_volunteer and (left := limit - len(found)) > 0:
            room = min(left, self.free_seats - len(limited)) if len(limited) == share else 0
            found += await self._fill(incarnation, queues, needs, left, len(plain) == rest, room)
        # A worker that has jobs in this answer looks at suspects with the next one.
        return Claim(found, liveness, is_volunteer and not found, self._has_reconnected(), is_paused, waits)

    async def _fill(
        self,
        incarnation: str,
        queues: Sequence[str],
        needs: Collection[str],
        left: int,
        has_plain: bool,
        room: int,
    ) -> list[Delivery]:
        """What one kind of jobs leaves to the other; ``room``: how many more limited jobs may be admitted."""
        if has_plain:
            args = self._claim_arguments(incarnation, queues, needs, left)
            return claimed(await self._waiting.run(script("claim"), self.prefix, *args), 3)
        return await self._admit(incarnation, queues, needs, room) if room > 0 and self._is_open else []

    async def _admit(
        self, incarnation: str, queues: Sequence[str], needs: Collection[str], limit: int, *, heard: bool = False
    ) -> list[Delivery]:
        args = self._admit_arguments(incarnation, queues, needs, limit, heard=heard)
        return self._admitted(await self._waiting.run(script("admit"), self.prefix, *args))

    def _admitted(self, reply: list[Any]) -> list[Delivery]:
        self._admits_at = time.monotonic() + float(reply[1]) if reply[1] else None
        return claimed(reply, 2)

    def _waits(self, reply: list[Any]) -> list[tuple[str, float]]:
        """How long the oldest job from each lane in a reply of claim.lua has waited."""
        if len(reply) <= 3:
            return []
        at = reply[2] / 1000
        self._ahead = at - time.monotonic()
        return waits_of(oldest(reply, 3), at)

    def _has_reconnected(self) -> bool:
        before, self._claimed_over = self._claimed_over, self._waiting.generation
        return 0 < before != self._claimed_over

    async def wait(self, incarnation: str, queues: Sequence[str], needs: Collection[str], timeout: float) -> Claim:
        order = claim_order(queues, needs)
        if self._hears_bells and self.free_seats > 0:
            order += [lane_of(queue, BELL) for queue in queues]
        keys = [self.prefix + lane for lane in order]
        if not self._waiting.connected or self._waiting.generation != self._waiting_seen:
            self._waiting_id = await self._waiting.call("CLIENT", "ID")
            self._waiting_seen = self._waiting.generation
        if self._may_admit():
            return await self._admit_woken(incarnation, queues, needs, [])
        alarm = self._set_alarm()
        try:
            reply = await self._waiting.call(
                *("XREADGROUP", "GROUP", GROUP, incarnation, "COUNT", 1, "BLOCK", max(1, round(timeout * 1000))),
                *("STREAMS", *keys, *([">"] * len(keys))),
                timeout=timeout + 5.0,
            )
        except BrokerError as error:
            if "NOGROUP" in str(error):
                await self._waiting.run(script("groups"), self.prefix, GROUP, *order)
            elif "UNBLOCKED" not in str(error):
                raise
            # The lanes are new, or were deleted, perhaps with all data: ask whether this incarnation is live.
            return await self.claim(incarnation, queues, needs, 0)
        finally:
            if alarm is not None:
                alarm.cancel()
        claimed = []
        heard = False
        for name, entries in reply or ():
            lane = name.decode()[len(self.prefix) :]
            if lane.endswith(f":{BELL}"):
                heard = True
                continue
            suspect, returned = flags_of(lane)
            for entry, fields in entries:
                values = dict(zip(fields[::2], fields[1::2], strict=True))
                sealed, meta = values.get(b"j", b""), values.get(b"m", b"")
                claimed.append(delivery(lane, entry, sealed, meta, suspect, returned))
        if heard or (not claimed and self._may_admit()):
            return await self._admit_woken(incarnation, queues, needs, claimed, heard=heard)
        waits = [] if self._ahead is None else waits_of(oldest_of(claimed), time.monotonic() + self._ahead)
        return Claim(claimed, reconnected=self._has_reconnected(), waits=waits)

    def _may_admit(self) -> bool:
        """Whether a rate that held jobs back admits one by now."""
        return self._admits_at is not None and self.free_seats > 0 and self._admits_at <= time.monotonic()

    async def _admit_woken(
        self,
        incarnation: str,
        queues: Sequence[str],
        needs: Collection[str],
        found: list[Delivery],
        *,
        heard: bool = False,
    ) -> Claim:
        """What a limit admits now that this worker was woken for it, beside what the lanes have brought."""
        self._admits_at = None
        args = self._admit_arguments(incarnation, queues, needs, min(_WOKEN, self.free_seats), heard=heard)
        reply = await self._waiting.run(script("admit"), self.prefix, *args)
        return Claim(found + self._admitted(reply), LIVENESS[reply[0]], reconnected=self._has_reconnected())

    def _set_alarm(self) -> asyncio.TimerHandle | None:
        """End the blocking claim that comes now when a rate admits the next job: a server ends it up to 100 ms late."""
        if self._admits_at is None or self.free_seats <= 0:
            return None
        loop = asyncio.get_running_loop()

        def ring() -> None:
            self._alarm = loop.create_task(self._wake_quietly())

        return loop.call_later(max(0.0, self._admits_at - time.monotonic()) + 0.0005, ring)

    async def _wake_quietly(self) -> None:
        with contextlib.suppress(BrokerError):
            await self.wake()

    async def adopt(self, incarnation: str, queues: Sequence[str], needs: Collection[str]) -> list[Delivery]:
        left = suspect_lanes(queues) + claim_order(queues, needs) + admitted_lanes(queues)
        adopted: list[Delivery] = []
        after = b""
        while left:
            reply = await self._waiting.run(
                script("adopt"), self.prefix, incarnation, BATCH_JOBS, BATCH_BYTES, after, *left
            )
            adopted += deliveries(reply, 2)
            left, after = left[reply[0] - 1 :] if reply[0] else [], reply[1]
        return adopted
