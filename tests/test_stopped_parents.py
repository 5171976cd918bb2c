"""Workers that stop or die while a job waits for jobs that it has sent: each of those is run once, and none is lost."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from .acceptance.stage import Stage, staged
from .helpers import wait_until, wait_until_async
from .workers import Supervisor, Workers

#: Seconds of grace that no test waits for.
LONG = "600s"


@pytest.fixture
def stage(workers: Workers, tmp_path: Path) -> Iterator[Stage]:
    with staged("parents", workers, tmp_path / "ledger") as stage:
        yield stage


def labels(stage: Stage) -> list[str]:
    return [run.label for run in stage.ledger.runs()]


def count(stage: Stage, label: str) -> int:
    return sum(each == label or each.startswith(f"{label} ") for each in labels(stage))


async def stop_at_once(
    stage: Stage, supervisor: Supervisor, running: int, number: signal.Signals = signal.SIGTERM
) -> None:
    """A stop in whose grace those that wait went back, and the ``running`` jobs came to their ends."""
    supervisor.signal(number)
    wait_until(lambda: "only wait" in supervisor.log, description="the job that waits has gone back")
    async with stage.app.inspector() as inspector:

        async def only_these_are_claimed() -> bool:
            return sum(queue.running for queue in await inspector.queues()) == running

        # Each process hears of the stop for itself, and starts what it has claimed until then.
        await wait_until_async(only_these_are_claimed, description="every process has given back what has not started")
    stage.open_gate()
    assert supervisor.wait(timeout=40) == 0
    assert "did not end within" not in supervisor.log


@pytest.mark.parametrize("processes", [1, 4])
async def test_a_stop_waits_for_no_parent_and_each_child_runs_once(stage: Stage, processes: int) -> None:
    supervisor = stage.start(processes, "--grace", LONG)
    result = stage.parent.apply_async(20)
    await result.sent()
    wait_until(lambda: count(stage, "child") == processes, description="a child in each process")
    await stop_at_once(stage, supervisor, processes, signal.SIGINT)
    assert await result.status() == "PENDING"
    assert sum(run.end is not None for run in stage.ledger.runs()) == processes + 1, "children that ran, and the parent"

    stage.start(processes, "--grace", LONG)

    assert await result == sum(n * n for n in range(20))
    assert sorted(labels(stage)) == sorted(["parent", "parent", *(f"child {n}" for n in range(20))])
    assert {run.attempt for run in stage.ledger.runs("parent")} == {1}, "no retry was spent"


async def test_a_reload_gives_a_parent_to_the_new_process(stage: Stage) -> None:
    supervisor = stage.start(1, "--grace", LONG)
    result = stage.parent.apply_async(5)
    await result.sent()
    wait_until(lambda: count(stage, "child") == 1, description="a child runs")
    supervisor.signal(signal.SIGHUP)
    wait_until(lambda: "1 job is requeued: it only waits" in supervisor.log, description="the parent has gone back")
    stage.open_gate()
    assert await result == sum(n * n for n in range(5))
    assert sorted(labels(stage)) == sorted(["parent", "parent", *(f"child {n}" for n in range(5))])


async def test_a_grandparent_and_its_children_go_back_together(stage: Stage) -> None:
    supervisor = stage.start(1, "--grace", LONG)
    result = stage.grandparent.apply_async(3, 4)
    await result.sent()
    wait_until(lambda: count(stage, "parent") == 3 and count(stage, "child") == 1, description="all of them wait")
    await stop_at_once(stage, supervisor, 1)

    stage.start(2, "--grace", LONG)

    assert await result == 3 * sum(n * n for n in range(4))
    assert count(stage, "child") == 12
    assert (count(stage, "parent"), count(stage, "grandparent")) == (6, 2)


async def test_who_waits_for_a_job_that_runs_here_is_not_given_back(stage: Stage) -> None:
    supervisor = stage.start(1, "--grace", LONG)
    result = stage.for_a_running_one.apply_async()
    await result.sent()
    wait_until(lambda: count(stage, "child") == 1, description="the child runs")
    supervisor.signal(signal.SIGTERM)
    wait_until(lambda: "no more jobs are claimed" in supervisor.log, description="it stops")
    stage.open_gate()
    assert supervisor.wait(timeout=40) == 0
    assert "only waits" not in supervisor.log
    assert await result == 9
    assert sorted(labels(stage)) == ["child 3", "parent"]


@pytest.mark.parametrize("victim", ["worker", "service"])
async def test_a_kill_doubles_no_child_but_those_that_ran(stage: Stage, victim: str) -> None:
    supervisor = stage.start(1)
    result = stage.at_the_first_gate.apply_async(6)
    await result.sent()
    stage.open_gate("first")
    wait_until(lambda: count(stage, "child") == 12, description="the second half runs")
    before = {run.token for run in stage.ledger.runs()}
    if victim == "worker":
        [pid] = {run.pid for run in stage.ledger.runs()}
        os.kill(pid, signal.SIGKILL)
    else:
        for process in [*supervisor.children(), *supervisor.session()]:
            with contextlib.suppress(psutil.NoSuchProcess):  # its parent is dead, and took it along
                process.kill()
        supervisor.signal(signal.SIGKILL)
        supervisor.wait()
        stage.start(1)
    wait_until(lambda: len(stage.ledger.runs()) > len(before), description="something runs again")
    stage.open_gate("second")

    assert await result == [*(n * n for n in range(12)), 1]

    again = sorted(run.label for run in stage.ledger.runs() if run.token not in before)
    assert again == sorted(["parent", *(f"child {n}" for n in range(6, 12))]), "the first half had ended"
    assert max(stage.ledger.counts().values()) == 2
    assert len(stage.ledger.counts()) == 13, "all of them under the ids that they had"


async def test_what_a_fork_of_a_job_sends_is_not_taken_for_what_the_job_sends(stage: Stage) -> None:
    stage.start(1)
    own, forked = await stage.ids_here_and_in_a_fork.apply_async()
    assert own.startswith("00child-") and not forked.startswith("00child-")
