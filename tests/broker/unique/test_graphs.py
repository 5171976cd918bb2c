"""Graphs whose root is unique: of the calls with its key, one is accepted as long as it has not ended."""

from __future__ import annotations

import pytest

from aiotask.broker import Broker, JobState, Special
from aiotask.brokers import graphs_of
from aiotask.brokers.graphs import Graphs, Node, Taken
from aiotask.job import Status
from aiotask.values.unique import Rule

from ...graphs import Run, accept, advance_all, cancel_all, end, grow, node, parts
from ...seam import Worker, ids
from .calls import call, name, push, state_of


@pytest.fixture
def graphs(broker: Broker) -> Graphs:
    return graphs_of(broker)


def nodes(tail: str, rule: Rule, before: int = 1) -> list[Node]:
    """A root behind as many other jobs."""
    first = [node(n, id=f"{tail}{n}") for n in range(1, before + 1)]
    root = node(before + 1, *range(1, before + 1), id=name(tail), special=Special(unique=rule))
    return [*first, root]


async def send(graphs: Graphs, tail: str, on_conflict: str = "existing", before: int = 1) -> Taken:
    rule = Rule("unfinished", on_conflict, ttl=3600.0)
    return await accept(graphs, parts(name(tail), nodes(tail, rule, before), unique=rule))


async def run(worker: Worker, tail: str, fails: tuple[str, ...] = ()) -> list[str]:
    """Run all of a graph with one job before its root."""
    return (await Run(worker, name(tail), {f"{tail}1": 1, name(tail): 2}, fails).to_its_end()).order


async def test_a_call_is_the_root_that_has_its_key_until_that_has_ended(graphs: Graphs, worker: Worker) -> None:
    assert await send(graphs, "a") is Taken.DONE

    assert await send(graphs, "b", before=1200) is Taken.KNOWN
    assert await state_of(graphs, name("b")) == JobState(same=name("a"))
    [first] = (await worker.claim()).deliveries
    await end(worker, name("a"), first, 1)
    [root] = (await worker.claim()).deliveries
    assert await send(graphs, "c") is Taken.KNOWN
    await end(worker, name("a"), root, 2)

    assert await send(graphs, "d") is Taken.DONE
    assert await run(worker, "d") == ["d1", name("d")]


async def test_a_call_is_refused_while_another_root_has_its_key(graphs: Graphs, worker: Worker) -> None:
    await send(graphs, "a")

    assert await send(graphs, "b", "error") is Taken.KNOWN

    assert await state_of(graphs, name("b")) == JobState(exists=name("a"))
    assert await run(worker, "a") == ["a1", name("a")]


async def test_jobs_and_graphs_know_of_each_other(graphs: Graphs, worker: Worker) -> None:
    await send(graphs, "a")
    said = await push(graphs, call("b"), call("c", on_conflict="replace"), call("d", on_conflict="error"))
    assert said is not None and said.known == {name("b"): name("a"), name("c"): name("a")}
    assert said.refused == {name("d"): name("a")}
    await run(worker, "a")

    assert await push(graphs, call("e")) is None
    assert await send(graphs, "f") is Taken.KNOWN
    assert await state_of(graphs, name("f")) == JobState(same=name("e"))


@pytest.mark.parametrize("how", ["fails", "is cancelled"])
async def test_the_key_is_free_however_the_root_ends(graphs: Graphs, worker: Worker, how: str) -> None:
    await send(graphs, "a")
    if how == "fails":
        await run(worker, "a", (name("a"),))
    else:
        await graphs.steer(name("a"))
        assert sorted(await cancel_all(graphs, name("a"))) == sorted([name("a"), "a1"])

    assert await send(graphs, "b") is Taken.DONE


async def test_a_root_whose_run_returns_others_keeps_its_key(graphs: Graphs, worker: Worker) -> None:
    await send(graphs, "a", before=0)
    [root] = (await worker.claim()).deliveries
    rule = Special(unique=Rule("unfinished", ttl=3600.0))
    first = await graphs.reserve(name("a"), 3)
    grown = [node(first + 1, id="grown"), node(first + 2, first + 1, id=name("a"), special=rule)]
    assert await grow(graphs, name("a"), root, 1, grown, first) is Taken.DONE
    await advance_all(graphs)

    assert await send(graphs, "b") is Taken.KNOWN
    numbers = {"grown": first + 1, name("a"): first + 2}
    assert (await Run(worker, name("a"), numbers).to_its_end()).order == ["grown", name("a")]
    assert await send(graphs, "c") is Taken.DONE


async def test_a_graph_that_is_replayed_takes_its_key_again(graphs: Graphs, worker: Worker) -> None:
    await send(graphs, "a")
    await run(worker, "a", (name("a"),))

    assert (await graphs.steer(name("a"), replay=True)).answer == "done"
    await advance_all(graphs)

    assert await send(graphs, "b") is Taken.KNOWN
    [root] = (await worker.claim()).deliveries
    await end(worker, name("a"), root, 2)
    assert await send(graphs, "c") is Taken.DONE


async def test_an_accept_that_is_repeated_is_no_other_job(graphs: Graphs, worker: Worker) -> None:
    rule = Rule("unfinished", ttl=3600.0)
    [only] = parts(name("a"), nodes("a", rule), unique=rule, custom=True)
    assert await graphs.push_graph("client", 1, only) is Taken.DONE

    assert await graphs.push_graph("client", 1, only) is Taken.BEFORE
    [again] = parts(name("a"), nodes("a", rule), unique=rule, custom=True)
    assert await graphs.push_graph("client", 2, again) is Taken.KNOWN
    assert (await state_of(graphs, name("a"))).status is Status.WAITING
    assert ids(await worker.claim()) == ["a1"]
