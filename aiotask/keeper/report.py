"""The agent that reports, every few seconds, what the workers of this host have counted, and how the host is."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import NamedTuple, Protocol

import msgspec

from ..brokers.metrics import Metrics, Observed
from ..errors import BrokerError, ConnectionLost
from ..log.throttle import KEEPER_LOG_DELAY, ErrorReporter
from ..values.metrics import Counts, Table
from ..values.report import HostReport, encode_report

__all__ = ["INTERVAL", "Ledger", "MemoryLedger", "Reporter", "Source", "State", "table_of"]

logger = logging.getLogger("aiotask.keeper")

#: Seconds between two reports.
INTERVAL = 5.0
#: Seconds that the answer to an operator waits for the report after it at most.
REPORT_TIMEOUT = 1.0
#: Tasks and queues in one call; characters of a release in the history of the charts.
_BATCH, _RELEASE = 100, 60


class State(msgspec.Struct, frozen=True, array_like=True):
    """How far the reports of a host have come.

    A keeper that takes over knows which counts the broker has, and sends those again of which the last one has not
    heard, under the same number: the broker adds them once."""

    #: The number of the last call that the broker has taken; what was counted until then.
    sequence: int = 0
    sent: Observed = Observed()
    #: What was counted as the call began that is under way; None: none is.
    sending: Observed | None = None


class Ledger(Protocol):
    """Where the state is kept, for the keeper that comes after this one."""

    def read(self) -> State: ...
    def write(self, state: State) -> None: ...


class MemoryLedger:
    """The ledger of a keeper that has no successor."""

    def __init__(self) -> None:
        self._state = State()

    def read(self) -> State:
        return self._state

    def write(self, state: State) -> None:
        self._state = state


class Source(NamedTuple):
    """What there is to be reported of one app on this host."""

    #: Everything that was counted since the beginning, and the host as it is now.
    counted: Callable[[], Observed]
    report: Callable[[], HostReport]
    ledger: Ledger
    #: Returns once no other keeper of this host reports.
    turn: Callable[[], Awaitable[object]]


class Reporter:
    """Reports for one app on one host.

    Args:
        complete: adds to a report what the keeper knows; takes the seconds that the last report took.
    """

    def __init__(
        self, broker: Metrics, host: str, source: Source, complete: Callable[[HostReport, float], HostReport]
    ) -> None:
        self._broker = broker
        self._host = host
        self._source = source
        self._complete = complete
        #: Seconds that the last report took.
        self.took = 0.0
        self._hurried = asyncio.Event()
        self._awaited: list[asyncio.Future[None]] = []
        self._report_error = ErrorReporter(
            logger, "The broker refused the report of this host; trying again: %s", KEEPER_LOG_DELAY
        )

    async def run(self) -> None:
        """Report until cancelled."""
        await self._source.turn()
        while True:
            self._hurried.clear()
            awaited, self._awaited = self._awaited, []
            try:
                await self.tick()
            except BrokerError as error:
                if not isinstance(error, ConnectionLost):
                    self._report_error(error)
            for each in awaited:
                each.cancel()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hurried.wait(), INTERVAL)

    async def report_now(self) -> None:
        """Have the next report made at once, since faces should see the host as it is now; return after it, or after
        ``REPORT_TIMEOUT``."""
        awaited = asyncio.get_running_loop().create_future()
        self._awaited.append(awaited)
        self._hurried.set()
        await asyncio.wait((awaited,), timeout=REPORT_TIMEOUT)

    async def tick(self) -> None:
        """Report once.

        Raises:
            BrokerError: the broker has not taken it; what was counted goes with the next report.
        """
        ledger = self._source.ledger
        state = ledger.read()
        if state.sending is None:
            state = msgspec.structs.replace(state, sending=self._source.counted())
            ledger.write(state)
        assert state.sending is not None
        began = time.monotonic()
        sequence = state.sequence
        for part in _parts(_difference(state.sending, state.sent)):
            sequence += 1
            now = self._source.report()
            if now.release and sequence == state.sequence + 1:
                part = msgspec.structs.replace(part, releases={now.release[:_RELEASE]: 1})
            report = encode_report(self._complete(now, self.took))
            await self._broker.observe(self._host, sequence, part, report)
        ledger.write(State(sequence, state.sending))
        self.took = time.monotonic() - began


def _difference(now: Observed, before: Observed) -> Observed:
    errors = {shape: number - before.errors.get(shape, 0) for shape, number in now.errors.items()}
    return Observed(
        _less(now.tasks, before.tasks),
        _less(now.queues, before.queues),
        {shape: number for shape, number in errors.items() if number > 0},
    )


def _less(now: Table, before: Table) -> Table:
    found = {name: (Counts(slots) - Counts(before.get(name))).slots for name, slots in now.items()}
    return {name: slots for name, slots in found.items() if slots}


def _parts(observed: Observed) -> Iterator[Observed]:
    """The same in parts that the broker takes in one call; at least one."""
    tasks, queues = list(observed.tasks.items()), list(observed.queues.items())
    yield Observed(dict(tasks[:_BATCH]), dict(queues[:_BATCH]), observed.errors)
    for start in range(_BATCH, max(len(tasks), len(queues)), _BATCH):
        yield Observed(dict(tasks[start : start + _BATCH]), dict(queues[start : start + _BATCH]))


def table_of(counts: Mapping[str, Counts]) -> Table:
    """The numbers of tasks or queues."""
    return {name: each.slots for name, each in counts.items()}
