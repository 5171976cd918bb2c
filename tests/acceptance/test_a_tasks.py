"""A. The task is a normal typed function."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from signal import Signals
from typing import Any

import numpy
import psutil
import pytest

import aiotask
from aiotask import (
    App,
    ConfigError,
    JobCancelled,
    RemoteError,
    ResultTimeout,
    SerializationError,
    Status,
    WorkerLost,
)
from aiotask.worker.verdict import MAX_DEATHS

from ..helpers import wait_until, wait_until_async
from ..server import PrivateServer
from ..workers import ROOT, Workers, running_workers
from .ledger import most_at_once
from .stage import Stage, prepared

Put = Callable[[str], Stage]
CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@pytest.fixture(scope="module")
def shared(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, Stage]]:
    """The app of ordinary calls, once with two worker processes and once with one, for tests that hurt nobody."""
    directory = tmp_path_factory.mktemp("calls")
    with running_workers(directory, redis_url) as workers:
        stages = {count: prepared("calls", workers, directory / f"ledger-{count}") for count in (2, 1)}
        started = [stage.start(count, wait=False) for count, stage in stages.items()]
        for supervisor in started:
            supervisor.wait_for_banner()
        yield stages


@pytest.fixture
def calls(shared: dict[int, Stage]) -> Iterator[Stage]:
    """Two worker processes."""
    with shared[2].active():
        yield shared[2]


@pytest.fixture
def alone(shared: dict[int, Stage]) -> Iterator[Stage]:
    """One worker process."""
    with shared[1].active():
        yield shared[1]


# ---- A1: the same value, for every caller


@pytest.mark.parametrize("name", ["add", "add_async"])
async def test_a1_a_sent_call_returns_what_a_direct_call_does(calls: Stage, name: str) -> None:
    task = getattr(calls, name)
    for args, kwargs in (((42,), {}), ((42, 1), {}), ((), {"a": 42}), ((42,), {"b": 5}), ((), {"b": 1, "a": 2})):
        direct = task(*args, **kwargs)
        assert (await direct if name.endswith("async") else direct) == await task.apply_async(*args, **kwargs)


@pytest.mark.parametrize("name", ["describe", "describe_async"])
async def test_a1_every_kind_of_argument_arrives_as_it_was_given(calls: Stage, name: str) -> None:
    value = await getattr(calls, name).apply_async(1, [2, [3]], 4, 5, flag=True, deep={"a": [None]})
    assert value == {"first": 1, "second": [2, [3]], "rest": (4, 5), "flag": True, "more": {"deep": {"a": [None]}}}
    assert await getattr(calls, name).apply_async(None) == {
        "first": None,
        "second": "two",
        "rest": (),
        "flag": False,
        "more": {},
    }


@pytest.mark.parametrize("name", ["total", "total_async"])
async def test_a1_a_list_is_one_argument(calls: Stage, name: str) -> None:
    assert await getattr(calls, name).apply_async([1, 2, 3]) == 6
    assert await getattr(calls, name).apply_async(numbers=list(range(10_000))) == 49_995_000


async def test_a1_a_thousand_at_once_each_get_their_own(calls: Stage) -> None:
    tasks = [calls.add, calls.add_async]
    results = [tasks[n % 2].apply_async(n, b=1) for n in range(1_000)]
    assert len({result.id for result in results}) == 1_000
    assert await asyncio.gather(*results) == list(range(1, 1_001))
    again = [tasks[n % 2].apply_async(n) for n in range(1_000)]
    assert await aiotask.gather(again) == list(range(10, 1_010))


async def test_a1_callers_that_await_out_of_order_and_twice_get_their_own(calls: Stage) -> None:
    results = [calls.add_async.apply_async(n, 0) for n in range(100)]
    assert [await result for result in reversed(results)] == list(reversed(range(100)))
    assert [await result for result in results] == list(range(100))


def test_a1_threads_without_a_loop_each_get_their_own(calls: Stage) -> None:
    got: dict[int, list[int]] = {}

    def call(thread: int) -> None:
        results = [calls.add.apply_async(thread, 100 * n) for n in range(25)]
        got[thread] = [result.get(timeout=60) for result in results]

    threads = [threading.Thread(target=call, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == {thread: [thread + 100 * n for n in range(25)] for thread in range(8)}


def test_a1_one_loop_after_another(calls: Stage) -> None:
    async def call(n: int) -> int:
        value: int = await calls.add.apply_async(n, n)
        return value

    assert [asyncio.run(call(n)) for n in range(5)] == [0, 2, 4, 6, 8]


async def test_a1_several_apps_of_one_name_in_one_process_each_get_their_own(calls: Stage) -> None:
    apps = [App(calls.app.name) for _ in range(3)]
    results = [app.s(f"{calls.name}:add", n, m).apply_async() for n, app in enumerate(apps) for m in range(10)]
    assert await asyncio.wait_for(asyncio.gather(*results), 60) == [n + m for n in range(3) for m in range(10)]


async def test_a1_an_argument_is_sent_as_it_was_at_the_call(calls: Stage) -> None:
    numbers = [1, 2, 3]
    result = calls.total.apply_async(numbers)
    numbers.append(1_000)
    assert await result == 6


# ---- A2: the task's own exception


@pytest.mark.parametrize(("name", "left"), [("sell", 3), ("sell_async", 0)])
async def test_a2_the_own_exception_class_comes_with_the_remote_traceback(calls: Stage, name: str, left: int) -> None:
    with pytest.raises(calls.OutOfStock, match=f"only {left} of tea") as caught:
        await getattr(calls, name).apply_async("tea")
    error: Any = caught.value
    assert type(error) is calls.OutOfStock
    assert (error.article, error.left) == ("tea", left)
    (note,) = error.__notes__
    assert f"in {name}\n" in note
    assert "raise OutOfStock(article" in note
    assert "calls.py" in note


async def test_a2_the_remote_traceback_shows_the_cause(calls: Stage) -> None:
    with pytest.raises(calls.OutOfStock) as caught:
        await calls.sell_async.apply_async("tea")
    assert "KeyError: 'tea'" in caught.value.__notes__[0]
    assert "direct cause" in caught.value.__notes__[0]


async def test_a2_every_await_raises_a_fresh_copy(calls: Stage) -> None:
    result = calls.sell.apply_async("tea")
    caught = []
    for _ in range(3):
        with pytest.raises(calls.OutOfStock) as info:
            await result
        caught.append(info.value)
    assert len({id(error) for error in caught}) == 3
    assert [len(error.__notes__) for error in caught] == [1, 1, 1]
    # A traceback that had grown with every raise would be longer the third time.
    assert len({len(list(_frames(error))) for error in caught}) == 1


def _frames(error: BaseException) -> Iterator[Any]:
    trace = error.__traceback__
    while trace is not None:
        yield trace
        trace = trace.tb_next


async def test_a2_what_cannot_travel_as_itself_is_a_remote_error_with_its_name(calls: Stage) -> None:
    for task, kind in (
        (calls.stubborn, f"{calls.module.__name__}.Stubborn"),
        (calls.raise_with_lock, "builtins.RuntimeError"),
        (calls.leave, "builtins.SystemExit"),
        (calls.stop_iteration, "builtins.StopIteration"),
    ):
        with pytest.raises(RemoteError, match=kind.rpartition(".")[2]) as caught:
            await task.apply_async()
        assert caught.value.type == kind
        assert f"in {task.name.rpartition(':')[2]}\n" in caught.value.__notes__[0]


async def test_a2_cancelled_error_never_ends_the_callers_own_task(calls: Stage) -> None:
    with pytest.raises(JobCancelled):
        await calls.cancel_itself.apply_async()
    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.TaskGroup() as group:
            group.create_task(calls.cancel_itself.apply_async().wait())
    assert isinstance(caught.value.exceptions[0], JobCancelled)


def test_a2_code_without_a_loop_gets_the_same_exception(calls: Stage) -> None:
    with pytest.raises(calls.OutOfStock, match="only 3 of tea") as caught:
        calls.sell.apply_async("tea").get(timeout=60)
    assert "in sell\n" in caught.value.__notes__[0]


# ---- A3: wrong arguments


async def test_a3_wrong_arguments_raise_before_anything_is_sent(stage: Put) -> None:
    calls = stage("calls")
    for args, kwargs in (((), {}), ((1, 2, 3), {}), ((1,), {"c": 1}), ((1,), {"a": 1})):
        with pytest.raises(TypeError, match=r'Task ".*:add"'):
            calls.add.apply_async(*args, **kwargs)
        with pytest.raises(TypeError):
            calls.add_async.apply_async(*args, **kwargs)
        with pytest.raises(TypeError):
            calls.add.s(*args, **kwargs)
    with pytest.raises(TypeError, match=r"options\(queue=…"):
        calls.add.apply_async(args=(1,), kwargs={"b": 2})
    with pytest.raises(SerializationError, match='argument "value"'):
        calls.echo.apply_async(threading.Lock())
    with pytest.raises(ConfigError, match='Did you mean "retries"'):
        calls.add.options(retires=3)
    async with calls.app.inspector() as inspector:
        await calls.app.flush()
        assert await inspector.jobs() == []
        assert await inspector.queues() == []


# ---- A4: nothing hangs, nothing is missed


async def test_a4_a_job_sent_while_no_worker_runs_waits_and_then_runs(stage: Put) -> None:
    calls = stage("calls")
    results = [calls.add.apply_async(1), calls.add_async.apply_async(2)]
    waiting = asyncio.gather(*results)
    await calls.app.flush()
    assert [await result.status() for result in results] == [Status.PENDING, Status.PENDING]
    with pytest.raises(ResultTimeout, match="The job goes on"):
        await results[0].wait(timeout=0.05)
    assert not waiting.done()
    await asyncio.to_thread(calls.start)
    assert await asyncio.wait_for(waiting, 60) == [11, 12]


async def test_a4_a_job_sent_by_a_process_that_has_ended_runs_too(stage: Put) -> None:
    calls = stage("calls")
    code = f"import {calls.module.__name__} as calls; print(calls.counted.apply_async('from afar').id)"
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    await asyncio.to_thread(calls.start)
    assert await calls.counted.result(done.stdout.strip()).wait(60) == "from afar"
    assert calls.ledger.counts() == {done.stdout.strip(): 1}


async def test_a4_results_published_while_the_loop_is_busy_still_arrive(calls: Stage) -> None:
    assert await calls.add.apply_async(1) == 11  # The subscription stands from now on.
    # More than the server keeps for a subscriber that does not read (32 MB), so that it loses its subscription.
    results = [calls.blob.apply_async("busy", 15_000) for _ in range(3_000)]
    waiting = asyncio.gather(*results)
    await calls.app.flush()
    # This blocks the loop until the last of them has been published.
    wait_until(lambda: calls.ledger.ended("busy") == 3_000, description="all have run")
    small = calls.counted.apply_async("small")
    await small.sent()
    wait_until(lambda: calls.ledger.ended("small") == 1, description="the small one has run")
    values = await asyncio.wait_for(waiting, 60)
    assert {len(value) for value in values} == {15_000}
    assert len(set(values)) == 3_000
    assert await small.wait(60) == "small"


async def test_a4_a_result_that_is_old_when_it_is_first_awaited_arrives(calls: Stage) -> None:
    result = calls.counted_async.apply_async("early")
    await result.sent()
    await wait_until_async(lambda: calls.ledger.ended("early") == 1, description="it has run")
    assert await calls.app.result(result.id).wait(60) == "early"
    assert await result.wait(60) == "early"


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


# ---- A8: retries


@pytest.mark.parametrize("name", ["flaky", "flaky_async"])
async def test_a8_exactly_one_and_n_runs_only_for_what_is_listed(calls: Stage, name: str) -> None:
    task = getattr(calls, name)
    always, wrong, third, none = f"{name} always", f"{name} wrong", f"{name} third", f"{name} none"
    results = [
        task.apply_async(always),
        task.apply_async(wrong, wrong=True),
        task.apply_async(third, good_run=3),
        task.options(retries=0).apply_async(none),
    ]
    ends = await asyncio.wait_for(asyncio.gather(*results, return_exceptions=True), 60)
    assert [type(end) for end in ends] == [ConnectionResetError, LookupError, int, ConnectionResetError]
    assert [str(end) for end in ends] == ["run 4", "run 1", "3", "run 1"]
    for label, runs in ((always, 4), (wrong, 1), (third, 3), (none, 1)):
        seen = calls.ledger.runs(label)
        assert [run.attempt for run in seen] == list(range(1, runs + 1))
        assert most_at_once(seen) == 1


async def test_a8_every_wait_is_longer_than_the_last(calls: Stage) -> None:
    with pytest.raises(ConnectionResetError):
        await calls.flaky_async.apply_async("backoff")
    runs = calls.ledger.runs("backoff")
    gaps = [after.start - (before.end or 0.0) for before, after in pairwise(runs)]
    # Two clocks measure here, so a wait may look a little shorter than it was.
    assert [gap >= least for gap, least in zip(gaps, (0.095, 0.195, 0.395), strict=True)] == [True] * 3, gaps


async def test_a8_jitter_spreads_a_crowd(calls: Stage) -> None:
    results = [calls.jittered.apply_async() for _ in range(20)]
    assert await asyncio.gather(*results) == [None] * 20
    runs = calls.ledger.runs("jittered")
    assert {run.attempt for run in runs} == {1, 2}
    assert len(runs) == 40
    gaps = []
    for result in results:
        first, second = (run for run in runs if run.id == result.id)
        assert first.end is not None
        gaps.append(second.start - first.end)
    assert max(gaps) - min(gaps) > 0.05, gaps


# ---- A9: what cannot be serialized


@pytest.mark.parametrize("name", ["lock", "lock_async"])
async def test_a9_a_result_that_cannot_be_serialized_is_a_clear_error(calls: Stage, name: str) -> None:
    with pytest.raises(SerializationError, match=rf'Task ".*:{name}" returned a lock that cannot be serialized'):
        await getattr(calls, name).apply_async().wait(60)


async def test_a9_a_result_that_cannot_be_read_here_is_a_clear_error(calls: Stage) -> None:
    with pytest.raises(SerializationError, match="cannot be read here: ValueError: this object lives"):
        await calls.one_way.apply_async().wait(60)


async def test_a9_an_argument_that_cannot_be_read_there_is_a_clear_error(calls: Stage) -> None:
    with pytest.raises(Exception, match="this object lives in one process only"):
        await calls.echo.apply_async(calls.OneWay()).wait(60)


# ---- A10: a sync function that blocks


async def test_a10_a_blocked_sync_function_stalls_no_async_job(alone: Stage, tmp_path: Path) -> None:
    async with blocked_thread(alone, tmp_path / "gate"):
        values = await asyncio.wait_for(asyncio.gather(*(alone.add_async.apply_async(n, 0) for n in range(100))), 60)
        assert values == list(range(100))


async def test_a10_async_jobs_behind_a_row_of_sync_ones_are_not_stalled_either(alone: Stage, tmp_path: Path) -> None:
    async with blocked_thread(alone, tmp_path / "gate"):
        row = [alone.add.apply_async(n, 0) for n in range(50)]
        results = [alone.add_async.apply_async(n, 0) for n in range(100)]
        assert await asyncio.wait_for(aiotask.gather(results), 30) == list(range(100))
    assert await asyncio.wait_for(aiotask.gather(row), 60) == list(range(50))


async def test_a10_a_row_of_async_jobs_does_not_stall_sync_ones(stage: Put, tmp_path: Path) -> None:
    life = stage("life")
    await asyncio.to_thread(life.start, 1, "--max-in-flight", "2")
    row = [life.hold.apply_async(f"row {n}") for n in range(30)]
    results = [life.work.apply_async(f"{n}") for n in range(50)]
    try:
        assert await asyncio.wait_for(aiotask.gather(results), 30) == [f"{n}" for n in range(50)]
        assert len(life.ledger.runs()) == 52
    finally:
        await asyncio.to_thread(Path(life.GATE).touch)
    assert await asyncio.wait_for(aiotask.gather(row), 60) == [f"row {n}" for n in range(30)]


async def test_a10_sync_jobs_behind_a_blocked_one_go_to_another_process(calls: Stage, tmp_path: Path) -> None:
    async with blocked_thread(calls, tmp_path / "gate"):
        values = await asyncio.wait_for(asyncio.gather(*(calls.add.apply_async(n, 0) for n in range(100))), 60)
        assert values == list(range(100))


@asynccontextmanager
async def blocked_thread(calls: Stage, gate: Path) -> AsyncIterator[None]:
    """Meanwhile the main thread of one process is blocked."""
    blocked = calls.block_until.apply_async(str(gate))
    await wait_until_async(lambda: calls.ledger.runs("block"), description="a thread is blocked")
    try:
        yield
        assert await blocked.status() is Status.RUNNING
    finally:
        await asyncio.to_thread(gate.touch)
    assert await blocked.wait(60) == "free"


# ---- A11: values come back as they went


@pytest.mark.parametrize("name", ["echo", "echo_async"])
async def test_a11_values_come_back_as_they_went(calls: Stage, name: str) -> None:
    echo = getattr(calls, name)
    point = calls.Point(1, 2)
    value = {
        "tuple": (1, (2, 3), [4, (5,)]),
        "sets": [{1, 2}, frozenset({3})],
        (1, 2): {"nested": point},
        "bytes": b"\0\xff",
        "none": None,
        "big": 2**200,
    }
    came = await echo.apply_async(value)
    assert came == value
    assert type(came["tuple"][1]) is tuple
    assert type(came["sets"][0]) is set and type(came["sets"][1]) is frozenset
    assert type(came[1, 2]["nested"]) is calls.Point


async def test_a11_numpy_arrays_keep_type_and_shape(calls: Stage) -> None:
    array = numpy.arange(12, dtype=numpy.float32).reshape(3, 4)
    came = await calls.echo.apply_async(array)
    assert type(came) is numpy.ndarray and came.dtype == numpy.float32
    assert numpy.array_equal(came, array)
    nested = await calls.echo_async.apply_async({"a": (array[0], numpy.int64(3))})
    assert numpy.array_equal(nested["a"][0], array[0]) and type(nested["a"][1]) is numpy.int64


async def test_a11_functions_by_value_go_there_and_back(calls: Stage) -> None:
    by = 3
    assert await calls.apply.apply_async(lambda x: x * by, 5) == 15
    back = await calls.echo.apply_async(lambda x: x + by)
    assert back(1) == 4
    assert await calls.apply.apply_async(calls.add, 1, 2) == 3


SCRIPT = """
import asyncio, dataclasses, enum, os
from aiotask import App

