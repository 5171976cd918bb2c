"""Processes: daemons, their number, their deaths, and how many jobs run at a time (A5, A6, A7)."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from signal import Signals

import psutil
import pytest

import aiotask

from ...helpers import wait_until, wait_until_async
from ...server import PrivateServer
from ...workers import ROOT, Workers, running_workers
from ..ledger import most_at_once
from ..stage import Put, prepared

CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# ---- A5: two worker daemons


async def test_a5_two_worker_daemons_run_every_job_once(stage: Put) -> None:
    calls = stage("calls")
    supervisors = await asyncio.gather(*(asyncio.to_thread(calls.start, 2) for _ in range(2)))
    daemons = {child.pid: n for n, supervisor in enumerate(supervisors) for child in supervisor.children()}
    tasks = [calls.counted, calls.counted_async]
    results = []

    async def both_have_run() -> bool:
        results.extend(tasks[n % 2].apply_async(n) for n in range(1_000))
        assert await aiotask.gather(results[-1_000:]) == list(range(1_000))
        return {daemons[run.pid] for run in calls.ledger.runs()} == {0, 1}

    await wait_until_async(both_have_run, description="both daemons have run some")
    for supervisor in supervisors:
        assert await asyncio.to_thread(supervisor.stop) == 0
    assert calls.ledger.counts() == {result.id: 1 for result in results}


# ---- A6: processes


def test_a6_concurrency_is_the_number_of_worker_processes(stage: Put) -> None:
    calls = stage("calls")
    few, default = calls.start(3, wait=False), calls.start(None, wait=False)
    for supervisor, count in ((few, 3), (default, CPUS)):
        supervisor.wait_for_banner()
        assert f", {count} worker process" in supervisor.log
        # And the keeper.
        wait_until(lambda s=supervisor, n=count: len(s.children()) == n + 1, description="all processes are there")


@pytest.mark.parametrize("number", [Signals.SIGTERM, Signals.SIGINT])
async def test_a6_a_stop_under_load_leaves_no_child(stage: Put, number: Signals) -> None:
    calls = stage("calls")
    supervisor = await asyncio.to_thread(calls.start, 2)
    results = [calls.nap.apply_async(0.3, "nap") for _ in range(10)]
    await calls.app.flush()
    await wait_until_async(lambda: len(calls.ledger.runs()) == 10, description="all have started")
    children = supervisor.session()
    assert len(children) == 3
    assert await asyncio.to_thread(supervisor.stop, number) == 0
    assert not any(child.is_running() for child in children)
    assert supervisor.session() == []
    assert await asyncio.wait_for(asyncio.gather(*results), 60) == [None] * 10


async def test_a6_the_death_of_children_costs_no_call(stage: Put) -> None:
    calls = stage("calls")
    supervisor = await asyncio.to_thread(calls.start, 2)
    results = [calls.counted_async.apply_async(n) for n in range(200)]
    naps = [calls.nap.apply_async(0.2) for _ in range(20)]
    await wait_until_async(lambda: len(calls.ledger.runs()) > 20, description="both are at work")
    victims = {run.pid for run in calls.ledger.runs()}
    for pid in victims:
        psutil.Process(pid).kill()
    assert await asyncio.wait_for(aiotask.gather(results), 60) == list(range(200))
    assert await asyncio.wait_for(aiotask.gather(naps), 60) == [None] * 20
    await wait_until_async(lambda: len(supervisor.children()) == 3, description="the dead were replaced")
    assert not victims & {child.pid for child in supervisor.children()}


def test_a6_a_wrong_app_path_is_one_clear_line(workers: Workers, app_name: str) -> None:
    apps = "tests.acceptance.apps"
    said = {
        f"{apps}.nowhere": f'no module "{apps}.nowhere"',
        "nowhere.at.all": 'no module "nowhere"',
        f"{apps}.calls:ap": 'Did you mean "app"',
        f"{apps}.calls:add": "not an App",
        f"{apps}.empty": "defines no tasks",
        "tests/acceptance/apps/calls.py": f"name the module instead: `{apps}.calls`",
    }
    started = {spec: workers.start(spec, env={"TEST_APP": app_name}, wait=False) for spec in said}
    for spec, supervisor in started.items():
        assert supervisor.wait() > 0
        (line,) = supervisor.log.splitlines()
        assert said[spec] in line


def test_a6_a_module_that_raises_is_named_with_its_own_frames_only(workers: Workers) -> None:
    supervisor = workers.start("tests.acceptance.apps.broken", wait=False)
    assert supervisor.wait() > 0
    assert 'Module "tests.acceptance.apps.broken" raised RuntimeError' in supervisor.log
    assert "broken.py" in supervisor.log
    assert "importlib" not in supervisor.log


async def test_a6_the_app_of_a_module_by_its_name(stage: Put, workers: Workers) -> None:
    calls = stage("calls")
    await asyncio.to_thread(workers.start, f"{calls.module.__name__}:app", env=calls.env)
    assert await calls.add.apply_async(1).wait(60) == 11


def test_a6_a_module_with_nothing_but_registered_tasks(own_server: PrivateServer, tmp_path: Path) -> None:
    # A server of its own: the default app has no name of this test.
    with running_workers(tmp_path, own_server.url) as workers:
        workers.start("tests.acceptance.apps.default_app")
        code = (
            "import asyncio\nfrom tests.acceptance.apps.default_app import double, halve\nimport aiotask\n"
            "app = aiotask.default_app\n"
            "async def main():\n"
            "    print(await app.s('tests.acceptance.apps.default_app:double', 21).apply_async(),\n"
            "          await aiotask.register_task(halve).apply_async(5))\n"
            "asyncio.run(main())\n"
        )
        env = {**os.environ, "AIOTASK_URL": own_server.url}
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60
        )
        assert done.stdout == "42 2.5\n", done.stderr


# ---- A7: how many at a time


async def test_a7_five_naps_at_once_three_at_a_time_one_at_a_time(workers: Workers, tmp_path: Path) -> None:
    stages = {limit: prepared("calls", workers, tmp_path / f"limit-{limit}") for limit in (100, 3, 1)}
    for limit, stage in stages.items():
        stage.start(1, "--max-in-flight", str(limit), wait=False)
    with stages[1].active():
        naps = (stage.nap.apply_async(0.5) for stage in stages.values() for _ in range(5))
        await asyncio.wait_for(asyncio.gather(*naps), 60)
    runs = {limit: stage.ledger.runs() for limit, stage in stages.items()}
    assert {limit: len(seen) for limit, seen in runs.items()} == {100: 5, 3: 5, 1: 5}
    assert {limit: most_at_once(seen) for limit, seen in runs.items()} == {100: 5, 3: 3, 1: 1}


async def test_a7_a_slot_is_free_again_however_a_job_ends(stage: Put) -> None:
    calls = stage("calls")
    await asyncio.to_thread(calls.start, 1, "--max-in-flight", "1")
    for task in (calls.sell_async, calls.lock_async, calls.cancel_itself):
        args = ("tea",) if task is calls.sell_async else ()
        for _ in range(3):
            with pytest.raises(Exception, match=r".+"):
                await task.apply_async(*args).wait(60)
    assert await calls.add_async.apply_async(1).wait(60) == 11
