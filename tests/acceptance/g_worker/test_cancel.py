"""G21: a graph is cancelled whole, also where a keeper dies meanwhile; a cancelled node fails what is behind it."""

from __future__ import annotations

import asyncio

import pytest

from aiotask import DependencyFailed, JobCancelled, Status
from aiotask.brokers.graphs import Graphs

from ...helpers import wait_until_async
from ...recovery.deaths import keeper_of
from ..stage import Stage


async def test_g21_nothing_of_a_cancelled_graph_starts_and_what_runs_is_interrupted(
    nodes: Stage, graphs: Graphs
) -> None:
    nodes.start(1)
    running = nodes.aat_the_gate.s(1)
    behind = [nodes.after.s(running.cast) for _ in range(10_000)]
    result = nodes.agive.s([call.settled for call in behind], "last").apply_async()
    await wait_until_async(lambda: nodes.ledger.runs("at the gate"), description="the first one runs")

    assert (await graphs.steer(result.id)).answer == "done"

    ids = [running.id, *(call.id for call in behind), result.id]
    for id in (running.id, behind[0].id, behind[-1].id, result.id):
        with pytest.raises(JobCancelled):
            async with asyncio.timeout(60):
                await nodes.app.result(id)
    await rests(graphs, result.id)
    assert len(await ended(graphs, ids)) == 10_002
    assert [run.label for run in nodes.ledger.runs()] == ["at the gate"]
    assert nodes.ledger.ended("at the gate") == 1


async def test_g21_a_keeper_that_dies_while_it_cancels_is_followed_by_another(nodes: Stage, graphs: Graphs) -> None:
    supervisor = nodes.start(1)
    source = nodes.give.options(queue="later").s(1)
    behind = [nodes.after.s(source.cast) for _ in range(8_000)]
    result = nodes.agive.s([call.settled for call in behind], "last").apply_async()
    await result.sent()
    ids = [call.id for call in behind]
    assert (await graphs.steer(result.id)).answer == "done"

    some = await wait_until_async(lambda: ended(graphs, ids[:2_000]), description="some of them are cancelled")
    keeper_of(supervisor).kill()
    assert len(some) < len(ids)

    with pytest.raises(JobCancelled):
        async with asyncio.timeout(60):
            await result
    await rests(graphs, result.id)
    assert len(await ended(graphs, ids)) == len(ids)
    assert nodes.ledger.runs() == []


async def test_g21_a_job_that_returns_calls_into_a_cancelled_graph_is_cancelled(nodes: Stage, graphs: Graphs) -> None:
    nodes.start(1)
    call = nodes.return_when_told.s("value")
    result = nodes.after.s(call.cast).apply_async()
    await wait_until_async(lambda: nodes.ledger.runs("returns"), description="the job runs")

    assert (await graphs.steer(result.id)).answer == "done"
    nodes.open_gate("told")

    for id in (call.id, result.id):
        with pytest.raises(JobCancelled):
            async with asyncio.timeout(60):
                await nodes.app.result(id)
    await rests(graphs, result.id)
    assert nodes.ledger.runs("give") == nodes.ledger.runs("after") == []


async def test_g21_the_cancel_of_one_node_fails_what_is_behind_it_and_nothing_else(nodes: Stage) -> None:
    nodes.start(1)
    held = nodes.aat_the_gate.s(1)
    middle = nodes.give.s(held.cast, "middle")
    behind, beside = nodes.after.s(middle.cast), nodes.agive.s(held.cast, "beside")
    result = nodes.agive.s([behind.settled, beside.cast], "last").apply_async()
    await wait_until_async(lambda: nodes.ledger.runs("at the gate"), description="the first one runs")

    await nodes.app.result(middle.id).cancel()
    nodes.open_gate()

    error, value = await result
    assert isinstance(error, DependencyFailed) and error.job_id == middle.id and value == 1
    with pytest.raises(DependencyFailed) as caught:
        await nodes.app.result(behind.id)
    assert isinstance(caught.value.__cause__, JobCancelled)
    assert await nodes.app.result(middle.id).status() == Status.CANCELLED
    assert nodes.ledger.runs("middle") == nodes.ledger.runs("after") == []


async def ended(graphs: Graphs, ids: list[str]) -> list[str]:
    """The ids of those that have an outcome."""
    found: list[str] = []
    for start in range(0, len(ids), 250):
        some = ids[start : start + 250]
        found += [id for id, state in zip(some, await graphs.status(some), strict=True) if state.outcome]
    return found


async def rests(graphs: Graphs, graph: str) -> None:
    """Wait until no job of the graph is unfinished."""

    async def is_over() -> bool:
        return not await graphs.unfinished(graph, 0, 1)

    await wait_until_async(is_over, description="every job of the graph has ended", timeout=60)
