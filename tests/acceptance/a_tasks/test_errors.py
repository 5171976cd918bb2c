"""Errors: the task's own exception, wrong arguments, retries, what cannot be serialized (A2, A3, A8, A9)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from aiotask import ConfigError, JobCancelled, RemoteError, SerializationError

from ..ledger import most_at_once
from ..stage import Put, Stage

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
