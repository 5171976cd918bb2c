"""G26, B9, C4: code around calls and jobs."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import aiotask
from aiotask import App, Call, ConfigError, JobCancelled, JobContext, Middleware, Retry, Status, current_job

from ..helpers import wait_until_async
from ..workers import running_workers
from .events import Event, events
from .stage import Stage, prepared

KINDS = ["sync", "in_loop"]
TIMEOUT = 60


@pytest.fixture(scope="module")
def shared(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    directory = tmp_path_factory.mktemp("between")
    with running_workers(directory, redis_url) as workers:
        stage = prepared("between", workers, directory / "ledger")
        stage.start(2)
        yield stage


@pytest.fixture
def between(shared: Stage) -> Iterator[Stage]:
    """Two worker processes of an app with middleware."""
    with shared.active():
        yield shared


@contextlib.contextmanager
def on_behalf(stage: Stage, tenant: str) -> Iterator[None]:
    token = stage.tenant.set(tenant)
    try:
        yield
    finally:
        stage.tenant.reset(token)


def seen(stage: Stage, job: str) -> list[Event]:
    return events(stage.ledger.directory, job)


async def finish_of(stage: Stage, job: str) -> Any:
    """What ``on_finish`` was called with."""
    found = await wait_until_async(
        lambda: [each.detail for each in seen(stage, job) if each.what == "finish"], description="on_finish was called"
    )
    assert len(found) == 1
    return found[0]


# ---- send


@pytest.mark.parametrize("task", KINDS)
async def test_g26_send_sees_and_changes_arguments_and_headers(between: Stage, task: str) -> None:
    with on_behalf(between, "acme"):
        value = await getattr(between, task).apply_async(21, note="look").wait(TIMEOUT)

    assert value == [42, "look!", "acme", "acme", {"tenant": "acme"}]


async def test_g26_send_runs_once_per_call_the_first_middleware_outside(between: Stage) -> None:
    before = len(seen(between, "caller"))

    result = between.sync.apply_async(1)

    assert [each.what for each in seen(between, "caller")[before:]] == [
        *("send outer", "send inner"),
        *("sent inner", "sent outer"),
    ]
    assert await result.wait(TIMEOUT)
    assert len(seen(between, "caller")) == before + 4


async def test_g26_send_refuses_a_call(between: Stage) -> None:
    with pytest.raises(PermissionError, match="not this call"):
        between.sync.apply_async("refused")
    with pytest.raises(PermissionError, match="not this call"):
        between.app.s(between.sync.name, "refused").apply_async()


@pytest.mark.parametrize("by_name", [False, True])
async def test_g26_a_signature_passes_the_middleware_when_it_is_sent(between: Stage, by_name: bool) -> None:
    stranger = App(between.app.name, url=between.app.url, middleware=[between.Outer(), between.Inner()])
    call = stranger.s(between.sync.name, 5) if by_name else between.sync.s(5)
    before = len(seen(between, "caller"))

    with on_behalf(between, "later"):
        result = call.apply_async()

    assert result.id == call.id
    assert (await result.wait(TIMEOUT))[::2] == [10, "later", {"tenant": "later"}]
    assert len(seen(between, "caller")) == before + 4
    await stranger.client.close()


async def test_g26_a_job_that_a_job_sends_passes_the_middleware_too(between: Stage) -> None:
    with on_behalf(between, "family"):
        value = await between.parent.apply_async().wait(TIMEOUT)

    assert value == [8, "", "family", "family", {"tenant": "family"}]


async def test_g26_a_job_with_headers_is_of_the_first_version() -> None:
    app = App("version", url="memory://", middleware=[Headed({"trace": "1-2"})])

    @app.task
    async def show() -> list[Any]:
        job = current_job()
        return [job.job.version, dict(job.headers)]

    @app.task(expires=600)
    async def with_more() -> list[Any]:
        job = current_job()
        return [job.job.version, dict(job.headers), job.job.more is not None and job.job.more.expires > 0]

    async with app, app.worker():
        assert await show.apply_async() == [1, {"trace": "1-2"}]
        assert await with_more.apply_async() == [2, {"trace": "1-2"}, True]
    assert dict(current_job().headers) == {}


class Headed(Middleware):
    def __init__(self, headers: Any) -> None:
        self.headers = headers

    @contextlib.contextmanager
    def send(self, call: Call, /) -> Iterator[None]:
        call.headers = self.headers
        yield


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"n": 1}, "not text"),
        ({1: "n"}, "not text"),
        (["n"], "give a dict"),
        ({"a": "\ud800"}, "not valid Unicode"),
        ({"a": "é" * 4096}, "8,193 bytes, more than 8,192"),
    ],
)
async def test_g26_wrong_headers_are_an_error_of_the_caller(headers: Any, reason: str) -> None:
    app = App("headed", url="memory://", middleware=[Headed(headers)])

    @app.task
    async def nothing() -> None: ...

    with pytest.raises(ConfigError, match=reason):
        nothing.apply_async()


async def test_g26_arguments_are_checked_after_send() -> None:
    class Fills(Middleware):
        @contextlib.contextmanager
        def send(self, call: Call, /) -> Iterator[None]:
            call.kwargs.setdefault("added", "by middleware")
            yield

    app = App("checked", url="memory://", middleware=[Fills()])

    @app.task
    async def needs(*, added: str) -> str:
        return added

    @app.task
    async def needs_nothing() -> None: ...

    async with app, app.worker():
        assert await needs.apply_async() == "by middleware"  # type: ignore[call-arg]
        assert await needs.s().apply_async() == "by middleware"  # type: ignore[call-arg]
        with pytest.raises(TypeError, match="unexpected keyword argument 'added'"):
            needs_nothing.apply_async()


async def test_g26_send_gets_the_error_of_a_call_and_cannot_swallow_it() -> None:
    errors: list[str] = []

    class Swallows(Middleware):
        @contextlib.contextmanager
        def send(self, call: Call, /) -> Iterator[None]:
            try:
                yield
            except Exception as error:
                errors.append(type(error).__name__)

    app = App("swallowed", url="memory://", middleware=[Swallows()])

    @app.task
    async def one(number: int) -> None: ...

    with pytest.raises(TypeError, match="missing 1 required"):
        one.apply_async()  # type: ignore[call-arg]
    with pytest.raises(aiotask.SerializationError):
        one.apply_async(threading.Lock())  # type: ignore[arg-type]
    assert errors == ["TypeError", "SerializationError"]


async def test_g26_headers_are_no_part_of_the_id_of_a_child() -> None:
    numbers = iter(range(100))

    class Traced(Middleware):
        @contextlib.contextmanager
        def send(self, call: Call, /) -> Iterator[None]:
            call.headers["trace"] = str(next(numbers))
            yield

    app = App("traced", url="memory://", middleware=[Traced()])
    sent: list[str] = []

    @app.task
    async def child() -> str:
        return current_job().headers["trace"]

    @app.task(retries=1, backoff=lambda failures: 0.0)
    async def parent() -> str:
        first, again = child.s(), child.s()
        sent.append(first.id)
        assert first.id != again.id
        return await child.apply_async()

    async with app, app.worker():
        assert await parent.apply_async()
    assert sent[0].startswith("00child-")


# ---- execute


@pytest.mark.parametrize("task", KINDS)
async def test_g26_execute_is_around_the_function_and_its_providers(between: Stage, task: str) -> None:
    with on_behalf(between, "acme"):
        result = getattr(between, task).apply_async(1)
        assert (await result.wait(TIMEOUT))[2] == "acme"
    await finish_of(between, result.id)

    assert [each.what for each in seen(between, result.id)] == [
        *("enter outer", "enter inner", "open provided", "run"),
        *("leave inner", "leave outer", "finish"),
    ]


@pytest.mark.parametrize("task", ["fail_sync", "fail_async"])
async def test_g26_an_error_that_a_middleware_catches_remains_the_jobs(between: Stage, task: str) -> None:
    result = getattr(between, task).apply_async("of the task")

    with pytest.raises(LookupError, match="of the task"):
        await result.wait(TIMEOUT)

    assert "error in outer" in [each.what for each in seen(between, result.id)]


async def test_g26_the_error_of_execute_is_the_jobs_and_judged_as_such(between: Stage) -> None:
    with on_behalf(between, "locked"):
        result = between.guarded.apply_async()
        with pytest.raises(PermissionError, match="the tenant is locked"):
            await result.wait(TIMEOUT)

    assert await finish_of(between, result.id) == [4, "FAILED", "PermissionError", "locked", True]
    retries = [each.detail for each in seen(between, result.id) if each.what == "retry"]
    assert retries == [[n, "PermissionError", 0.0] for n in (1, 2, 3)]


# ---- on_retry, on_finish


async def test_c4_on_retry_and_on_finish_say_what_became_of_a_job(between: Stage) -> None:
    result = between.retried.apply_async("retried")

    assert await result.wait(TIMEOUT) == "retried"

    assert await finish_of(between, result.id) == [2, "SUCCESS", "NoneType", "none", True]
    assert [each.detail for each in seen(between, result.id) if each.what == "retry"] == [[1, "Retry", 0.0]]
    assert await result.status() is Status.SUCCESS


async def test_c4_on_finish_tells_of_a_cancel(between: Stage) -> None:
    result = between.hold.apply_async()
    await wait_until_async(
        lambda: "run" in [each.what for each in seen(between, result.id)], description="the job runs"
    )

    await result.cancel()
    with pytest.raises(JobCancelled):
        await result.wait(TIMEOUT)

    assert (await finish_of(between, result.id))[1:3] == ["CANCELLED", "JobCancelled"]


async def test_c4_on_finish_comes_once_though_a_process_died(between: Stage) -> None:
    result = between.kill.apply_async()

    assert await result.wait(TIMEOUT) == "done"

    assert (await finish_of(between, result.id))[1] == "SUCCESS"


async def test_c4_errors_of_hooks_are_logged_and_change_nothing(between: Stage) -> None:
    result = between.retried.apply_async("logged")
    assert await result.wait(TIMEOUT) == "logged"
    await finish_of(between, result.id)

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


# ---- async execute


async def test_g26_an_async_execute_is_for_async_tasks_alone() -> None:
    class InLoop(Middleware):
        @contextlib.asynccontextmanager
        async def execute(self, job: JobContext, /) -> AsyncIterator[None]:
            async with asyncio.timeout(60):
                mine.append(job.id)
                yield

    mine: list[str] = []
    app = App("in-loop", url="memory://", middleware=[InLoop()])

    @app.task
    async def in_loop() -> str:
        return current_job().id

    with pytest.raises(ConfigError, match=r"is sync, but .*InLoop\.execute of the middleware is async"):

        @app.task
        def sync() -> None: ...

    async with app, app.worker():
        assert [await in_loop.apply_async()] == mine


async def test_g26_an_async_execute_that_only_shows_at_the_run_fails_the_sync_job() -> None:
    class Hidden(Middleware):
        def execute(self, job: JobContext, /) -> Any:
            return InLoopAlone()

    class InLoopAlone:
        async def __aenter__(self) -> None: ...
        async def __aexit__(self, *_: object) -> None: ...

    app = App("hidden", url="memory://", middleware=[Hidden()])

    @app.task
    def sync() -> None: ...

    @app.task
    async def in_loop() -> str:
        return "done"

    async with app, app.worker():
        with pytest.raises(ConfigError, match=r"Hidden\.execute returned .*, which is async"):
            await sync.apply_async()
        assert await in_loop.apply_async() == "done"


# ---- what is no middleware


def test_g26_what_is_no_middleware_is_refused() -> None:
    class Bare(Middleware):
        def execute(self, job: JobContext, /) -> Any:
            yield

    class BareSend(Middleware):
        def send(self, call: Call, /) -> Any:
            yield

    class Coroutine(Middleware):
        async def execute(self, job: JobContext, /) -> Any: ...

    class AsyncSend(Middleware):
        @contextlib.asynccontextmanager
        async def send(self, call: Call, /) -> Any:
            yield

    for wrong, reason in (
        (Bare, "is a class"),
        (contextlib.nullcontext(), "is not an aiotask.Middleware"),
        (Bare(), "@contextlib.contextmanager above it"),
        (BareSend(), "@contextlib.contextmanager above it"),
        (Coroutine(), "async def"),
        (AsyncSend(), "make it a plain one"),
    ):
        with pytest.raises(ConfigError, match=reason):
            App("wrong", middleware=[wrong])  # type: ignore[list-item]


def test_g26_an_app_without_middleware_registers_tasks_without_anything_around_them() -> None:
    app = App("bare", url="memory://", middleware=[Headed({})])

    @app.task
    def plain() -> None: ...

    assert plain.definition.around is None
    assert not App("none", url="memory://")._send_hooks
