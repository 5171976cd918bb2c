"""Random graphs end as a model of a few lines says, in any order, whatever dies or is cancelled."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field

import msgspec
import pytest

import aiotask.brokers.graphs
from aiotask.broker import BATCH_JOBS, Cancelled, Delivery, Finish, Push, Settled
from aiotask.brokers.graphs import BATCH_SPECIAL, Conclusion, Graphs, Growth, Node, Steered, Taken, parts_of
from aiotask.job import Job, Meta, Status, decode_job
from aiotask.values.flow import Kind, unpack_ids
from aiotask.wire.seal import OVERHEAD

from ...seam import Worker, a_push, finish, send
from .model import DROPPED, TASK, WITHHELD, End, Planned, ends_of, message_of, nodes_of, plan, value_of

GONE = b"CANCELLED:"
#: Seconds after which a run that does not come to rest has failed.
LIMIT = 60


@pytest.mark.parametrize("seed", [0, 1, 2, 3, 5, 8, 13, 17, 22, 28, 34, 40])
async def test_a_random_graph_ends_as_the_model_says(
    graphs: Graphs, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    pick = random.Random(seed)
    # Most graphs arrive in many parts, which the real bound leaves to those of several hundred nodes.
    monkeypatch.setattr(aiotask.brokers.graphs, "PART_FIELDS", pick.choice([30, 100, 1000]))
    planned = plan(pick, 1 + min(seed * 5, 199))
    run = Run(graphs, pick, planned)

    await run.send()
    async with asyncio.timeout(LIMIT):
        await run.work(trouble=0.04 if seed % 3 else 0.0)

    ends = ends_of(planned, run.cancelled, run.grown)
    assert run.ends == {id: end for id, end in ends.items() if end.status}
    await run.check_rest(ends)

    mend(planned)
    run.cancelled.clear()
    bad = {id for id, end in ends.items() if end.status not in ("", Status.SUCCESS)}
    good = {id: end for id, end in ends.items() if id not in bad and end != WITHHELD}
    run.ends = {id: end for id, end in run.ends.items() if id in good}
    assert await run.broker.steer(run.graph, replay=True) == Steered("done", len(bad))
    async with asyncio.timeout(LIMIT):
        await run.work(trouble=0.0)

    ends = ends_of(planned, set(), run.grown, good)
    assert run.ends == {id: end for id, end in ends.items() if end.status}
    assert not any(end.status in (Status.FAILED, Status.CANCELLED) for end in ends.values())
    await run.check_rest(ends)


@pytest.mark.parametrize("seed", range(4))
async def test_a_plain_job_that_returns_a_random_graph_ends_as_the_model_says(graphs: Graphs, seed: int) -> None:
    pick = random.Random(seed)
    root = Planned("root", grows=(grows := plan(pick, 10 * (seed + 1))))
    root.takes = [node for node in grows if not node.condition]
    run = Run(graphs, pick, [root])
    await send(graphs, a_push("root"))
    run.graph = "root"

    async with asyncio.timeout(LIMIT):
        await run.work(trouble=0.02)

    ends = ends_of([root], run.cancelled, run.grown)
    assert run.ends == {id: end for id, end in ends.items() if end.status}


@dataclass
class Run:
    """One graph and the worker that runs it by hand: what it has finished, and what was cancelled."""

    broker: Graphs
    pick: random.Random
    planned: list[Planned]
    graph: str = ""
    is_group: bool = False
    known: dict[str, Planned] = field(default_factory=dict)
    in_hand: list[Delivery] = field(default_factory=list)
    #: Deliveries with which the worker will die, between two parts of what their runs have returned.
    lost: list[Delivery] = field(default_factory=list)
    ends: dict[str, End] = field(default_factory=dict)
    cancelled: set[str] = field(default_factory=set)
    grown: set[str] = field(default_factory=set)
    worker: Worker = field(init=False)
    workers: int = 0
    tokens: int = 0

    def __post_init__(self) -> None:
        self.known = {node.id: node for node in self.planned}
        self.graph = self.planned[-1].id

    # ---- sending

    async def send(self) -> None:
        nodes = nodes_of(self.planned, self.graph, 0)
        if self.pick.random() < 0.3:  # a group, which is no job
            self.is_group, self.graph = True, f"group-{self.graph}"
            nodes = nodes_of(self.planned, self.graph, 0)
            members = tuple(node.number for node in nodes if not node.condition)
            nodes.append(Node(len(nodes) + 1, "", Push("", "", 5, b""), members))
        assert await self._push(nodes, sequence=1) is Taken.DONE

    async def _push(
        self,
        nodes: list[Node],
        sequence: int,
        growth: Growth | None = None,
        first: int = 0,
        result_ttl: float = 3600.0,
    ) -> Taken:
        self.tokens += 1
        token = f"token-{self.tokens}"
        parts = list(parts_of(self.graph, nodes, token=token, result_ttl=result_ttl, first=first, growth=growth))
        *staged, last = parts
        staged += self.pick.sample(staged, len(staged) // 3)
        self.pick.shuffle(staged)
        for part in staged:
            assert await self.broker.push_graph("client", sequence, part) is Taken.DONE
        if growth is not None and staged and self.pick.random() < 0.3:
            return Taken.MISSING  # the worker dies
        taken = await self.broker.push_graph("client", sequence, last)
        if taken is Taken.DONE:
            assert await self.broker.push_graph("client", sequence, last) is Taken.BEFORE
            for part in staged[:2]:
                assert await self.broker.push_graph("client", sequence, part) in (Taken.BEFORE, Taken.MISSING)
        return taken

    # ---- running

    async def work(self, trouble: float) -> None:
        """Run until every node has ended.

        Args:
            trouble: how likely a cancel or a death is before each step.
        """
        self.worker = await self._enlist()
        while True:
            if self.lost:
                self.in_hand += self.lost
                self.lost.clear()
                await self._die()
            elif self.pick.random() < trouble:
                await self.pick.choice([self._cancel, self._cancel, self._cancel_all, self._die])()
            await self._advance()
            await self.broker.promote()
            claim = await self.worker.claim(self.pick.randrange(1, 20))
            self.in_hand += claim.deliveries
            if not self.in_hand and await self._is_at_rest():
                return
            await self._settle_some()

    async def _enlist(self) -> Worker:
        self.workers += 1
        return await Worker(self.broker, f"host.{self.workers}").enlist()

    async def _is_at_rest(self) -> bool:
        return not await self.broker.unfinished(self.graph, 0, 1) and not (await self.broker.advance()).left

    async def _advance(self) -> None:
        while True:
            advance = await self.broker.advance()
            for graph in advance.cancelling:
                await self._conclude(graph)
            if not advance.left:
                return

    async def _conclude(self, graph: str) -> None:
        after = 0
        while page := await self.broker.unfinished(graph, after, self.pick.choice([7, BATCH_JOBS])):
            after = page[-1][0]
            ends = [Conclusion(id, GONE, Status.CANCELLED, self.known[id].result_ttl) for _, id in page]
            for (_, id), is_done in zip(page, await self.broker.conclude(ends), strict=True):
                if is_done:
                    self._note_cancel(id)
        assert (await self.broker.steer(graph, ended=True)).answer == "done"

    async def _cancel(self) -> None:
        id = self.pick.choice(list(self.known))
        match await self.broker.cancel(id, GONE, self.known[id].result_ttl):
            case Cancelled.DONE:
                self._note_cancel(id)
            case Cancelled.ASKED:
                self.cancelled.add(id)
            case other:
                assert (other is Cancelled.FINISHED) == (id in self.ends and await self._is_kept(id))

    async def _is_kept(self, id: str) -> bool:
        [state] = await self.broker.status([id])
        return state.outcome is not None

    def _note_cancel(self, id: str) -> None:
        assert id not in self.ends
        self.cancelled.add(id)
        self.ends[id] = End(Status.CANCELLED)

    async def _cancel_all(self) -> None:
        if self.pick.random() < 0.1:
            assert (await self.broker.steer(self.graph)).answer == "done"

    async def _die(self) -> None:
        """Lose the process: what it has in hand goes back, and what it settles later is refused."""
        stale = [finish(delivery, outcome=b"SUCCESS:late") for delivery in self.in_hand]
        while (await self.broker.recover(self.worker.name)).more:
            pass
        for delivery in self.in_hand:
            if delivery.id in self.cancelled:
                self._note_cancel(delivery.id)
        self.in_hand.clear()
        for item in stale:
            job = _job_of(item.delivery)
            assert await self._finish(_in_graph(item, job)) is Settled.NOT_YOURS
        self.worker = await self._enlist()

    async def _settle_some(self) -> None:
        self.pick.shuffle(self.in_hand)
        count = self.pick.randrange(len(self.in_hand) + 1)
        some, self.in_hand = self.in_hand[:count], self.in_hand[count:]
        batch = [item for delivery in some if (item := await self._run(delivery))]
        plain = [item for item in batch if not item.graph]
        for item in plain:
            assert await self._finish(item) is Settled.DONE
        special = [item for item in batch if item.graph]
        for at in range(0, len(special), BATCH_SPECIAL):
            chunk = special[at : at + BATCH_SPECIAL]
            settled, _, _ = await self.broker.finish_special(self.worker.name, chunk)
            assert set(settled) == {Settled.DONE}
            again, _, _ = await self.broker.finish_special(self.worker.name, chunk, repeat=True)
            assert set(again) == {Settled.BEFORE}

    async def _finish(self, item: Finish) -> Settled:
        if item.graph:
            settled, _, _ = await self.broker.finish_special(self.worker.name, [item])
        else:
            settled, _ = await self.broker.finish(self.worker.name, [item])
        return settled[0]

    async def _run(self, delivery: Delivery) -> Finish | None:
        """Run a node as a worker does; None: it is given back, or it has returned nodes."""
        job, node = _job_of(delivery), self.known[delivery.id]
        assert delivery.id not in self.ends, "it ran after its end"
        [mark] = await self.broker.cancels(self.worker.name, [delivery.id])
        taken = await self._taken(job)
        is_returned = job.more is not None and job.more.flow is not None and job.more.flow.kind == Kind.RETURNED
        is_settled = node.settled and not is_returned
        if mark is not None:
            end = End(Status.CANCELLED)
        elif not is_settled and any(end.status != Status.SUCCESS for end in taken):
            end = End(Status.FAILED, "behind")
        elif delivery.meta.attempt <= node.retries and not is_returned:
            meta = Meta(delivery.meta.attempt + 1, series=delivery.meta.series)
            assert await self.worker.requeue(delivery, meta=meta) is Settled.DONE
            return None
        elif node.fails:
            end = End(Status.FAILED, "fault")
        elif node.grows and not is_returned:
            await self._grow(delivery, job, node)
            return None
        else:
            end = End(Status.SUCCESS, value_of(node.id, taken))
        self.ends[delivery.id] = end
        outcome, status = f"{end.status}:{end.value}".encode(), Status(end.status)
        is_dead = status is Status.FAILED
        return _in_graph(
            finish(delivery, outcome=outcome, status=status, result_ttl=node.result_ttl, dead=is_dead), job
        )

    async def _taken(self, job: Job) -> list[End]:
        """What the body of a job refers to; all of it is there, whatever its TTL."""
        flow = job.more.flow if job.more else None
        states = await self.broker.status(unpack_ids(flow.upstream)) if flow else []
        assert all(state.outcome is not None for state in states), "it ran early, or a value was gone"
        return [End(*(state.outcome or b"").decode().split(":", 1)) for state in states]

    async def _grow(self, delivery: Delivery, job: Job, node: Planned) -> None:
        first = await self.broker.reserve(self.graph, len(node.grows) + 2)
        new, old = first + len(node.grows) + 1, job.more.flow.node if job.more and job.more.flow else 0
        nodes = nodes_of(node.grows, self.graph, first)
        numbers = {one.push.id: one.number for one in nodes}
        message = message_of(node.id, self.graph, new, node.takes, kind=Kind.RETURNED)
        taken = tuple(numbers[one.id] for one in node.takes)
        nodes.append(Node(new, TASK, message, taken, node.result_ttl))
        match await self._push(nodes, 0, Growth(delivery, old, new), first, node.result_ttl):
            case Taken.DONE:
                self.grown.add(node.id)
                self.known |= {one.id: one for one in node.grows}
            case Taken.NOT_YOURS:
                assert node.id in self.cancelled
                self._note_cancel(node.id)
            case Taken.MISSING:
                self.lost.append(delivery)
            case other:
                raise AssertionError(other)

    # ---- at rest

    async def check_rest(self, ends: dict[str, End]) -> None:
        """Every outcome is what the model says, and values that nothing needs any more are kept for their time."""
        needed = self._needed(ends)
        for id, end in ends.items():
            [state] = await self.broker.status([id])
            assert state.status is None
            if not end.status or (self.known[id].result_ttl == 0 and id not in needed):
                assert state.outcome is None
            else:
                assert state.outcome == f"{end.status}:{end.value}".encode()

    def _needed(self, ends: dict[str, End]) -> set[str]:
        """Ids whose values a node that ended badly has not used; a group with such a member keeps all of them."""
        members = [node for node in self.planned if not node.condition] if self.is_group else []
        is_bad = any(ends[node.id].status != Status.SUCCESS for node in members)
        needed = {node.id for node in members if is_bad}
        for node in self.known.values():
            if ends[node.id] != DROPPED and ends[node.id].status != Status.SUCCESS:
                taken = [*node.upstream, *(node.takes if node.id in self.grown else [])]
                needed |= {one.id for one in taken}
        return needed


def mend(planned: list[Planned]) -> None:
    """Let no run fail from now on."""
    for node in planned:
        node.fails = False
        mend(node.grows)


def _job_of(delivery: Delivery) -> Job:
    return decode_job(delivery.sealed[OVERHEAD:])


def _in_graph(item: Finish, job: Job) -> Finish:
    flow = job.more.flow if job.more else None
    return msgspec.structs.replace(item, graph=flow.graph, node=flow.node) if flow else item
