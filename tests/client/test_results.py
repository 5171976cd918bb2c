"""Awaiting results: values, errors, time limits, handles and cancels."""

from __future__ import annotations

import asyncio
import gc
import threading
from pathlib import Path

import pytest

import aiotask
from aiotask import (
    App,
    JobCancelled,
    JobLost,
    RemoteError,
    ResultExpired,
    ResultTimeout,
    SerializationError,
    Status,
    UnknownTask,
    current_job,
)

from ..helpers import wait_until_async
from ..server import PrivateServer
from .sums import make_app


async def test_a_result_is_awaited_twice_by_several_tasks_and_brings_the_same_value(app: App, worker: None) -> None:
    result = app.tasks["add"].apply_async(1)

    values = await asyncio.gather(*(result.wait() for _ in range(5)))

    assert values == [3] * 5
    assert await result == 3


@pytest.mark.trap("raised twice")
async def test_each_await_raises_a_fresh_copy_of_the_tasks_own_exception_with_the_remote_traceback(
    app: App, worker: None
) -> None:
    result = app.tasks["fail"].apply_async("x")

    errors = []
    for _ in range(2):
        with pytest.raises(KeyError) as raised:
            await result
        errors.append(raised.value)

    assert errors[0] is not errors[1]
    assert errors[0].args == ("x",)
    assert "raise KeyError(message)" in "".join(errors[1].__notes__)


@pytest.mark.trap("silent cancel")
async def test_what_would_end_a_generator_or_a_task_group_never_travels_as_itself(app: App, worker: None) -> None:
    with pytest.raises(RemoteError, match="never as itself"):
        await app.tasks["stop_iteration"].apply_async()
    with pytest.raises(JobCancelled):
        await app.tasks["cancel_itself"].apply_async()


async def test_arguments_are_encoded_at_once(app: App, worker: None) -> None:
    @app.task
    def length(items: list[int]) -> int:
        return len(items)

    items = [1, 2, 3]
    result = length.apply_async(items)
    items.clear()

    async with app.worker():
        assert await result == 3


async def test_outcomes_that_arrive_before_anybody_awaits_them_are_kept(app: App, worker: None) -> None:
    results = [app.tasks["add"].apply_async(n) for n in range(50)]
    await results[-1]
    await wait_until_async(lambda: all(r.arrived for r in results), description="all outcomes are here")

    assert [await result for result in results] == [n + 2 for n in range(50)]


async def test_gather_keeps_the_order_and_raises_the_first_error(app: App, worker: None) -> None:
    assert await aiotask.gather([app.tasks["aadd"].apply_async(n) for n in range(300)]) == [n + 2 for n in range(300)]
    assert await aiotask.gather([]) == []
    with pytest.raises(KeyError):
        await aiotask.gather([app.tasks["add"].apply_async(1), app.tasks["fail"].apply_async("x")])


async def test_a_wait_that_times_out_leaves_the_job_alone(app: App, worker: None, tmp_path: Path) -> None:
    result = app.tasks["hold"].apply_async(str(tmp_path / "go"))

    with pytest.raises(ResultTimeout, match="The job goes on") as raised:
        await result.wait(timeout=0.05)
    assert isinstance(raised.value, TimeoutError)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(result, 0.05)

    assert await result.status() is Status.RUNNING
    (tmp_path / "go").touch()
    assert await result == "held"


async def test_a_handle_on_any_job_is_made_from_its_id(app: App, broker_url: str, app_name: str, worker: None) -> None:
    id = app.tasks["add"].apply_async(5).id
    other = make_app(broker_url, app_name)
    await app.flush()

    assert await other.result(id) == 7
    assert await other.tasks["add"].result(id).wait(5.0) == 7
    assert await other.result(id).status() is Status.SUCCESS
    await other.client.close()


async def test_an_unknown_id_is_said_and_never_waited_for(app: App, worker: None) -> None:
    with pytest.raises(ResultExpired, match="nowhere"):
        await app.result("nowhere")
    with pytest.raises(ResultExpired):
        await app.result("nowhere").status()
    with pytest.raises(ResultExpired):
        await app.result("nowhere").cancel()


async def test_a_job_that_vanished_from_the_server_is_reported_as_lost(
    own_server: PrivateServer, app_name: str
) -> None:
    app = make_app(own_server.url, app_name)
    result = app.tasks["add"].apply_async(1)
    await result.sent()

    own_server.call("FLUSHALL")

    with pytest.raises(JobLost):
        await result
    await app.client.close()


async def test_a_custom_id_or_key_is_one_job(app: App, worker: None) -> None:
    seen: list[str] = []

    @app.task
    async def note(word: str) -> str:
        seen.append(word)
        return word

    async with app.worker():
        first = note.options(id="order-7").apply_async("a")
        second = note.options(id="order-7").apply_async("b")
        third = note.options(key="k").apply_async("c")
        fourth = note.options(key="k").apply_async("d")
        assert [await r for r in (first, second, third, fourth)] == ["a", "a", "c", "c"]
    assert sorted(seen) == ["a", "c"]


async def test_a_task_by_name_and_a_signature_are_sent_like_a_task(app: App, worker: None) -> None:
    add = app.tasks["add"]
    signature = add.s(1, b=5)

    assert await signature.apply_async() == 6
    assert (await app.s(add.name, 2).apply_async()) == 4
    result = app.s(f"{__name__}:nowhere", 2).apply_async()
    with pytest.raises(UnknownTask, match="nowhere"):
        await result
    assert await result.status() is Status.PARKED


async def test_an_ignored_result_cannot_be_awaited(app: App, worker: None) -> None:
    @app.task(ignore_result=True)
    def quiet() -> None: ...

    result = quiet.apply_async()
    await result.sent()
    with pytest.raises(ResultExpired, match="has ignore_result=True"):
        await result


async def test_cancelling_a_job_that_has_not_started(app: App) -> None:
    result = app.tasks["add"].apply_async(1)
    later = app.tasks["add"].options(delay=60).apply_async(1)

    assert await result.cancel() == "cancelled"
    assert await later.status() is Status.SCHEDULED
    assert await later.cancel() == "cancelled"
    assert await later.cancel() == "finished"
    for handle in (result, later):
        with pytest.raises(JobCancelled):
            await handle
    await app.client.close()


async def test_cancelling_a_running_async_job(app: App, worker: None, tmp_path: Path) -> None:
    result = app.tasks["hold"].apply_async(str(tmp_path / "never"))
    await wait_until_async(lambda: _is(result, Status.RUNNING), description="the job runs")

    assert await result.cancel() == "asked"
    with pytest.raises(JobCancelled):
        await result


async def _is(result: aiotask.AsyncResult[object], status: Status) -> bool:
    return await result.status() is status


async def test_an_argument_that_cannot_travel_is_named(app: App) -> None:
    with pytest.raises(SerializationError, match='argument "b"'):
        app.tasks["add"].apply_async(1, b=threading.Lock())


def test_current_job_exists_outside_a_job() -> None:
    assert current_job().id == ""
    assert current_job().attempt == 1
    gc.collect()
