"""Runs that have returned Refs: the jobs that they stand for join the graph of the job, which waits for them."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import cast

import msgspec

from ..broker import Broker, Delivery, Push
from ..brokers import graphs_of
from ..brokers.graphs import Graphs, Growth, Node, Part, Taken, parts_of
from ..errors import BrokerError, ConnectionLost
from ..job import GRAPHS_RELEASE, Job, More, encode_job
from ..log.throttle import ErrorReporter
from ..loops.agent import agent
from ..loops.delay import BrokerDelay
from ..values.flow import Flow, Kind, pack_ids
from ..wire.seal import Sealer
from .membership import Membership
from .run import Returned, Run

__all__ = ["Growths"]

logger = logging.getLogger("aiotask.worker")

#: Nodes that are sealed in the event loop at most; it stands still meanwhile.
MANY = 500


class Growths:
    """Hands over to the broker what runs have returned; a run keeps its delivery until the broker has accepted that.

    The delivery is the fence: of two workers that have run a job, one adds what its run has returned. Where a worker
    dies before that, the job runs again, and what was staged is dropped.

    Args:
        sealer: of jobs.
    """

    # Given to ``attach``.
    _close: Callable[[list[Run]], None]
    _wait: Callable[[Run], None]
    _log_dropped: Callable[[list[str]], None]
    _forget: Callable[[list[Delivery]], None]

    def __init__(self, broker: Broker, membership: Membership, *, sealer: Sealer) -> None:
        self._broker = broker
        self._membership = membership
        self._sealer = sealer
        self._growing: set[asyncio.Task[None]] = set()
        self._report_error = ErrorReporter(
            logger, "The broker refused the jobs that a job has returned; trying again: %s"
        )

    def attach(
        self,
        close: Callable[[list[Run]], None],
        wait: Callable[[Run], None],
        log_dropped: Callable[[list[str]], None],
        forget: Callable[[list[Delivery]], None],
    ) -> None:
        """Before the first run.

        Args:
            close: called with runs that end with an error instead.
            wait: called with a run whose job waits from now on.
            log_dropped: called with ids of jobs that were cancelled meanwhile, or belong to another worker.
            forget: called with what is no longer this worker's.
        """
        self._close, self._wait, self._log_dropped, self._forget = close, wait, log_dropped, forget

    def put(self, run: Run) -> None:
        """A run has ended, and has returned Refs."""
        growing = agent(self._grow(run))
        self._growing.add(growing)
        growing.add_done_callback(self._growing.discard)

    async def settle_all(self) -> None:
        """Return once nothing is under way here."""
        while self._growing:
            await asyncio.wait(self._growing)

    async def _grow(self, run: Run) -> None:
        try:
            graphs_of(self._broker)
            taken = await self._add(run)
        except Exception as error:
            # What was returned cannot be sent: an error of the task, as where it sends a job that cannot be sent.
            run.error, run.returned = error, None
            self._close([run])
            return
        self._forget([run.delivery])
        if taken < 0:
            self._log_dropped([run.job.id])
        else:
            self._wait(run)

    async def _add(self, run: Run) -> Taken:
        returned = run.returned
        assert returned is not None
        plan, again = returned.plan, BrokerDelay()
        while True:
            first = await self._reserve(plan.graph, len(plan) + 2)
            sealing = partial(plan.nodes, first, parent=run.job.id)
            nodes = await asyncio.to_thread(sealing) if len(plan) > MANY else sealing()
            taken = Taken.DONE
            for part in self._parts(run, returned, first, nodes):
                taken = await self._push(part)
                if taken not in (Taken.DONE, Taken.BEFORE):
                    break
            if taken is not Taken.MISSING:
                return taken
            await again.wait()

    def _parts(self, run: Run, returned: Returned, first: int, nodes: Sequence[Node]) -> Iterator[Part]:
        found, graph, new = returned.found, returned.plan.graph, first + len(nodes) + 1
        numbers = {node.push.id: node.number for node in nodes}
        is_chunk = run.flow is not None and run.flow.kind == Kind.CHUNK
        kind = Kind.RETURNED_CHUNK if is_chunk else Kind.RETURNED
        flow = Flow(graph, new, pack_ids(found.upstream), found.settled, kind)
        job = _resealed(run.job, flow, returned.body)
        push = Push(job.id, job.queue, job.priority, self._sealer.seal(encode_job(job)))
        waits_for = tuple(numbers[call.id] for call in found.calls)
        return parts_of(
            graph,
            [*nodes, Node(new, job.task, push, waits_for, job.result_ttl)],
            token=secrets.token_hex(4),
            result_ttl=job.result_ttl,
            first=first,
            growth=Growth(run.delivery, 0 if run.flow is None else run.flow.node, new),
        )

    async def _reserve(self, graph: str, count: int) -> int:
        delay = BrokerDelay()
        while True:
            try:
                return await cast("Graphs", self._broker).reserve(graph, count)
            except BrokerError as error:
                await self._pause(error, delay)

    async def _push(self, part: Part) -> Taken:
        delay = BrokerDelay()
        while True:
            try:
                return await cast("Graphs", self._broker).push_graph("", 0, part)
            except BrokerError as error:
                # The same part again: the broker says whether it has it.
                await self._pause(error, delay)

    async def _pause(self, error: BrokerError, delay: BrokerDelay) -> None:
        if not isinstance(error, ConnectionLost):
            self._report_error(error)
        await delay.wait()


def _resealed(job: Job, flow: Flow, body: bytes) -> Job:
    """The job with what its run has returned as its body, and with another place in its graph.

    It was started in time, so it does not expire; and it calls nothing that a limit could count.
    """
    more = msgspec.structs.replace(job.more or More(), expires=0.0, limit="", flow=flow)
    return msgspec.structs.replace(job, version=max(job.version, GRAPHS_RELEASE), body=body, more=more)
