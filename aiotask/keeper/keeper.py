"""The keeper: the agents that no user code may starve, as one list."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, cast

from msgspec.structs import replace

from ..broker import Broker, Notice
from ..brokers import features, graphs_of, hides_of, schedules_of
from ..brokers.expiry import Expiry
from ..brokers.history import History
from ..brokers.metrics import Metrics
from ..brokers.technology import EXPIRY, GRAPHS, HIDES, METRICS, SCHEDULES
from ..errors import BrokerError
from ..inspector import Inspector, ServerFacts, Stats
from ..values.metrics import Counts
from ..values.report import HostReport
from .agenda import Agenda
from .expiry import Expiries
from .lease import Lease
from .operator import Obey, Requests, Snapshot
from .promoter import Due
from .recording import Recorder, Recording
from .recovery import Death, Recovery
from .relay import Relay
from .report import Reporter, Source
from .scheduler import Scheduler

__all__ = ["AppMetrics", "Keeper"]

#: Ids of cancelled jobs that may wait to be looked up.
MAX_NOTICED = 1_000
#: Seconds that the broker has for its part of the metrics.
METRICS_TIMEOUT = 2.0


class AppMetrics(NamedTuple):
    """What one host knows of one app."""

    app: str
    tasks: Mapping[str, Counts]
    queues: Mapping[str, Counts]
    #: Seconds since the lease was renewed, and that the last report took.
    lease_age: float = 0.0
    broker_seconds: float = 0.0
    recovered: int = 0
    #: Finished jobs that wait for a recorder; None: the broker has not answered, as with the next ones.
    backlog: int | None = None
    stats: Stats | None = None
    facts: ServerFacts | None = None


class Keeper:
    """Lease, recovery, due jobs, graphs, schedules and recording of one app on one host, in an event loop of its own.

    Args:
        broker: that the agents use.
        reading: a second broker for the blocking read of the recorder; None: nothing is recorded.
        recorder: writes finished jobs into the history file.
        revive: brings the embedded server back when it has crashed.
        queues, needs: what the workers of this host claim.
        relay: sends the jobs of committed transactions; None: the app has no database.
        source: what is reported of this host; None: nothing is.
    """

    def __init__(
        self,
        broker: Broker,
        app: str,
        secrets: Sequence[str],
        host: str,
        *,
        reading: History | None = None,
        recorder: Recorder | None = None,
        revive: Callable[[], None] | None = None,
        queues: Sequence[str] = (),
        needs: Sequence[str] = (),
        relay: Relay | None = None,
        source: Source | None = None,
    ) -> None:
        self._broker = broker
        self._app = app
        self._secrets = secrets
        self._host = host
        self._reading = reading
        self._renewing: Broker | None = None
        self.recovery = Recovery(broker, secrets, host, queues, needs)
        self.lease = Lease(broker, host, revive, self.recovery.hurry)
        has_graphs = GRAPHS in features(broker.url)
        self._agenda = Agenda(graphs_of(broker), secrets) if has_graphs else None
        has_schedules = SCHEDULES in features(broker.url)
        self._scheduler = Scheduler(schedules_of(broker), secrets, app) if has_schedules else None
        expiries = Expiries(cast("Expiry", broker), secrets) if EXPIRY in features(broker.url) else None
        self._due = Due(
            broker,
            self._agenda.hear if self._agenda is not None else None,
            expiries,
            self._scheduler.hear if self._scheduler is not None else None,
        )
        self._relay = relay
        self._reporter = None
        if source is not None and METRICS in features(broker.url):
            self._reporter = Reporter(cast("Metrics", broker), host, source, self._complete)
        self._recorder = recorder
        self._recording = None
        if reading is not None and recorder is not None:
            hides = hides_of(broker) if HIDES in features(broker.url) else None
            self._recording = Recording(reading, recorder, host, hides)

    def report(self, death: Death) -> None:
        """Note that a worker of this host has ended."""
        self.recovery.report(death)

    async def run_for_ever(self, another: Callable[[], Broker]) -> None:
        """Run until cancelled; a host that was declared dead lives again, since its process is the user's and goes on.

        Args:
            another: makes a broker that has no state from before that death.
        """
        while True:
            await self.run()
            if self._renewing is not None:
                await self._renewing.close()
            self._renewing = another()
            self.lease = self.lease.anew(self._renewing)

    async def run(self) -> None:
        """Run the agents until cancelled, or until this host is declared dead."""
        # The lease first: what the other agents do relies on it. Recording last: it may lag behind.
        agents = [self.lease.run(), self.recovery.run(), self._due.run()]
        if self._agenda is not None:
            agents.append(self._agenda.run())
        if self._scheduler is not None:
            agents.append(self._scheduler.run())
        if self._relay is not None:
            agents.append(self._relay.run())
        if self._recording is not None:
            agents.append(self._recording.run())
        if self._reporter is not None:
            agents.append(self._reporter.run())
        tasks = [asyncio.create_task(agent) for agent in agents]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def listen(self, cancelled: Callable[[str], None], snapshot: Snapshot, obey: Obey) -> None:
        """Handle the cancels and control messages for this host until cancelled.

        Args:
            cancelled: called with the id of each job of this host that is cancelled.
            snapshot, obey: what is asked of its processes; see ``Requests``.
        """
        noticed: set[str] = set()
        wake = asyncio.Event()
        requests = Requests(self._broker, self._secrets, self._app, self._host, snapshot, obey)

        def on_notices(notices: list[Notice]) -> None:
            for notice in notices:
                if notice.outcome is not None:
                    requests.receive(notice)
                # Further ones are a flood; a worker looks up the cancels of its long jobs anyway.
                elif len(noticed) < MAX_NOTICED:
                    noticed.add(notice.id)
                    wake.set()

        listening = asyncio.gather(self._broker.listen(self._host, on_notices, lambda: None), requests.run())
        try:
            while True:
                await wake.wait()
                wake.clear()
                ids = list(noticed)
                noticed.clear()
                with contextlib.suppress(BrokerError):
                    for id in await self.recovery.cancelled(self._host, ids):
                        cancelled(id)
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    async def leave(self, deaths: Sequence[Death], *, forget: bool = True) -> None:
        """Requeue the jobs that these workers have claimed, record finished jobs, and drop the lease.

        Args:
            forget: drop the lease; False where another keeper may renew it, on the same broker under another address.
        """
        with contextlib.suppress(BrokerError):
            for death in deaths:
                self.recovery.report(death)
            await self.recovery.scan()
            if self._recording is not None:
                await self._recording.finish()
            if self._reporter is not None:
                await self._reporter.tick()
            if forget:
                await self.lease.drop()
                await self.recovery.scan()

    # ---- what others are told

    async def report_now(self) -> None:
        """Report at once how the host is, since that has changed."""
        if self._reporter is not None:
            await self._reporter.report_now()

    def _complete(self, report: HostReport, took: float) -> HostReport:
        return replace(report, recovered=self.recovery.moved, broker=round(took, 4), time=time.time())

    async def metrics(
        self, app: str, tasks: dict[str, Counts], queues: dict[str, Counts], inspector: Inspector
    ) -> AppMetrics:
        """What this keeper knows of its app, and what is on the broker; without the latter where it does not answer."""
        found = AppMetrics(
            app,
            tasks,
            queues,
            max(0.0, time.monotonic() - self.lease.renewed_at),
            self._reporter.took if self._reporter is not None else 0.0,
            self.recovery.moved,
        )
        with contextlib.suppress(BrokerError, TimeoutError):
            async with asyncio.timeout(METRICS_TIMEOUT):
                stats, backlog = await inspector.stats(), await inspector.unrecorded()
                facts = await inspector.facts()
                return found._replace(stats=stats, backlog=backlog, facts=facts)
        return found

    async def close(self) -> None:
        if self._relay is not None:
            await self._relay.close()
        if self._recorder is not None:
            await asyncio.to_thread(self._recorder.close)
        for broker in (self._broker, self._reading, self._renewing):
            if broker is not None:
                await broker.close()
