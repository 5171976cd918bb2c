"""Old processes: those that have nothing left to do end soon, and where there is no place for more that is said."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from .acceptance.stage import Stage, staged
from .helpers import wait_until, wait_until_async
from .workers import Workers


@pytest.fixture
def stage(workers: Workers, tmp_path: Path) -> Iterator[Stage]:
    with staged("operated", workers, tmp_path / "ledger") as stage:
        yield stage


#: What a job left behind, and how that is named.
LEFT = {
    (
        "leave_in_the_loop",
        "to_thread",
    ): r"the task to_thread \(asyncio/threads\.py:\d+\)",
    ("leave_in_the_loop", "stubborn"): r"the task _stubborn \(apps/operated\.py:\d+\)",
    ("leave_in_the_loop", "cleanup"): r"the task _slow_cleanup \(apps/operated\.py:\d+\)",
    ("leave_in_the_process", "processes"): r"the process (?:Fork|Spawn|ForkServer)?Process-\d+ \(pid \d+\)",
    (
        "leave_in_the_process",
        "atexit",
    ): r"or an atexit function that does not return\.\n.* The stacks of ",
}


@pytest.mark.parametrize("how", LEFT, ids=" ".join)
async def test_a_stop_does_not_wait_for_what_jobs_left_behind(stage: Stage, how: tuple[str, str]) -> None:
    supervisor = stage.start(1, "--grace", "600")
    task, kind = how
    pid = await getattr(stage, task).apply_async(kind)
    family = psutil.Process(pid).children(recursive=True)
    # Well below the grace time.
    assert supervisor.stop(timeout=60) == 0
    said = f"worker-1 (pid {pid}) has no job left, but did not end within 2.0 s; it is killed."
    assert said in supervisor.log
    assert re.search(LEFT[how], supervisor.log)
    assert "ended by" not in supervisor.log and supervisor.session() == []
    assert not any(process.is_running() for process in family)


async def test_a_stop_does_not_wait_for_code_that_blocks_the_loop_outside_of_jobs(stage: Stage) -> None:
    supervisor = stage.start(1, "--grace", "600", "--blocked-loop", "0.2")
    await stage.leave_in_the_loop.apply_async("block")
    wait_until(lambda: "Code outside the jobs has blocked" in supervisor.log, description="it blocks")
    assert supervisor.stop(timeout=60) == 0
    assert "has no job left, but code that jobs left behind blocks its event loop; it is killed." in supervisor.log


async def test_a_stop_waits_for_jobs_whatever_others_left_behind(stage: Stage) -> None:
    supervisor = stage.start(1)
    await stage.leave_in_the_loop.apply_async("stubborn")
    job = stage.nap.apply_async(4.0)
    await wait_until_async(lambda: stage.ledger.runs("nap"), description="it runs")
    assert supervisor.stop() == 0
    assert await job == 1 and len(stage.ledger.runs("nap")) == 1


@pytest.mark.parametrize(
    "kind",
    [
        "to_thread",
        pytest.param("cleanup", marks=pytest.mark.full_only("either leaves a task in the loop of a process")),
    ],
)
async def test_processes_that_are_recycled_go_whatever_jobs_left_behind(stage: Stage, kind: str) -> None:
    supervisor = stage.start(1, "--max-jobs-per-child", "1")
    # More than there are places.
    pids: set[int] = set()
    while len(pids) <= 20:
        pids.add(await stage.leave_in_the_loop.apply_async(kind))
    wait_until(lambda: len(supervisor.children()) <= 3, description="the old ones have gone", timeout=60)
    assert "No place is left" not in supervisor.log


async def test_a_burst_ends_whatever_jobs_left_behind(stage: Stage) -> None:
    result = stage.leave_in_the_loop.apply_async("stubborn")
    await result.sent()
    supervisor = stage.start(1, "--burst", wait=False)
    assert supervisor.wait() == 0
    await result


async def test_that_no_place_is_left_is_said_and_passes(stage: Stage) -> None:
    supervisor = stage.start(1)

    def holds(count: int) -> bool:
        return len(stage.ledger.runs("holds")) == count

    async with stage.app:
        jobs = []
        for count in range(1, 19):
            jobs.append(stage.nap.apply_async(600.0, "holds"))
            await wait_until_async(lambda count=count: holds(count), description=f"{count} jobs are held")  # type: ignore[misc]
            supervisor.signal(signal.SIGHUP)
        said = "No place is left for another process: 17 old processes still run their last jobs ("
        wait_until(lambda: said in supervisor.log, description="that is said")
        assert supervisor.log.count("No place is left") == 1
        waiting = stage.echo.apply_async(1)
        # One of the old ones ends: the replacement goes on.
        (pid, *_) = [run.pid for run in stage.ledger.runs("holds")]
        await jobs[0].cancel()
        wait_until(lambda: not psutil.pid_exists(pid), description="the oldest one has gone")
        assert await waiting == 1
        for job in jobs[1:]:
            await job.cancel()
    assert supervisor.stop() == 0


# ---- processes that are too large at once


async def test_a_limit_below_the_size_of_the_app_keeps_it_in_service(workers: Workers, tmp_path: Path) -> None:
    app = tmp_path / "large_app.py"
    app.write_text(
        "import os\nfrom aiotask import App\napp = App(os.environ['TEST_APP'])\n"
        "held = os.urandom(1) * 80_000_000\n"
        "@app.task\ndef pid():\n    return os.getpid()\n"
    )
    from aiotask import App

    name = f"large-{tmp_path.name}-{id(app)}"
    env = {"TEST_APP": name}
    supervisor = workers.start("large_app", env=env, app_dir=tmp_path, options=("--max-memory-per-child", "60MB"))
    client = App(name, url=workers.url)
    pids = {await client.s("large_app:pid").apply_async() for _ in range(50)}
    assert len(pids) == 1
    assert re.search(
        r"The app alone takes 1\d\d MB, which is more than --max-memory-per-child \(63 MB\): worker-1 \(pid \d+\) is "
        r"kept running whatever its size\. Raise the limit\.",
        supervisor.log,
    )
    assert "is replaced" not in supervisor.log


async def test_processes_that_grow_at_once_are_replaced_more_and_more_rarely(stage: Stage) -> None:
    supervisor = stage.start(1, "--max-memory-per-child", "120MB")
    pids = []
    while supervisor.log.count("This process is being replaced") < 4:
        pids.append(await stage.grow.apply_async(100_000_000) if len(pids) % 50 == 0 else await stage.pid.apply_async())
    count = len(set(pids))
    pids = [await stage.grow.apply_async(20_000_000) for _ in range(20)]
    assert len(set(pids)) <= count + 2
    assert supervisor.log.count("when it grew past --max-memory-per-child (126 MB): the app alone takes") == 1


def test_a_limit_that_no_process_keeps_is_refused(stage: Stage) -> None:
    supervisor = stage.start(1, "--max-memory-per-child", "10", wait=False)
    assert supervisor.wait() == 2
    assert re.search(
        r"error: --max-memory-per-child 10 \(bytes\) is less than a worker process takes before it loads an app "
        r"\(\d+ MB\)\.",
        supervisor.log,
    )
    assert supervisor.session() == []