app = App(os.environ["TEST_APP"])

@dataclasses.dataclass
class Point:
    x: int
    tags: tuple = ()

class Color(enum.Enum):
    RED = 1

class Stack(list):
    def top(self):
        return self[-1]

class Refused(Exception):
    pass

@app.task
def echo(value):
    return value

@app.task
def shifted(point: Point, by: int) -> Point:
    return Point(point.x + by, point.tags)

@app.task
async def apply(function, *args):
    return function(*args)

@app.task
def refuse():
    raise Refused("no")

async def main():
    point = Point(1, (2, 3))
    came = await echo.apply_async(point)
    assert came == point and type(came) is Point, came
    assert await echo.apply_async(Color.RED) is Color.RED
    stack = await echo.apply_async(Stack([1, 2]))
    assert type(stack) is Stack and stack.top() == 2
    moved = await shifted.apply_async(point, by=4)
    assert type(moved) is Point and moved == Point(5, (2, 3)), (type(moved), moved)
    assert await apply.apply_async(lambda a, b: (a, b), 1, point) == (1, point)
    made = await apply.apply_async(Point, 7)
    assert type(made) is Point and made == Point(7), made
    try:
        await refuse.apply_async()
    except Refused as error:
        assert str(error) == "no" and error.__notes__
    else:
        raise AssertionError("nothing was raised")
    print("as they went", os.getpid() != await apply.apply_async(os.getpid))

