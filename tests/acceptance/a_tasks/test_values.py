"""Values: a sent call returns what a direct one does, to every caller (A1, A4, A11)."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy
import pytest

import aiotask
from aiotask import App, ResultTimeout, Status

from ...helpers import wait_until, wait_until_async
from ...workers import ROOT, Workers
from ..stage import Put, Stage

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
