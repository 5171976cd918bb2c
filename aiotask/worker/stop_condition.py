"""When the workers of one process end by themselves."""

from __future__ import annotations

from collections.abc import Callable

from .in_hand import InHand

__all__ = ["StopCondition"]


class StopCondition:
    """When the workers of one process end by themselves: never, once there is nothing left to do, or after some runs.

    The workers of one process share this object, since the jobs of one may send jobs to another. All methods are for
    their loop.

    Args:
        burst: end once the queues of all workers are empty and none of them has a job in hand.
        limit: number of runs that the workers make at most, together; None: no limit.
    """

    def __init__(self, *, burst: bool = False, limit: int | None = None) -> None:
        self.burst = burst
        self._limit = limit
        #: Whether the workers end by themselves.
        self.is_bounded = burst or limit is not None
        self._members: list[tuple[InHand, Callable[[], int]]] = []
        #: Workers that have found their queues empty since a job was in hand.
        self._empty: set[InHand] = set()
        #: Jobs that claims under way may bring.
        self._reserved = 0
        self._is_over = False

    def join(self, member: InHand, runs: Callable[[], int]) -> None:
        """Add a worker, by what it has in hand and the number of its runs that have ended."""
        self._members.append((member, runs))

    @property
    def runs(self) -> int:
        """The number of runs that have ended."""
        return sum(runs() for _, runs in self._members)

    @property
    def _in_hand(self) -> int:
        return sum(len(member.claimed) for member, _ in self._members)

    # ---- before and after a claim

    def reserve(self, room: int) -> int:
        """How many jobs a claim may bring, of those for which there is room. If any, ``settle`` follows."""
        if self._limit is not None:
            room = min(room, self._limit - self.runs - self._in_hand - self._reserved)
        self._reserved += max(room, 0)
        return room

    def settle(self, reserved: int, *, taken: bool) -> None:
        """The claim is over, and its jobs are in hand."""
        self._reserved -= reserved
        if taken:
            self._empty.clear()

    # ---- the end

    @property
    def is_reached(self) -> bool:
        """Whether the limit is reached, and nothing is in hand any more."""
        self._is_over = self._is_over or (
            self._limit is not None and self.runs >= self._limit and not self._in_hand and not self._reserved
        )
        return self._is_over

    def is_empty(self, member: InHand) -> bool:
        """Whether all workers have found their queues empty; this one has just now."""
        if not self._in_hand:
            self._empty.add(member)
        self._is_over = self._is_over or len(self._empty) == len(self._members)
        return self._is_over
