"""The verbs of limits of the memory broker, and what people are shown of limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...broker import BATCH_JOBS, Delivery
from ...values.limit import LimitSpec
from ..lanes import ADMITTED, claim_order, is_parked, lane_of, queue_of
from ..limits import KeyInfo, LimitInfo, LineInfo
from .graph_verbs import MemoryGraphs
from .lines import Limit, parts_of
from .store import Store

__all__ = ["MemoryLimits"]


class MemoryLimits(MemoryGraphs):
    """The verbs of ``limits.Limits``; ``claim`` and ``wait`` are with those of every broker."""

    free_seats = BATCH_JOBS
    by_queue = False
    #: Whether a claim of a single job tries the lanes first.
    _lanes_first = False

    def _claim_both(
        self, store: Store, incarnation: str, queues: Sequence[str], needs: Sequence[str], limit: int
    ) -> list[Delivery]:
        """Claim from lanes and lines: half of the room is for each, and the other half of what one leaves."""
        order = claim_order(queues, needs, by_queue=self.by_queue)
        store.wake()
        if not store.open or self.free_seats <= 0 or limit <= 0:
            return store.claim(incarnation, order, limit)
        share = min(-(-limit // 2), self.free_seats)
        if limit == 1:
            self._lanes_first = not self._lanes_first
            share = 0 if self._lanes_first else 1
        limited = store.admit(incarnation, queues, share, by_queue=self.by_queue)
        plain = store.claim(incarnation, order, limit - len(limited))
        left = min(limit - len(limited) - len(plain), self.free_seats - len(limited))
        return plain + limited + store.admit(incarnation, queues, left, by_queue=self.by_queue)

    async def declare_limits(
        self, generation: float, by: str, limits: Sequence[LimitSpec], *, removes: bool = False
    ) -> list[str]:
        async with self._store as store:
            return store.declare(generation, by, limits, removes=removes)

    def was_parked(self, delivery: Delivery) -> bool:
        return is_parked(delivery.lane)

    def is_behind(self, found: Sequence[Delivery]) -> bool:
        """Whether jobs were admitted for a worker that does not know what is paused."""
        store = self._store
        is_new = bool(store.paused) and self._pauses_seen != store.pauses_changed
        return is_new and any(delivery.lane == lane_of(queue_of(delivery.lane), ADMITTED) for delivery in found)

    async def hold_limit(self, limit: str, seconds: float) -> None:
        name, _, key = limit.partition(":")
        async with self._store as store:
            store.hold_limit(name, key, seconds)

    async def set_limit(self, name: str, numbers: Mapping[str, float]) -> bool:
        async with self._store as store:
            return store.set_limit(name, numbers)

    async def reset_limit(self, name: str) -> bool:
        async with self._store as store:
            return store.set_limit(name, None)

    async def limits(self) -> list[LimitInfo]:
        async with self._store as store:
            waiting = store.waiting_by_limit()
            return [_info(store, store.limits[name], waiting[name]) for name in sorted(store.limits)]

    async def limit_keys(self, name: str, most: int) -> list[KeyInfo]:
        async with self._store as store:
            return store.keys_of(name)[:most]

    async def line(self, line: str) -> LineInfo:
        place, name, key = parts_of(line)
        async with self._store as store:
            left = store.seconds_held(line)
            return LineInfo(left is None and key in store.rings.get((place, name), ()), left)


def _info(store: Store, limit: Limit, waiting: int) -> LimitInfo:
    spec = limit.spec
    places = [place.rpartition(":") for place in sorted(limit.places)]
    return LimitInfo(
        limit.name,
        spec,
        limit.declared if limit.set else None,
        limit.by,
        limit.generation,
        limit.removed,
        len(store.slots.get((limit.name, None), ()))
        if spec is not None and (spec.max_running or spec.max_running_each)
        else 0,
        waiting,
        [
            (queue, int(priority), len(store.rings.get((f"{queue}:{priority}", limit.name), ())))
            for queue, _, priority in places
        ],
    )
