"""Where async jobs run: in the worker's loop."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from types import coroutine
from typing import Any

from ..broker import BATCH_JOBS
from ..loops.agent import agent, hide
from . import budget
from .budget import LONG, PeakMemory
from .job_task import Live, opener
from .rows import pick
from .run import Board, NoBoard, Run
from .seats import Seats

__all__ = ["AsyncLane"]

#: Seconds for which jobs are begun before the loop gets its turn: with many more behind them, and with few. Then
#: callers that wait for the first of these jobs go on while the others run.
_TURN, _SHORT_TURN = 0.001, 0.00025
_FEW = BATCH_JOBS // 2


class AsyncLane:
    """Async runs of one worker: a row of those that have not begun, and those that have.

    One asyncio task of the lane begins job after job. Each job has a context and an asyncio task of its own, see
    ``job_task``; most jobs end within their first step, before the event loop has come round.

    Args:
        seats: limits how many runs go on at a time.
        call: performs a run; raises nothing.
        collect: called with runs that have ended, before the loop goes on to anything else.
        stir: called when a run has left its seat.
        board: records whose step the loop runs; None: nothing does.
        peak: measures the memory of long runs; None: it is not measured.

    Attributes:
        has_limited: whether runs of limited jobs may be in the row.
    """

    def __init__(
        self,
        seats: Seats,
        call: Callable[[Run], Coroutine[Any, Any, None]],
        collect: Callable[[list[Run]], None],
        stir: Callable[[], None],
        board: Board | None = None,
        peak: PeakMemory | None = None,
    ) -> None:
        self._seats = seats
        self.call = call
        self._collect = collect
        self._stir = stir
        self._board = board or NoBoard()
        self.steps = self._board.steps
        self._peak = peak
        self._row: deque[Run] = deque()
        self.has_limited = False
        self._beginner: asyncio.Task[None] | None = None
        self._began = 0.0
        #: Runs that have ended since ``_hand_over`` was called last.
        self._ended: list[Run] = []
        #: Suspended runs by their asyncio tasks.
        self.running: dict[asyncio.Task[Any], Run] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Run the jobs in this loop from now on."""
        self._loop = loop

    def put(self, run: Run) -> None:
        """Append a run to the row; ``start`` begins it."""
        self._row.append(run)

    def take_back(self) -> list[Run]:
        """Empty the row: return every run that has not begun."""
        back = list(self._row)
        self._row.clear()
        return back

    def pick(self, id: str) -> Run | None:
        """Take this one back, if it is here and has not begun."""
        return pick(self._row, id)

    @property
    def waiting(self) -> int:
        return len(self._row)

    @property
    def row(self) -> list[Run]:
        """The runs that have not begun."""
        return list(self._row)

    def stuck(self, seconds: float) -> bool:
        """Whether every seat has been taken for this number of seconds."""
        return self._seats.free <= 0 and time.monotonic() - self._began > seconds

    def start(self) -> None:
        """Begin the runs in the row, as far as there are seats."""
        if self._row and self._beginner is None:
            self._beginner = agent(self._begin())

    # ---- seats

    def leave_seat(self, run: Run) -> bool:
        """Free the seat of a run that waits for the outcome of another job. False: the run waits in another loop."""
        loop = self._loop
        if loop is None or asyncio.get_running_loop() is not loop:
            return False
        self._seats.leave(run)
        self._board.set_away(run.slot, True)
        loop.call_soon(self.start)
        self._stir()
        return True

    async def come_back(self, run: Run) -> None:
        """Give the run a seat again, since one of its asyncio tasks has the outcome that it waited for."""
        await self._seats.come_back(run)
        self._set_back(run)

    def give_up(self, run: Run) -> None:
        """Note that one of the run's asyncio tasks stops waiting because it is cancelled."""
        self._seats.give_up(run)
        self._set_back(run)

    def _set_back(self, run: Run) -> None:
        if run.waits == 0 and not run.ended:
            self._board.set_away(run.slot, False)

    # ---- life

    async def _begin(self) -> None:
        row, seats, me = self._row, self._seats, self._beginner
        assert me is not None
        open_job = opener(self).open
        try:
            since = time.monotonic()
            while row and seats.take(row[0]):
                run = row.popleft()
                task = open_job(run)
                if run.coroutine is None:
                    self._end(run, task)
                else:
                    assert task is not None
                    self._began = run.started_mono
                    self.running[task] = run
                    hide(task)
                if me.cancelling():
                    return
                if run.started_mono + run.took - since > (_TURN if len(row) > _FEW else _SHORT_TURN):
                    self._hand_over()
                    await asyncio.sleep(0)
                    since = time.monotonic()
        finally:
            self._beginner = None
            self._hand_over()
            self.start()

    async def live(self, run: Run, call: Live) -> None:
        """The whole life of one run, in an asyncio task and a context of its own; see ``job_task``."""
        self.steps[0] = run.slot + 1
        try:
            waits_for = call.send(None)
        except StopIteration:
            run.cpu = run.took
        except Exception as error:
            # An error of aiotask itself: ``call`` catches those of the task. The job must not be left without an end.
            run.error = error if run.error is None else run.error
        else:
            run.coroutine = call
            await self.rest(run, call, waits_for)

    async def rest(self, run: Run, call: Live, waits_for: Any) -> None:
        """The life of one run after its first step, which ended with the run suspended."""
        try:
            await _go_on(call, waits_for, run, self._board)
        except Exception as error:
            run.error = error if run.error is None else run.error
        finally:
            run.coroutine = None
            me = asyncio.current_task()
            assert me is not None
            del self.running[me]
            self._end(run, me)
            self._hand_over()
            self.start()

    def _end(self, run: Run, task: asyncio.Task[Any] | None) -> None:
        if run.took >= LONG and self._peak is not None:
            run.memory = self._peak.since(run.started_mono)
        self._seats.give_back(run)
        if run.budget is not None:
            budget.end(run)
        # A run that was stopped and returned all the same keeps its value.
        kept = run.stopped and run.value is not None
        if task is not None and run.error is None and task.cancelling() and not kept:
            run.error = asyncio.CancelledError()
        self._ended.append(run)

    def _hand_over(self) -> None:
        if self._ended:
            ended, self._ended = self._ended, []
            self._collect(ended)


@coroutine
def _go_on(call: Live, waits_for: Any, run: Run, board: Board) -> Generator[Any, Any, None]:
    """Run the rest of a coroutine whose first step the lane has run, and record before each step whose step it is."""
    steps, slot = board.steps, run.slot + 1
    step: Callable[[Any], Any]
    now, is_limited = time.monotonic, run.budget is not None
    used = now() - run.started_mono
    try:
        while True:
            if is_limited and budget.end_step(run, board, used) and (me := asyncio.current_task()):
                me.cancel()
            try:
                argument = yield waits_for
                step = call.send
            except BaseException as error:
                step, argument = call.throw, error
            steps[0] = slot
            began = now()
            if is_limited:
                budget.begin_step(run, board, used)
            try:
                waits_for = step(argument)
            except StopIteration:
                return
            finally:
                used += now() - began
    finally:
        run.cpu = used
