"""Where async jobs run: in the worker's loop."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, copy_context
from types import coroutine
from typing import Any

from ..broker import BATCH_JOBS
from . import usage
from .run import Marks, NoMarks, Run
from .seats import Seats
from .usage import LONG, PeakMemory

__all__ = ["AsyncLane"]

#: Seconds for which jobs are begun before the loop gets its turn: with many more behind them, and with few. Then
#: callers may wait for these, who go on while the rest runs.
_TURN, _SHORT_TURN = 0.001, 0.00025
_FEW = BATCH_JOBS // 2


class AsyncLane:
    """A row of runs, and those of them that have begun.

    Most jobs end without ever waiting for anything, and an asyncio task costs more than all else that is
    done for them. So one task begins job after job, each in a context of its own; a job that waits keeps
    the task for the rest of its life, and another one begins the next.

    Args:
        seats: how many run at a time.
        call: what performs a run; it raises nothing.
        collect: called with runs that have ended, before the loop goes on to anything else.
        marks: where it is written down whose step the loop runs.
        peak: measures the memory of long ones; None: it is not measured.
    """

    def __init__(
        self,
        seats: Seats,
        call: Callable[[Run], Coroutine[Any, Any, None]],
        collect: Callable[[list[Run]], None],
        marks: Marks | None = None,
        peak: PeakMemory | None = None,
    ) -> None:
        self._seats = seats
        self._call = call
        self._collect = collect
        self._marks = marks or NoMarks()
        self._peak = peak
        self._row: deque[Run] = deque()
        self._beginner: asyncio.Task[None] | None = None
        self._began = 0.0
        #: What has ended since the beginner had its turn.
        self._ended: list[Run] = []
        #: What waits for something, by its asyncio task.
        self.running: dict[asyncio.Task[Any], Run] = {}

    def put(self, run: Run) -> None:
        """To the end of the row; ``start`` gets it going."""
        self._row.append(run)

    def take_back(self) -> list[Run]:
        """Every run that has not begun."""
        back = list(self._row)
        self._row.clear()
        return back

    def pick(self, id: str) -> Run | None:
        """Take this one back, if it is here and has not begun."""
        for run in self._row:
            if run.job.id == id:
                self._row.remove(run)
                return run
        return None

    @property
    def waiting(self) -> int:
        return len(self._row)

    def stuck(self, seconds: float) -> bool:
        """Whether every seat has been taken for this long."""
        return self._seats.free <= 0 and time.monotonic() - self._began > seconds

    def start(self) -> None:
        """Begin what is ready, as far as there are seats."""
        if self._row and self._beginner is None:
            self._beginner = asyncio.get_running_loop().create_task(self._begin())

    async def _begin(self) -> None:
        me = asyncio.current_task()
        assert me is not None
        row, seats, begin, marks = self._row, self._seats, self._call, self._marks
        try:
            since = time.monotonic()
            while row and seats.take(row[0]):
                run = row.popleft()
                call, context = begin(run), copy_context()
                marks.steps[0] = run.slot + 1
                try:
                    waits_for = context.run(call.send, None)
                except StopIteration:
                    run.cpu = run.took
                except Exception as error:
                    # Not the task's, that one is caught: whatever it is, the job must not be left hanging.
                    run.error = error if run.error is None else run.error
                else:
                    await self._suspended(run, call, context, waits_for, me)
                    return
                self._end(run, me)
                if me.cancelling():
                    return
                if run.started_mono + run.took - since > (_TURN if len(row) > _FEW else _SHORT_TURN):
                    self._hand_over()
                    await asyncio.sleep(0)
                    since = time.monotonic()
        finally:
            if self._beginner is me:
                self._beginner = None
            self._hand_over()
            self.start()

    async def _suspended(
        self, run: Run, call: Coroutine[Any, Any, None], context: Context, waits_for: Any, me: asyncio.Task[Any]
    ) -> None:
        """The rest of a run that waits for something: it has the asyncio task that began it for itself."""
        run.coroutine = call
        self._began = run.started_mono
        self.running[me] = run
        self._hand_over()
        self._beginner = None
        self.start()
        try:
            await _go_on(call, context, waits_for, run, self._marks)
        except Exception as error:
            run.error = error if run.error is None else run.error
        finally:
            del self.running[me]
            run.coroutine = None
        self._end(run, me)

    def _end(self, run: Run, me: asyncio.Task[Any]) -> None:
        if run.took >= LONG and self._peak is not None:
            run.memory = self._peak.since(run.started_mono)
        self._seats.give_back(run)
        if run.limits is not None:
            usage.settle(run)
        # What was stopped and ends well all the same keeps its value.
        if run.error is None and me.cancelling() and not (run.stopped and run.value is not None):
            run.error = asyncio.CancelledError()
        self._ended.append(run)

    def _hand_over(self) -> None:
        if self._ended:
            ended, self._ended = self._ended, []
            self._collect(ended)


@coroutine
def _go_on(
    call: Coroutine[Any, Any, None], context: Context, waits_for: Any, run: Run, marks: Marks
) -> Generator[Any, Any, None]:
    """The rest of a coroutine that was begun by hand and now waits for something."""
    step: Callable[[Any], Any]
    slot, now, is_limited = run.slot + 1, time.monotonic, run.limits is not None
    used = now() - run.started_mono
    try:
        while True:
            if is_limited and usage.end_step(run, marks, used) and (me := asyncio.current_task()):
                me.cancel()
            try:
                argument = yield waits_for
                step = call.send
            except BaseException as error:
                step, argument = call.throw, error
            marks.steps[0] = slot
            began = now()
            if is_limited:
                usage.begin_step(run, marks, used)
            try:
                waits_for = context.run(step, argument)
            except StopIteration:
                return
            finally:
                used += now() - began
    finally:
        run.cpu = used
