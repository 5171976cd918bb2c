"""A call of a batch task: one run for rows, seats and threads, and the jobs that are its items."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ..context import JobContext
from .run import Board, NoBoard, Run

__all__ = ["Batch", "runs_of"]


class Batch(Run, kw_only=True, eq=False):
    """One call of a batch task.

    It stands for its items in the rows, has one seat or thread, one time limit and one budget, and the delivery of its
    first item. It has no outcome: its end is that of its items.

    Attributes:
        items: the runs of its jobs.
        slots: the slots on the board of all items but the first one, which has that of the call.
        called: the items in the list with which the function is called, in their order.
    """

    abandoned: bool = True
    items: list[Run] = msgspec.field(default_factory=list)
    slots: Sequence[int] = ()
    board: Board = msgspec.field(default_factory=NoBoard)
    called: list[Run] = msgspec.field(default_factory=list)

    @property
    def context(self) -> JobContext:
        first = self.items[0]
        meta = first.delivery.meta
        seat = self if self.task.is_async else None
        returned = any(item.delivery.returned for item in self.items)
        items = tuple(_item(item) for item in self.called)
        return JobContext(
            first.job, meta.attempt, self.worker, seat, returned, meta.series, {}, None, items, False, meta.deaths
        )

    @property
    def title(self) -> str:
        if len(self.items) == 1:
            return f'Job "{self.job.id}" ({self.task.name})'
        return f'The batch of {len(self.items)} jobs ({self.task.name}) with job "{self.job.id}"'

    # ---- as the seat that the client sees: what the call waits for, its items wait for

    def leave(self) -> bool:
        left = Run.leave(self)
        self._set_away(left)
        return left

    async def come_back(self) -> None:
        await Run.come_back(self)
        self._set_away(self.waits > 0)

    def give_up(self) -> None:
        Run.give_up(self)
        self._set_away(self.waits > 0)

    def _set_away(self, away: bool) -> None:
        for slot in self.slots:
            self.board.set_away(slot, away)

    @property
    def in_hand(self) -> int:
        """How many of its jobs have not ended."""
        return sum(not item.abandoned for item in self.items)


def _item(run: Run) -> JobContext:
    meta = run.delivery.meta
    return JobContext(run.job, meta.attempt, run.worker, is_item=True, deaths=meta.deaths)


def runs_of(runs: Sequence[Run]) -> list[Run]:
    """These runs, with the items that have not ended in place of each batch."""
    found: list[Run] = []
    for run in runs:
        if isinstance(run, Batch):
            found += [item for item in run.items if not item.abandoned]
        else:
            found.append(run)
    return found
