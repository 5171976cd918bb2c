"""Requests about graphs that a caller makes of the broker: to see one, to cancel it, to run what failed again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from ..broker import Broker, Cancelled, JobState
from ..brokers import features, graphs_of, inspect
from ..brokers.graphs import BATCH_CONCLUDED, Conclusion
from ..brokers.technology import GRAPHS
from ..errors import ConfigError, JobCancelled, ResultExpired, SealError, about
from ..inspector import GraphInspector, GraphNodeInfo
from ..job import Status, decode_job
from ..outcome import Outcome, decode_outcome
from ..results.graph import Graph, GraphNode
from ..wire.ended import ended
from ..wire.seal import Sealer

__all__ = ["GraphInquiry"]

#: Nodes that one request reads.
_PAGE = 1_000
#: Bounded parts of the agenda that a replay works off itself, at most.
_ADVANCES = 1_000
#: Ids whose status one request asks for.
_STATUSES = 250


class GraphInquiry:
    """Requests about graphs, made in the running loop.

    Args:
        outcomes, jobs: the app's sealers.
    """

    def __init__(self, broker: Broker, outcomes: Sealer, jobs: Sealer) -> None:
        self._broker = broker
        self._outcomes = outcomes
        self._jobs = jobs

    # ---- seeing

    async def graph(self, id: str) -> Graph:
        """The graph with this id, or that of the job with this id; of a job that is in none, a graph of it alone.

        Raises:
            ResultExpired: the broker knows neither a graph nor a job of this id.
        """
        found = await self._read(id)
        if found is not None:
            return found
        (state,) = await self._broker.status([id])
        outcome = self._opened(state)
        if outcome is not None and outcome.graph and (found := await self._read(outcome.graph)) is not None:
            return found
        if outcome is None and state.status is None:
            raise _unknown(id)
        task = outcome.task if outcome is not None else await self._task_of(id)
        return Graph(id, [GraphNode(id, task, _status(state, outcome))])

    async def _read(self, id: str) -> Graph | None:
        """The graph with this id, or of the unfinished job with this id."""
        if GRAPHS not in features(self._broker.url):
            return None
        view = cast("GraphInspector", inspect(self._broker))
        page = first = await view.graph(id, 0, _PAGE)
        if first is None:
            return None
        infos, after = list(first.nodes), 0
        while page is not None and page.more:
            # The numbers of a page may all be of nodes that are not shown.
            after = page.nodes[-1].number if page.nodes else after + _PAGE
            page = await view.graph(first.id, after, _PAGE)
            infos += page.nodes if page is not None else []
        ids = {info.number: info.id for info in infos}
        statuses = await self._statuses(infos)
        nodes = [
            GraphNode(info.id, info.task, status, tuple(ids[n] for n in info.upstream if n in ids), info.parent)
            for info, status in zip(infos, statuses, strict=True)
        ]
        return Graph(first.id, nodes)

    async def _statuses(self, infos: Sequence[GraphNodeInfo]) -> list[str]:
        statuses: list[str] = []
        for at in range(0, len(infos), _STATUSES):
            some = infos[at : at + _STATUSES]
            asked = [info.id for info in some if not info.waiting]
            states = dict(zip(asked, await self._broker.status(asked) if asked else (), strict=True))
            statuses += [self._status_of(info, states.get(info.id)) for info in some]
        return statuses

    def _status_of(self, info: GraphNodeInfo, state: JobState | None) -> str:
        if state is None:
            return Status.WAITING.value
        outcome = self._opened(state)
        if outcome is None and state.status is None:
            # Its outcome is gone: with result_ttl=0 it is kept for the jobs that take its value alone.
            return (Status.FAILED if info.bad else Status.SUCCESS).value
        return _status(state, outcome)

    def _opened(self, state: JobState) -> Outcome | None:
        if state.outcome is None:
            return None
        try:
            return decode_outcome(self._outcomes.open(state.outcome))
        except SealError:
            return None

    async def _task_of(self, id: str) -> str:
        job = await inspect(self._broker).job(id)
        if job is None or job.sealed is None:
            return ""
        try:
            return decode_job(self._jobs.open(job.sealed)).task
        except SealError:
            return ""

    # ---- changing

    async def cancel(self, graph: str, result_ttl: float) -> Cancelled:
        """Cancel every job of a graph that has not ended; UNKNOWN: there is no such graph.

        A keeper goes on with it where this process dies in the middle.
        """
        broker = graphs_of(self._broker)
        steered = await broker.steer(graph)
        if steered.answer == "unknown":
            return Cancelled.UNKNOWN
        after, done = 0, Cancelled.FINISHED
        while page := await broker.unfinished(graph, after, BATCH_CONCLUDED):
            after = page[-1][0]
            batch = [self._conclusion(graph, id, result_ttl) for _, id in page]
            for item, is_ended in zip(batch, await broker.conclude(batch), strict=True):
                answer = Cancelled.DONE if is_ended else await broker.cancel(item.id, item.outcome, result_ttl)
                if answer is Cancelled.ASKED or (done is Cancelled.FINISHED and answer is Cancelled.DONE):
                    done = answer
        return done

    def _conclusion(self, graph: str, id: str, result_ttl: float) -> Conclusion:
        message = f'Job "{id}" was cancelled with its graph "{graph}" before it ended.'
        outcome = ended(self._outcomes, id, "", JobCancelled, message, graph=graph)
        return Conclusion(id, outcome, Status.CANCELLED, result_ttl)

    async def replay(self, graph: str) -> int:
        """Run again what did not end well in a graph at rest, and what is downstream of it; return how many jobs.

        Raises:
            ConfigError: jobs of it have not ended, or a value that is needed is gone.
            ResultExpired: the broker does not know the graph.
        """
        broker = graphs_of(self._broker)
        steered = await broker.steer(graph, replay=True)
        if steered.answer == "unknown":
            raise _unknown(graph)
        if steered.answer == "running":
            raise about(
                ConfigError(f'Graph "{graph}" is not at rest: some of its jobs have not ended. Wait for them.'), graph
            )
        if steered.answer == "gone":
            raise about(
                ConfigError(
                    f'Graph "{graph}" cannot run again: the value of job "{steered.missing}" is needed and no longer '
                    "kept. Send the calls anew."
                ),
                steered.missing,
            )
        for _ in range(_ADVANCES):
            # Until then an outcome of before may still be there. A keeper does what is left.
            if not (await broker.advance()).left:
                break
        return steered.count


def _status(state: JobState, outcome: Outcome | None) -> str:
    status = outcome.status if outcome is not None else state.status
    return Status(status).value if status is not None else Status.PENDING.value


def _unknown(id: str) -> ResultExpired:
    text = f'"{id}" is not known as a graph or a job: it was never sent, or it is older than its result TTL.'
    return about(ResultExpired(text), id)
