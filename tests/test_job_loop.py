"""The event loop of a worker process, and what jobs do to it: their own end is theirs, and neighbours go on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from aiotask.errors import RemoteError

from .acceptance.stage import Stage, staged
from .helpers import wait_until_async
from .workers import running_workers


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Stage]:
    """One process that all tests share: its pid shows whether it has outlived them."""
    directory: Path = tmp_path_factory.mktemp("job-loop")
    with (
        running_workers(directory / "workers", redis_url) as workers,
        staged("invasive", workers, directory / "ledger") as stage,
    ):
        stage.start(1)
        yield stage


@pytest.fixture(autouse=True)
def _logs(worker_logs: None) -> None:
    """What the workers said is shown with every failure."""


async def started(stage: Stage, label: str) -> None:
    await wait_until_async(lambda: stage.ledger.runs(label), description=f"{label} has started")


@pytest.mark.parametrize(
    ("name", "error", "text"),
    [
        ("gathers_what_exits", RemoteError, "SystemExit: 3"),
        ("groups_what_exits", RemoteError, "SystemExit: 3"),
        ("awaits_what_is_interrupted", RemoteError, "KeyboardInterrupt"),
        ("stops_the_loop", RuntimeError, r"cannot call stop\(\) on the event loop"),
        ("closes_the_loop", RuntimeError, "Cannot close a running event loop"),
        ("runs_a_loop_inside", RuntimeError, "cannot be called from a running event loop"),
        ("shuts_the_executor_down", RuntimeError, r"cannot call shutdown_default_executor\(\)"),
    ],
)
async def test_a_job_that_ends_the_loop_fails_alone_and_says_why(
    stage: Stage, name: str, error: type[Exception], text: str
) -> None:
    before = await stage.pid.apply_async()
    neighbour = stage.anap.apply_async(0.5, f"beside {name}")
    await started(stage, f"beside {name}")

    with pytest.raises(error, match=text):
        await getattr(stage, name).apply_async()

    assert await neighbour == f"beside {name}"
    assert await stage.pid.apply_async() == before
    assert len(stage.ledger.runs(f"beside {name}")) == 1


async def test_an_exit_that_no_job_awaits_is_said_and_ends_nothing(stage: Stage) -> None:
    before = await stage.pid.apply_async()

    assert await stage.leaves_what_exits.apply_async() == "went on"

    assert await stage.pid.apply_async() == before
    log = stage.workers.all[0].log_path
    await wait_until_async(lambda: "raised SystemExit(5)" in log.read_text(), description="the exit is in the log")


async def test_a_job_that_cancels_all_other_tasks_finds_only_its_own(stage: Stage) -> None:
    neighbour = stage.anap.apply_async(0.5, "beside cancels")
    await started(stage, "beside cancels")

    assert await stage.cancels_all_others.apply_async() == 1

    assert await neighbour == "beside cancels"
    assert await stage.aecho.apply_async(1) == 1


@pytest.mark.parametrize(("end", "code"), [("exit", 7), ("raise", 1), ("return", 0), ("wait", 1)])
async def test_the_end_of_a_process_that_an_async_job_forks_is_its_own(stage: Stage, end: str, code: int) -> None:
    neighbour = stage.anap.apply_async(0.3, f"beside fork {end}")
    await started(stage, f"beside fork {end}")

    assert await stage.forks.apply_async(end) == ("parent", code)

    assert await neighbour == f"beside fork {end}"
    assert len(stage.ledger.runs(f"beside fork {end}")) == 1
    assert [await stage.aecho.apply_async(n) for n in range(3)] == [0, 1, 2]


@pytest.mark.parametrize(("end", "code"), [("exit", 7), ("raise", 1), ("return", 0)])
async def test_the_end_of_a_process_that_a_sync_job_forks_is_its_own(stage: Stage, end: str, code: int) -> None:
    assert await stage.sync_forks.apply_async(end) == ("parent", code)
    assert await stage.echo.apply_async(1) == 1


@pytest.mark.parametrize(("end", "code"), [("exit", 7), ("raise", 1), ("return", 0)])
@pytest.mark.parametrize("place", ["child task", "callback", "thread", "executor"])
async def test_so_is_that_of_a_process_that_other_code_of_the_job_forks(
    stage: Stage, place: str, end: str, code: int
) -> None:
    assert await stage.forks_elsewhere.apply_async(place, end) == ("parent", code)
    assert await stage.aecho.apply_async(1) == 1


async def test_a_process_that_a_thread_forks_without_any_code_ends_at_once(stage: Stage) -> None:
    assert await stage.forks_elsewhere.apply_async("fork itself", "return") == ("parent", 0)


@pytest.mark.parametrize(("end", "code"), [("exit", 7), ("raise", 1), ("return", 0)])
async def test_a_process_that_a_thread_of_a_sync_job_forks_ends_with_its_code(
    stage: Stage, end: str, code: int
) -> None:
    assert await stage.sync_forks_in_a_thread.apply_async(end) == ("parent", code)


async def test_the_error_that_ends_a_forked_process_is_said_with_its_place(stage: Stage) -> None:
    await stage.forks_elsewhere.apply_async("child task", "raise")

    log = stage.workers.all[0].log_path
    await wait_until_async(
        lambda: "ValueError: in the child of forking" in log.read_text(), description="the error is in the log"
    )
    assert "in _forked" in log.read_text()


async def test_async_jobs_run_whatever_task_factory_a_job_has_set(stage: Stage) -> None:
    await stage.sets_a_task_factory.apply_async()

    for _ in range(3):
        assert [await stage.aecho.apply_async(n) for n in range(5)] == [0, 1, 2, 3, 4]
    assert await stage.anap.apply_async(0.01, "after the factory") == "after the factory"
    assert await stage.echo.apply_async(1) == 1
