"""Rows in which the jobs of batch tasks are gathered until a call of the task begins."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import msgspec

from ..broker import BATCH_JOBS
from ..tasks.task import Registry
from .batch import Batch
from .batch_call import clear, perform_batch, perform_batch_async
from .run import Board, Run
from .seats import Seats

__all__ = ["Batches"]

#: What shares a call: task and time limit.
Kind = tuple[str, float | None]

#: Weight of the last job in the moving average.
_WEIGHT = 0.1
#: Bounds of the share of jobs that go into batches.
_LEAST, _MOST = 0.001, 0.999


class _Gathering:
    """Jobs that wait for the rest of their batch."""

    def __init__(self, timer: asyncio.TimerHandle) -> None:
        self.runs: list[Run] = []
        self.timer = timer

    @property
    def missing(self) -> int:
        """How many more fill the batch."""
        batching = self.runs[0].task.batch
        assert batching is not None
        return batching.size - len(self.runs)


class Batches:
    """The jobs of one worker that wait for the rest of their batch. For the worker's loop.

    A call begins when its batch is full, or when the first job has waited for ``batch_wait``. Until then the jobs are
    claimed, and can go back to their queues unrun. A suspect is a call of its own.

    Attributes:
        share: the recent share of claimed jobs that go into batches; 0: next to none did, and none is gathered.
    """

    def __init__(self, registry: Registry, seats: Seats, board: Board) -> None:
        self._seats = seats
        self._board = board
        sizes = [task.batch.size for task in registry if task.batch is not None]
        self.share = max(_LEAST, min(len(sizes) / len(registry), _MOST)) if sizes else 0.0
        #: Items of a full batch of the task that was met last.
        self._size = max(sizes, default=1)
        self._gathered: dict[Kind, _Gathering] = {}
        #: Jobs of the last claim that went into batches.
        self._brought = 0
        self._begin: Callable[[Batch], None]

    def attach(self, begin: Callable[[Batch], None]) -> None:
        """Call ``begin`` with each batch whose time is over."""
        self._begin = begin

    # ---- gathering

    def put(self, run: Run) -> Batch | None:
        """Gather a run. A batch that is complete with it is returned."""
        batching = run.task.batch
        assert batching is not None
        self._brought += 1
        self._size, self.share = batching.size, self.share or _LEAST
        if run.delivery.suspect:
            return self._batch([run])
        kind = run.task.name, run.timeout
        gathering = self._gathered.get(kind)
        if gathering is None:
            gathering = self._open(kind, batching.wait)
        gathering.runs.append(run)
        return self._close(kind) if gathering.missing <= 0 else None

    def _open(self, kind: Kind, wait: float) -> _Gathering:
        timer = asyncio.get_running_loop().call_later(wait, self._due, kind)
        gathering = self._gathered[kind] = _Gathering(timer)
        return gathering

    def _due(self, kind: Kind) -> None:
        self._begin(self._close(kind))

    def _close(self, kind: Kind) -> Batch:
        gathering = self._gathered.pop(kind)
        gathering.timer.cancel()
        batch = self._batch(gathering.runs)
        if rest := gathering.runs[len(batch.items) :]:
            # There are no more slots until other calls have ended.
            batching = batch.task.batch
            assert batching is not None
            self._open(kind, batching.wait).runs += rest
        return batch

    def _batch(self, runs: list[Run]) -> Batch:
        """The call of these runs, or of the first of them where there are not as many slots."""
        slots = self._seats.take_slots(len(runs) - 1)
        items, first = runs[: len(slots) + 1], runs[0]
        batch = Batch(
            first.delivery,
            # The call itself neither expires nor is a node.
            msgspec.structs.replace(first.job, more=None),
            first.task,
            first.worker,
            first.owner,
            first.timeout,
            items=items,
            slots=slots,
            board=self._board,
            is_special=True,
            performs=perform_batch_async if first.task.is_async else perform_batch,
        )
        for item, slot in zip(items[1:], slots, strict=True):
            item.slot = slot
        for item in items:
            item.batch = batch
        return batch

    # ---- the end of a call

    def dissolve(self, batch: Batch) -> list[Run]:
        """The items of a call that is over or goes back unstarted, each with its part of the end."""
        clear(batch)
        self._seats.give_back_slots(batch.slots)
        batch.slots = ()
        for item in batch.items:
            item.batch, item.stopped = None, batch.stopped
            if item.started_at:
                _end(item, batch)
        return [item for item in batch.items if not item.abandoned]

    # ---- the way back

    def take_back(self) -> list[Run]:
        """Every run that is gathered."""
        back = [run for gathering in self._gathered.values() for run in gathering.runs]
        for gathering in self._gathered.values():
            gathering.timer.cancel()
        self._gathered.clear()
        return back

    def pick(self, id: str) -> Run | None:
        """Take this one back, if it is gathered."""
        for kind, gathering in self._gathered.items():
            for run in gathering.runs:
                if run.job.id == id:
                    gathering.runs.remove(run)
                    if not gathering.runs:
                        self._gathered.pop(kind).timer.cancel()
                    return run
        return None

    # ---- how much more

    @property
    def gathers(self) -> bool:
        """Whether a call is being gathered."""
        return bool(self._gathered)

    def calls(self, *, is_async: bool) -> int:
        """How many calls of this kind are being gathered."""
        return sum(gathering.runs[0].task.is_async is is_async for gathering in self._gathered.values())

    def weigh(self, jobs: int) -> None:
        """Note how many of these jobs, which one claim brought, went into batches."""
        weight = 1 - (1 - _WEIGHT) ** jobs
        share = self.share + weight * (self._brought / jobs - self.share)
        # Next to none and none at all are the same room, so that a worker beside batch tasks computes it once.
        least = _LEAST if self._gathered else 0.0
        self.share, self._brought = min(share, _MOST) if share > _LEAST else least, 0

    def room(self, others: int, calls: int, *, stuck: bool) -> int:
        """How many jobs to claim, so that batches fill and no more of the other jobs come than there is room for.

        Args:
            others: how many jobs there is room for beside the calls that are being gathered.
            calls: how many more calls there is room for: each may be a whole batch.
            stuck: the threads are busy for long, so that batches of sync tasks need not fill.
        """
        if others <= 0:
            return 0
        items = sum(self._missing(stuck=stuck)) + max(calls, 0) * self._size
        return max(1, min(int(others / (1 - self.share)), int(items / self.share), BATCH_JOBS))

    def _missing(self, *, stuck: bool) -> Iterator[int]:
        for gathering in self._gathered.values():
            if gathering.runs[0].task.is_async or not stuck:
                yield gathering.missing


def _end(item: Run, batch: Batch) -> None:
    """Give an item that has started its part of the end of the call."""
    item.took, item.finished_at = batch.took, batch.finished_at
    if batch.cpu is not None:
        item.cpu = batch.cpu / len(batch.items)
    item.memory = batch.memory
    if batch.error is not None and (item.error is None or item in batch.called):
        item.value, item.error, item.traceback = None, batch.error, batch.traceback
