"""G18: a task returns calls that have not been sent; the job has their value, even if processes die meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from aiotask import ConfigError, Status

from ...helpers import wait_until_async
from ...server import PrivateServer
from ...workers import running_workers
from ..stage import Stage, staged


async def test_g18_a_returned_call_is_the_value_of_the_job(nodes: Stage) -> None:
    nodes.start(2)

    assert await nodes.fib.apply_async(9) == 34
    assert await nodes.sync_fib.apply_async(7) == 13
    assert await nodes.squares.apply_async(4) == {"squares": [0, 1, 4, 9], "count": 4}
    assert await nodes.squares.apply_async(0) == {"squares": [], "count": 0}

    runs = nodes.ledger.counts()
    assert set(runs.values()) == {1}


async def test_g18_a_node_returns_calls_and_what_is_downstream_takes_their_value(nodes: Stage) -> None:
    nodes.start(2)
    call = nodes.add.s(nodes.fib.s(6).cast, nodes.sync_fib.s(4).cast)

    assert await nodes.give.s([call.cast, nodes.squares.s(3).cast]).apply_async() == [
        11,
        {"squares": [0, 1, 4], "count": 3},
    ]


async def test_g18_a_task_under_at_most_once_returns_calls_too(nodes: Stage) -> None:
    nodes.start(1)

    assert await nodes.return_once.apply_async("value") == "value"
    assert await nodes.return_once.s(nodes.give.s("from upstream").cast).apply_async() == "from upstream"
    assert len(nodes.ledger.runs("returns")) == 2


async def test_g18_the_error_of_a_returned_call_is_that_of_the_job(nodes: Stage) -> None:
    nodes.start(1)
    result = nodes.return_boom.apply_async()

    with pytest.raises(KeyError, match="boom") as caught:
        await result
    assert any("raise KeyError(label)" in note for note in caught.value.__notes__)
    assert await result.status() == Status.FAILED
    assert len(nodes.ledger.runs("returns")) == len(nodes.ledger.runs("boom")) == 1


async def test_g18_what_cannot_be_sent_is_an_error_of_the_task(nodes: Stage) -> None:
    nodes.start(1)

    with pytest.raises(ConfigError, match="was sent already"):
        await nodes.return_what_was_sent.options(retries=0).apply_async()


async def test_g18_the_status_of_a_job_that_waits_for_what_it_has_returned(nodes: Stage) -> None:
    supervisor = nodes.start(1)
    result = nodes.return_at_the_gate.apply_async("value")
    await waits(nodes, result.id)

    await wait_until_async(
        lambda: f"⋯ {nodes.return_at_the_gate.name} {result.id} waits" in supervisor.log, description="the log says so"
    )
    nodes.open_gate()
    assert await result == "value"
    assert await result.status() == Status.SUCCESS
    await wait_until_async(
        lambda: f"■ {nodes.return_at_the_gate.name} {result.id}" in supervisor.log, description="the log has its end"
    )


async def test_g18_the_process_dies_right_after_the_broker_has_accepted_the_calls(nodes: Stage) -> None:
    supervisor = nodes.start(1)
    result = nodes.return_at_the_gate.apply_async("value")
    await waits(nodes, result.id)

    worker_of(nodes).kill()
    nodes.open_gate()

    async with asyncio.timeout(60):
        assert await result == "value"
    assert len(nodes.ledger.runs("returns")) == 1
    assert supervisor.stop() == 0


@pytest.fixture
def on_its_own_server(own_server: PrivateServer, tmp_path: Path) -> Iterator[Stage]:
    with (
        running_workers(tmp_path / "workers", own_server.url) as workers,
        staged("nodes", workers, tmp_path / "ledger", own_server.url) as stage,
    ):
        yield stage


async def test_g18_the_process_dies_between_two_parts_of_what_a_job_has_returned(
    on_its_own_server: Stage, own_server: PrivateServer
) -> None:
    nodes = on_its_own_server
    supervisor = nodes.start(1)
    count = 3_000
    assert await nodes.give.apply_async("warm") == "warm"

    # A server that has room for some parts of it, and not for all.
    used = own_server.call("INFO", "memory")["used_memory"]
    own_server.call("CONFIG", "SET", "maxmemory", used + 900_000)
    result = nodes.return_many.apply_async(count)
    graph = f"aiotask1:{{{nodes.app.name}}}:g:{result.id}"
    await wait_until_async(
        lambda: "The broker refused the jobs that a job has returned" in supervisor.log,
        description="a part is refused",
    )
    assert own_server.call("HLEN", graph) > 100
    assert await result.status() == Status.RUNNING
    worker_of(nodes).kill()
    own_server.call("CONFIG", "SET", "maxmemory", 0)

    async with asyncio.timeout(100):
        assert await result == list(range(count))
    assert len(nodes.ledger.runs("returns")) == 2
    children = [run.label for run in nodes.ledger.runs() if str(run.label).startswith("child")]
    assert len(children) == len(set(children)) == count


async def test_g18_a_worker_that_drains_hands_over_what_was_returned(nodes: Stage) -> None:
    first = nodes.start(1)
    result = nodes.return_many.apply_async(2_000)
    await wait_until_async(lambda: nodes.ledger.ended("returns"), description="the run has ended")
    assert first.stop() == 0
    nodes.start(1)

    async with asyncio.timeout(100):
        assert await result == list(range(2_000))


async def waits(nodes: Stage, id: str) -> None:
    async def is_waiting() -> bool:
        return await nodes.app.result(id).status() == Status.WAITING

    await wait_until_async(is_waiting, description="the job waits")


def worker_of(nodes: Stage) -> psutil.Process:
    """The process of the latest run."""
    return psutil.Process(nodes.ledger.runs()[-1].pid)
