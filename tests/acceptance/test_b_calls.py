"""B1-B6, B9, B11, C1-C3, G7, G22, G23: calls that compose, with real worker processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aiotask import DependencyFailed, Status, chain, group
from aiotask.broker import Replayed
from aiotask.brokers import connect

from ..helpers import wait_until, wait_until_async
from ..workers import Workers
from .stage import Put, Stage, staged


@pytest.fixture
def composed(workers: Workers, tmp_path: Path) -> Iterator[Stage]:
    with staged("composed", workers, tmp_path / "ledger") as stage:
        yield stage


@pytest.fixture
def nodes(workers: Workers, tmp_path: Path) -> Iterator[Stage]:
    with staged("nodes", workers, tmp_path / "ledger") as stage:
        yield stage


def labels(stage: Stage) -> Counter[Any]:
    return Counter(run.label for run in stage.ledger.runs())


async def test_b1_b2_a_call_in_the_arguments_of_another_runs_once_wherever_it_stands(composed: Stage) -> None:
    composed.start(2)
    shared = composed.add.s(1, 2)
    root = composed.total.s(numbers=[shared.cast, shared.cast, composed.mul.s(shared.cast, b=5).cast])

    assert await root.apply_async() == 21
    assert labels(composed) == {"add": 1, "mul": 1, "total": 1}
    assert await composed.mul.apply_async(composed.add.s(3, 4).cast, composed.add.s(1, 2).cast) == 21


async def test_b4_what_depends_on_a_failed_call_does_not_run_and_names_it(composed: Stage) -> None:
    composed.start(1)
    with pytest.raises(DependencyFailed) as caught:
        await composed.boom.s("no").then(composed.mul, 3).then(composed.add, 4).apply_async()

    assert caught.value.task.endswith(":boom") and isinstance(caught.value.__cause__, KeyError)
    assert labels(composed) == {"boom": 3}


async def test_b5_g7_each_call_goes_to_its_own_queue_and_a_queue_without_a_worker_holds_up_nothing_else(
    composed: Stage,
) -> None:
    composed.start(1, "--queues", "default")
    near, far = composed.add.s(1, 2), composed.mul.options(queue="far").s(3, 4)
    last = composed.add.options(queue="last").s(far.cast, near.cast)
    result = composed.total.s([last.cast, near.cast]).apply_async()
    await result.sent()
    assert await composed.add.apply_async(5) == 5
    await wait_until_async(
        lambda: composed.ledger.counts().get(near.id), description="what has a worker runs, whatever waits elsewhere"
    )
    assert await composed.app.result(far.id).status() is Status.PENDING
    assert await composed.app.result(last.id).status() is Status.WAITING
    composed.start(1, "--queues", "far")
    await wait_until_async(lambda: composed.ledger.counts().get(far.id), description="the second queue has a worker")

    async def is_ready() -> bool:
        return await composed.app.result(last.id).status() is Status.PENDING

    await wait_until_async(is_ready, description="the last call waits for a worker alone")
    composed.start(1, "--queues", "last")
    assert await result == 18
    pids = {run.id: run.pid for run in composed.ledger.runs()}
    assert len({pids[near.id], pids[far.id], pids[last.id]}) == 3


async def test_b6_the_status_of_every_job_of_a_graph_can_be_seen(nodes: Stage) -> None:
    nodes.start(1)
    result = nodes.add.s(nodes.aat_the_gate.s(3).cast, nodes.agive.s(4).cast).apply_async()

    async def statuses() -> dict[str, str]:
        graph = await nodes.app.graph(result.id)
        return {node.task.rpartition(":")[2]: node.status for node in graph.nodes}

    async def are_as_expected() -> bool:
        return await statuses() == {"aat_the_gate": "RUNNING", "agive": "SUCCESS", "add": "WAITING"}

    await wait_until_async(are_as_expected, description="one runs, one has ended, and the last waits")
    nodes.open_gate()
    assert await result == 7
    assert await statuses() == {"aat_the_gate": "SUCCESS", "agive": "SUCCESS", "add": "SUCCESS"}


async def test_b11_the_jobs_that_a_job_has_sent_are_its_children(composed: Stage) -> None:
    composed.start(2)
    result = composed.sender.apply_async()

    assert await result == [5, 7]
    # Each of its two runs has sent three jobs, a graph and a group.
    children = await result.children()
    assert len({child.id for child in children}) == len(children) == 10
    async with composed.app.inspector() as inspector:
        assert await inspector.job(children[0].id) is not None


async def test_c1_the_value_of_a_group_is_a_list_in_order_and_its_error_says_which_member(composed: Stage) -> None:
    composed.start(2)
    assert await group(composed.slowly.s(n) for n in range(12)).apply_async() == list(range(12))
    assert await group(composed.slowly.s(n) for n in range(3)).then(composed.total, start=10).apply_async() == 13
    failing = group(composed.square.s(n) for n in (1, 13, 2)).apply_async()
    with pytest.raises(ValueError, match="thirteen"):
        await failing
    bad = [member for member in failing.members if await member.status() is Status.FAILED]
    assert [member.id for member in bad] == [failing.members[1].id]


async def test_c2_each_step_of_a_chain_gets_the_value_before_it_also_none(composed: Stage) -> None:
    composed.start(1)
    assert await chain(composed.add.s(1, 2), composed.mul, composed.square, composed.mul).apply_async() == 72
    assert await chain(composed.nothing.s(), composed.after_nothing).apply_async() == "after None"


async def test_c3_follow_ups_run_once_after_the_last_retry_with_the_value_or_the_error(composed: Stage) -> None:
    composed.start(1)
    good = composed.add.s(1, 2).on_success(composed.told, "good").on_error(composed.told, "never")
    bad = composed.boom.s("x").on_success(composed.told, "never").on_error(composed.told, "bad")
    assert await good.apply_async() == 3
    with pytest.raises(KeyError):
        await bad.apply_async()
    wait_until(lambda: labels(composed)["good: int"] and labels(composed)["bad: KeyError"], description="both are told")
    assert labels(composed) == {"add": 1, "boom": 3, "good: int": 1, "bad: KeyError": 1}
    runs = {run.label: run for run in composed.ledger.runs()}
    last = max(run.end or 0.0 for run in composed.ledger.runs() if run.label == "boom")
    assert runs["bad: KeyError"].start >= last


async def test_g22_a_replay_runs_what_did_not_end_well_and_nothing_else(nodes: Stage) -> None:
    nodes.start(2)
    good, bad = nodes.give.s(4, "good"), nodes.at_the_gate.options(timeout=0.3).s(3, "gate", "bad")
    root = nodes.add.s(good.cast, bad.cast)
    result = root.apply_async()
    with pytest.raises(DependencyFailed):
        await result
    nodes.open_gate()

    again = await nodes.app.replay_graph(result.id)
    assert again == 2
    assert await nodes.app.result(result.id) == 7
    assert labels(nodes) == {"good": 1, "bad": 2, "add": 1}


async def test_g23_the_dead_letter_of_a_node_is_replayed_with_its_graph_alone(composed: Stage) -> None:
    composed.start(1)
    call = composed.boom.s("x")
    with pytest.raises(DependencyFailed):
        await call.then(composed.mul, 2).apply_async()
    broker = connect(composed.app.url, composed.app.name)

    async def answer() -> Replayed:
        return (await broker.replay([call.id]))[0]

    await wait_until_async(lambda: _is(answer, Replayed.GRAPH), description="the dead letter is there, and refused")
    await broker.close()
    assert labels(composed) == {"boom": 3}


async def _is(ask: Any, expected: Any) -> bool:
    return await ask() is expected


async def test_b3_a_job_that_waits_is_in_no_queue(stage: Put) -> None:
    nodes = stage("nodes")
    nodes.start(1)
    result = nodes.add.s(nodes.at_the_gate.s(3).cast, nodes.at_the_gate.s(4).cast).apply_async()
    await wait_until_async(lambda: nodes.ledger.counts(), description="the first one runs")
    async with nodes.app.inspector() as inspector:
        queues = await inspector.queues()
    # One runs, one waits for the process; the sum is nowhere.
    assert sum(queue.running + queue.pending for queue in queues) == 2
    assert await result.status() is Status.WAITING
    nodes.open_gate()
    assert await result == 7
