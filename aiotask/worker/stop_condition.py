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
        is_sending: whether jobs that were sent in this process are not at their broker yet.
    """

    def __init__(
        self, *, burst: bool = False, limit: int | None = None, is_sending: Callable[[], bool] = lambda: False
    ) -> None:
        self.burst = burst
        self._limit = limit
        self._is_sending = is_sending
        #: Whether the workers end by themselves.
        self.is_bounded = burst or limit is not None
        self._members: list[tuple[InHand, Callable[[], int]]] = []
        #: Workers that have found their queues empty since a job was in hand, and how often one was claimed.
        self._empty: set[InHand] = set()
        self._taken = 1
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
            self._taken += 1

    # ---- the end

    @property
    def is_reached(self) -> bool:
        """Whether the limit is reached, and nothing is in hand any more."""
        self._is_over = self._is_over or (
            self._limit is not None and self.runs >= self._limit and not self._in_hand and not self._reserved
        )
        return self._is_over

    @property
    def quiet(self) -> int:
        """For ``is_empty``, before a claim of a burst; 0: what that claim does not bring may still come, from a job in
        hand or one that is being sent."""
        return 0 if self._in_hand or self._is_sending() else self._taken

    def is_empty(self, member: InHand, quiet: int) -> bool:
        """Whether all workers have found their queues empty; this one has just now, by a claim before which it was
        quiet."""
        if quiet == self.quiet:
            self._empty.add(member)
        self._is_over = self._is_over or len(self._empty) == len(self._members)
        return self._is_over
