"""Spans of calls and runs that fail."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from aiotask import (
    App,
    JobCancelled,
    JobContext,
    JobTimeout,
    Middleware,
    Retry,
    SerializationError,
    current_job,
)
from aiotask.contrib.otel import Tracing
from aiotask.job import WIRE_VERSION, Job

from .spans import Memory, ended, named


async def test_each_attempt_is_a_run_and_a_failed_one_has_its_error(app: App, memory: Memory) -> None:
    @app.task(name="t:flaky", retries=2, backoff=lambda failures: 0.0)
    def flaky() -> int:
        if current_job().attempt < 3:
            raise ConnectionError(f"down {current_job().attempt}")
        return 7

    async with app, app.worker():
        assert await flaky.apply_async().wait(30) == 7
        runs = await ended(memory, "process t:flaky", 3)

    (send,) = named(memory.rows, "send t:flaky")
    assert [run["parent"] for run in runs] == [send["id"]] * 3
    assert [run["attributes"]["aiotask.attempt"] for run in runs] == [1, 2, 3]
    assert [run["attributes"]["aiotask.outcome"] for run in runs] == ["RETRYING", "RETRYING", "SUCCESS"]
    assert [run["status"] for run in runs] == ["ERROR", "ERROR", "UNSET"]
    assert [run["description"] for run in runs] == ["down 1", "down 2", None]
    assert runs[0]["attributes"]["error.type"] == "ConnectionError"
    ((name, event),) = runs[0]["events"]
    assert name == "exception"
    assert (event["exception.type"], event["exception.message"]) == ("ConnectionError", "down 1")
    assert "in flaky" in event["exception.stacktrace"] and "/aiotask/worker/" not in event["exception.stacktrace"]
    # Waiting is of the first run alone: later ones wait for the backoff, too.
    assert ["aiotask.wait" in run["attributes"] for run in runs] == [True, False, False]


async def test_a_retry_without_a_cause_is_no_error(app: App, memory: Memory) -> None:
    @app.task(name="t:again", retries=2)
    async def again() -> None:
        match current_job().attempt:
            case 1:
                raise Retry(delay=0)
            case 2:
                raise Retry(delay=0) from OSError("busy")

    async with app, app.worker():
        await again.apply_async().wait(30)
        runs = await ended(memory, "process t:again", 3)

    assert [run["status"] for run in runs] == ["UNSET", "ERROR", "UNSET"]
    assert runs[1]["attributes"]["error.type"] == "OSError"


async def test_the_error_is_that_of_the_job_where_the_function_saw_another_one_or_none(
    app: App, memory: Memory
) -> None:
    @app.task(name="t:slow", timeout=0.05)
    async def slow() -> None:
        await asyncio.sleep(60)

    @app.task(name="t:frame")
    def frame() -> Any:
        return (n for n in ())

    @app.task(name="t:takes")
    def takes(n: int) -> None: ...

    async with app, app.worker():
        with pytest.raises(JobTimeout):
            await slow.apply_async().wait(30)
        with pytest.raises(SerializationError):
            await frame.apply_async().wait(30)
        # The arguments do not fit, which is found before any middleware is entered.
        with pytest.raises(Exception, match="takes"):
            await app.named("t:takes", queue="default").apply_async(1, 2, 3).wait(30)
        (timeout,) = await ended(memory, "process t:slow")
        (serialization,) = await ended(memory, "process t:frame")

    assert timeout["attributes"]["error.type"] == "aiotask.errors.JobTimeout"
    assert timeout["attributes"]["aiotask.outcome"] == "FAILED"
    assert "asyncio.sleep" in timeout["events"][0][1]["exception.stacktrace"]
    assert serialization["attributes"]["error.type"] == "aiotask.errors.SerializationError"
    assert serialization["status"] == "ERROR"


async def test_a_run_that_fails_before_the_middleware_has_a_span(
    memory: Memory, app_name: str, broker_url: str
) -> None:
    class Refuses(Middleware):
        def execute(self, job: JobContext, /) -> Any:
            raise PermissionError("not today")

    tracing = Tracing(tracer_provider=memory.provider)
    app = App(app_name, url=broker_url, middleware=[Refuses(), tracing])

    @app.task(name="t:one")
    def one() -> None: ...

    async with app, app.worker():
        with pytest.raises(PermissionError):
            await one.apply_async().wait(30)
        (process,) = await ended(memory, "process t:one")

    assert process["parent"] == named(memory.rows, "send t:one")[0]["id"]
    assert (process["attributes"]["error.type"], process["status"]) == ("PermissionError", "ERROR")


async def test_a_cancelled_run_says_so(app: App, memory: Memory) -> None:
    begun = asyncio.Event()

    @app.task(name="t:long")
    async def long() -> None:
        begun.set()
        await asyncio.sleep(60)

    async with app, app.worker():
        result = long.apply_async()
        await begun.wait()
        await result.cancel()
        (process,) = await ended(memory, "process t:long")

    assert process["attributes"]["aiotask.outcome"] == "CANCELLED"
    assert process["attributes"]["error.type"] == "aiotask.errors.JobCancelled"


def test_a_run_that_outlives_the_cancel_of_its_job_has_one_span_with_its_own_end(memory: Memory) -> None:
    tracing = Tracing(tracer_provider=memory.provider)
    job = JobContext(Job(WIRE_VERSION, "a", "t:one", "default", b""))

    with tracing.execute(job):
        tracing.on_run_end(job, "CANCELLED", JobCancelled("it did not react"))
        assert not memory.rows

    (process,) = memory.rows
    assert (process["attributes"]["aiotask.outcome"], process["status"]) == ("CANCELLED", "ERROR")
    assert not tracing._runs


async def test_a_call_that_cannot_be_sent_has_its_error(app: App, memory: Memory) -> None:
    @app.task(name="t:one")
    def one(n: object) -> None: ...

    with pytest.raises(TypeError):
        one.apply_async(1, 2)  # type: ignore[call-arg]
    with pytest.raises(SerializationError):
        one.apply_async(n for n in ())

    wrong, unserializable = memory.rows
    assert (wrong["status"], wrong["attributes"]["error.type"]) == ("ERROR", "TypeError")
    assert unserializable["attributes"]["error.type"] == "aiotask.errors.SerializationError"
    assert unserializable["events"][0][0] == "exception"
    assert "messaging.message.id" not in wrong["attributes"]