if __name__ == "__main__":
    asyncio.run(main())
"""


def test_a11_what_a_script_defines_in_main_comes_back_as_it_went(
    workers: Workers, app_name: str, tmp_path: Path
) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    workers.start("script", app_dir=tmp_path, env={"TEST_APP": app_name})
    env = {**os.environ, "TEST_APP": app_name, "AIOTASK_URL": workers.url}
    for start in (["script.py"], ["-m", "script"]):
        done = subprocess.run(
            [sys.executable, *start], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60
        )
        assert done.stdout == "as they went True\n", done.stderr
        assert done.stderr == ""


# ---- A12: jobs that send jobs


async def test_a12_a_task_sends_and_awaits_others_with_one_worker_process(alone: Stage) -> None:
    assert await alone.fibonacci.apply_async(8).wait(60) == 21
    assert await alone.sum_of_sync.apply_async(list(range(50))).wait(60) == 1_225


async def test_a12_as_many_parents_as_slots_and_more(alone: Stage) -> None:
    results = [alone.sum_of_sync.apply_async([n, 1]) for n in range(300)]
    assert await asyncio.wait_for(aiotask.gather(results), 60) == [n + 1 for n in range(300)]


async def test_a12_parents_that_wait_leave_their_place_to_others(stage: Put) -> None:
    calls = stage("calls")
    await asyncio.to_thread(calls.start, 1, "--max-in-flight", "1")
    assert await calls.fibonacci.apply_async(7).wait(60) == 13
    # And still only one at a time runs.
    results = [calls.relay.apply_async(0.005) for _ in range(20)]
    assert await asyncio.wait_for(aiotask.gather(results), 60) == [11] * 20
    runs = calls.ledger.runs()
    assert len(runs) == 40
    assert most_at_once(runs) == 1


async def test_a12_the_death_of_a_child_does_not_leave_its_parent_waiting(stage: Put) -> None:
    calls = stage("calls")
    await asyncio.to_thread(calls.start, 1)
    with pytest.raises(WorkerLost):
        await calls.parent_of_a_pill.apply_async().wait(60)
    # Each of its runs sends a new pill, and who only waits is not to blame for what dies alone beside it: so it is
    # run again until it has stood three times beside a pill that nobody knew yet.
    assert len(calls.ledger.runs("parent")) <= MAX_DEATHS**2
    assert await calls.add_async.apply_async(1).wait(60) == 11


async def test_a12_a_sync_task_may_wait_with_a_timeout_only(alone: Stage) -> None:
    assert await alone.ask_async.apply_async(1).wait(60) == 11
    with pytest.raises(ConfigError, match="Give it a timeout"):
        await alone.wait_for_itself.apply_async(1).wait(60)
