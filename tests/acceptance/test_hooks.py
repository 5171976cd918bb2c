"""B9, C4: what hooks are told once the broker has taken what became of a job."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

import aiotask
from aiotask import App, JobCancelled, JobContext, Middleware, Retry, Status, current_job

from ..helpers import wait_until_async
from .events import events, finish_of, retries_of
from .stage import Stage

TIMEOUT = 60


# ---- on_retry, on_finish


async def test_c4_on_retry_and_on_finish_say_what_became_of_a_job(between: Stage) -> None:
    result = between.retried.apply_async("retried")

    assert await result.wait(TIMEOUT) == "retried"

    assert await finish_of(between.ledger.directory, result.id) == [2, "SUCCESS", "NoneType", "none", True]
    assert await retries_of(between.ledger.directory, result.id, 1) == [[1, "Retry", 0.0]]
    assert await result.status() is Status.SUCCESS


async def test_c4_on_finish_tells_of_a_cancel(between: Stage) -> None:
    result = between.hold.apply_async()
    await wait_until_async(
        lambda: "run" in [each.what for each in events(between.ledger.directory, result.id)], description="the job runs"
    )

    await result.cancel()
    with pytest.raises(JobCancelled):
        await result.wait(TIMEOUT)

    assert (await finish_of(between.ledger.directory, result.id))[1:3] == ["CANCELLED", "JobCancelled"]


async def test_c4_on_finish_comes_once_though_a_process_died(between: Stage) -> None:
    result = between.kill.apply_async()

    assert await result.wait(TIMEOUT) == "done"

    assert (await finish_of(between.ledger.directory, result.id))[1] == "SUCCESS"


async def test_c4_errors_of_hooks_are_logged_and_change_nothing(between: Stage) -> None:
    result = between.retried.apply_async("logged")
    assert await result.wait(TIMEOUT) == "logged"
    await finish_of(between.ledger.directory, result.id)

    def log() -> str:
        return "".join(supervisor.log for supervisor in between.workers.all)

    await wait_until_async(
        lambda: f"Outer.on_finish failed after job {result.id}" in log(), description="the error is logged"
    )
    assert f"Outer.on_retry failed after job {result.id}" in log()


async def test_c4_on_finish_comes_after_the_broker_has_the_outcome() -> None:
    statuses: dict[str, Status] = {}

    class Looks(Middleware):
        async def on_finish(self, job: JobContext, status: str, error: Exception | None, /) -> None:
            statuses[status] = await app.result(job.id).status()

        async def on_retry(self, job: JobContext, error: Exception, delay: float, /) -> None:
            statuses["RETRY"] = await app.result(job.id).status()

    app = App("looks", url="memory://", middleware=[Looks()])

    @app.task(retries=1)
    async def twice() -> int:
        if current_job().attempt == 1:
            raise Retry("once more", delay=0.5)
        return current_job().attempt

    async with app, app.worker():
        assert await twice.apply_async() == 2
    assert statuses == {"RETRY": Status.RETRYING, "SUCCESS": Status.SUCCESS}


async def test_c4_on_finish_of_a_value_that_cannot_be_serialized_says_failed() -> None:
    endings: list[tuple[str, str]] = []

    class Ends(Middleware):
        def on_finish(self, job: JobContext, status: str, error: Exception | None, /) -> None:
            endings.append((status, type(error).__name__))

    app = App("ends", url="memory://", middleware=[Ends()])

    @app.task
    def unserializable() -> Any:
        return threading.Lock()

    async with app, app.worker():
        with pytest.raises(aiotask.SerializationError):
            await unserializable.apply_async()
    assert endings == [("FAILED", "SerializationError")]


async def test_c4_a_worker_that_ends_waits_for_hooks_that_run() -> None:
    done: list[str] = []

    class Slow(Middleware):
        async def on_finish(self, job: JobContext, status: str, error: Exception | None, /) -> None:
            for _ in range(20):
                await asyncio.sleep(0.01)
            done.append(status)

    app = App("slow", url="memory://", middleware=[Slow()])

    @app.task
    def task() -> None: ...

    async with app, app.worker():
        await task.apply_async()
    assert done == ["SUCCESS"]
