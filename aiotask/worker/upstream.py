"""The agent that fetches the outcomes upstream of a node, and decides with them whether the node runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

import msgspec

from ..broker import Broker, JobState
from ..errors import BrokerError, ConnectionLost, SealError
from ..job import FINAL, Status
from ..log.throttle import ErrorReporter
from ..loops.delay import BrokerDelay
from ..outcome import ErrorInfo, Outcome, decode_outcome
from ..values.flow import unpack_ids
from ..wire.error_info import error_of
from ..wire.seal import Sealer
from ..wire.serializer import Serializer
from ..wire.unmet import error_behind, error_without, shown
from .async_lane import AsyncLane
from .life import Life
from .run import Run
from .seats import Seats
from .sync_lane import SyncLane
from .verdict import Verdict, What, judge

__all__ = ["Upstream"]

logger = logging.getLogger("aiotask.worker")

#: Nodes whose values are fetched together.
AT_A_TIME = 250
#: Bytes of values for one node from which on they are fetched only for nodes that can start at once: those of all that
#: are claimed might not fit into memory.
LARGE = 64 * 1024
#: What becomes of a job that stands for another one, by the status with which that one has ended.
_SAME_END = {what.status: what for what in (What.FAILED, What.CANCELLED, What.EXPIRED)}

#: A usable outcome, or the reason why there is none.
Found = Outcome | str


class Upstream:
    """A row of nodes that wait for the values of other jobs; those jobs have ended, or the broker is wrong.

    Any client of the broker can make a node ready early, or replace an outcome. So an outcome counts only if its
    seal is valid and it is that of the very job; a node of which one is missing never runs.

    Args:
        sealer: of outcomes.
    """

    def __init__(
        self,
        broker: Broker,
        life: Life,
        seats: Seats,
        asyncs: AsyncLane,
        syncs: SyncLane,
        *,
        sealer: Sealer,
        serializer: Serializer,
    ) -> None:
        self._broker = broker
        self._life = life
        self._seats = seats
        self._asyncs = asyncs
        self._syncs = syncs
        self._sealer = sealer
        self._serializer = serializer
        #: In their order; those whose values are under way are still here.
        self.row: dict[Run, None] = {}
        #: How many of them are async.
        self.asyncs_waiting = 0
        self._arrived = asyncio.Event()
        #: Whether the last nodes had large values; before the first ones it is not known.
        self._is_heavy = True
        self._report_error = ErrorReporter(logger, "The broker refused the values of jobs; trying again: %s")

    def put(self, run: Run) -> None:
        """To the end of the row."""
        self.row[run] = None
        self.asyncs_waiting += run.task.is_async
        self._arrived.set()

    def take_back(self, *, syncs: bool = True, asyncs: bool = True) -> list[Run]:
        """Every run of the row that is of one of these kinds."""
        back = [run for run in self.row if (asyncs if run.task.is_async else syncs)]
        for run in back:
            self._remove(run)
        return back

    def pick(self, id: str) -> Run | None:
        """Take this one back, if it is here."""
        for run in self.row:
            if run.job.id == id:
                self._remove(run)
                return run
        return None

    def _remove(self, run: Run) -> None:
        del self.row[run]
        self.asyncs_waiting -= run.task.is_async

    async def run(self, go: Callable[[list[Run]], None], end: Callable[[list[tuple[Run, Verdict]]], None]) -> None:
        """Until cancelled.

        Args:
            go: called with runs that have their values.
            end: called with runs that do not take place, and what becomes of their jobs.
        """
        while True:
            while batch := self._next():
                await self._fetch(batch, go, end)
            if self.row:
                # Their values are large, and no seat or thread is free; or the threads have not come up yet.
                await self._life.wait(0.5)
            else:
                self._arrived.clear()
                await self._arrived.wait()

    def _next(self) -> list[Run]:
        if not self._is_heavy:
            return list(islice(self.row, AT_A_TIME))
        syncs = self._syncs
        room = {True: self._seats.free - self._asyncs.waiting, False: syncs.threads - syncs.busy - syncs.waiting}
        batch = []
        for run in self.row:
            if room[run.task.is_async] > 0:
                room[run.task.is_async] -= 1
                batch.append(run)
        return batch[:AT_A_TIME]

    async def _fetch(
        self,
        batch: list[Run],
        go: Callable[[list[Run]], None],
        end: Callable[[list[tuple[Run, Verdict]]], None],
    ) -> None:
        ids = {run: unpack_ids(run.flow.upstream) for run in batch if run.flow is not None}
        found = await self._look_twice(dict.fromkeys(id for each in ids.values() for id in each))
        ready: list[Run] = []
        ended: list[tuple[Run, Verdict]] = []
        # Many nodes may stand behind one job that has failed.
        behind: dict[str, ErrorInfo] = {}
        for run, upstream in ids.items():
            # It may have been taken back meanwhile.
            if run in self.row:
                self._remove(run)
                verdict = self._judge(run, upstream, found, behind)
                if verdict is None:
                    ready.append(run)
                else:
                    ended.append((run, verdict))
        size = sum(len(value) for run in ready for value in run.upstream if isinstance(value, bytes))
        self._is_heavy = size > LARGE * len(ready)
        if ended:
            end(ended)
        if ready:
            go(ready)

    # ---- the judgement

    def _judge(
        self, run: Run, ids: Sequence[str], found: dict[str, Found], behind: dict[str, ErrorInfo]
    ) -> Verdict | None:
        """Give a run its values; or what becomes of a job that cannot have them, and why.

        Args:
            behind: errors of nodes behind the jobs with these ids, as far as they are known.
        """
        flow = run.flow
        assert flow is not None
        settled, values = frozenset(flow.settled), list[bytes | Exception]()
        for position, id in enumerate(ids):
            outcome = found[id]
            if isinstance(outcome, str):
                run.info = error_without(id, outcome)
                return judge(run, shown(run.info))
            if outcome.value is not None:
                values.append(outcome.value)
            elif position in settled:
                values.append(error_of(outcome, self._serializer))
            elif run.calls_nothing:
                # The job is the call that it has returned, and ends as that one did.
                run.info = outcome.error
                return Verdict(_SAME_END[outcome.status], error_of(outcome, self._serializer))
            else:
                run.info = behind.get(id) or behind.setdefault(id, error_behind(outcome))
                return judge(run, shown(run.info))
        run.upstream = values
        _set_expiry(run, found, ids)
        return None

    # ---- outcomes

    async def _look_twice(self, ids: Iterable[str]) -> dict[str, Found]:
        """What is known of each id; where no outcome can be used, as a second look has it."""
        found = await self._look(list(ids))
        if useless := [id for id, outcome in found.items() if isinstance(outcome, str)]:
            found |= await self._look(useless)
        return found

    async def _look(self, ids: Sequence[str]) -> dict[str, Found]:
        return {id: self._open(id, state) for id, state in zip(ids, await self._ask(ids), strict=True)}

    async def _ask(self, ids: Sequence[str]) -> list[JobState]:
        delay = BrokerDelay()
        while True:
            try:
                return await self._broker.status(ids)
            except BrokerError as error:
                if not isinstance(error, ConnectionLost):
                    self._report_error(error)
                await delay.wait()

    def _open(self, id: str, state: JobState) -> Found:
        if state.outcome is None:
            return "its outcome is gone." if state.status is None else f"the job has not ended ({state.status})."
        try:
            outcome = decode_outcome(self._sealer.open(state.outcome))
        except SealError as error:
            return f"its outcome cannot be trusted. {error}"
        if outcome.id != id or outcome.status not in FINAL:
            return f'its outcome cannot be trusted: it says that it is of job "{outcome.id}" ({outcome.status}).'
        if (outcome.status is Status.SUCCESS) is not (outcome.value is not None):
            return "its outcome carries no value."
        return outcome


def _set_expiry(run: Run, found: dict[str, Found], ids: Sequence[str]) -> None:
    """Replace a relative expiry by its moment: a negative ``expires`` counts seconds from when the job is ready."""
    more = run.job.more
    if more is not None and more.expires < 0 and not run.expires_mono:
        ready_at = max(outcome.finished_at for outcome in map(found.__getitem__, ids) if isinstance(outcome, Outcome))
        more = msgspec.structs.replace(more, expires=ready_at - more.expires)
        run.job = msgspec.structs.replace(run.job, more=more)
