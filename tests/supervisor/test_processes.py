"""What tasks do to processes, and what deaths leave behind."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import redis

from ..acceptance.stage import Stage
from ..helpers import wait_until, wait_until_async
from ..workers import take_terminal
from .seen import NEVER, live_workers, started


async def test_a_task_may_use_multiprocessing_and_programs(stage: Stage) -> None:
    supervisor = stage.start(1)
    before = await stage.pid.apply_async()
    for method in ("fork", "spawn"):
        assert await stage.multiprocess.apply_async(method) == [1, 2, 3]
    assert await stage.interrupts_a_program.apply_async() == -signal.SIGINT
    assert await stage.read_the_terminal.apply_async() == ""
    assert await stage.forget_to_exit.apply_async() == "parent"
    # The signals that ended those were not the worker's.
    assert await stage.pid.apply_async() == before
    assert len(stage.ledger.runs()) == 0
    assert supervisor.stop() == 0


async def test_orphans_of_tasks_are_reaped(stage: Stage) -> None:
    supervisor = stage.start(1)
    worker = await stage.pid.apply_async()
    orphans = await stage.start_orphans.apply_async(10)
    assert len(set(orphans)) == 10
    await wait_until_async(
        lambda: not any(psutil.pid_exists(pid) for pid in orphans), description="all have ended and none is a zombie"
    )
    assert await stage.pid.apply_async() == worker
    assert supervisor.stop() == 0


async def test_a_worker_that_finds_its_host_dead_ends_the_others_too(stage: Stage) -> None:
    """They may have no room to ask for more, and would hear of it only when jobs end that run elsewhere by then."""
    supervisor = stage.start(1, "--max-in-flight", "1")
    stage.anap.apply_async(NEVER, "async")
    stage.nap.apply_async(NEVER, "sync")
    full = await started(stage, "async")
    assert await started(stage, "sync") == full
    supervisor.signal(signal.SIGTTIN)
    both = await live_workers(stage.app, 2)
    with redis.Redis.from_url(stage.app.url) as server:
        key = f"aiotask1:{{{stage.app.name}}}:live"
        dead = [name for name in server.hgetall(key) if name]
        server.hdel(key, *dead)

    # The read in which the other one blocked may still have brought it that job, which then went with it.
    await wait_until_async(
        lambda: {run.pid for run in stage.ledger.runs("async")} - both, description="async has started in a new process"
    )
    assert not any(psutil.pid_exists(pid) for pid in both)
    assert not await live_workers(stage.app, 2, without=both) & both
    assert "This host was declared dead" in supervisor.log
    supervisor.signal(signal.SIGTERM)
    wait_until(lambda: "Stopping" in supervisor.log, description="the first one is heard")
    assert supervisor.stop() == 0


async def test_fifty_deaths_leave_nothing_behind_in_the_supervisor(stage: Stage) -> None:
    supervisor = stage.start(4)
    process = psutil.Process(supervisor.pid)
    pids = await live_workers(stage.app, 4)
    descriptors, memory = process.num_fds(), process.memory_info().rss
    for _ in range(13):
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        pids = await live_workers(stage.app, 4, without=pids)
    assert process.num_fds() == descriptors
    assert process.memory_info().rss < memory + 4_000_000
    assert supervisor.stop() == 0


def test_a_worker_whose_terminal_is_closed_drains_and_stops(tmp_path: Path, redis_url: str, app_name: str) -> None:
    log = tmp_path / "log"
    ours, theirs = pty.openpty()
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "aiotask_cli", "worker", "tests.acceptance.apps.life", "-c", "1"],
            stdin=theirs,
            stdout=theirs,
            stderr=errors,
            start_new_session=True,
            preexec_fn=lambda: take_terminal(theirs),
            env={**os.environ, "AIOTASK_URL": redis_url, "TEST_APP": app_name, "TEST_LEDGER": str(tmp_path)},
        )
    os.close(theirs)
    try:
        wait_until(lambda: "worker process" in log.read_text(), description="the worker is up")

        os.close(ours)

        assert process.wait(30) == 0, log.read_text()
        assert "The terminal was closed." in log.read_text()
    finally:
        process.kill()
        process.wait()
