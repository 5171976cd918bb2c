"""G26, B9, C4: code around calls and jobs."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import aiotask
from aiotask import App, Call, ConfigError, JobContext, Middleware, current_job
from aiotask.job import RELEASE

from .events import events, finish_of, retries_of
from .stage import Stage

KINDS = ["sync", "in_loop"]
TIMEOUT = 60


@contextlib.contextmanager
def on_behalf(stage: Stage, tenant: str) -> Iterator[None]:
    token = stage.tenant.set(tenant)
    try:
        yield
    finally:
        stage.tenant.reset(token)


# ---- send


@pytest.mark.parametrize("task", KINDS)
async def test_g26_send_sees_and_changes_arguments_and_headers(between: Stage, task: str) -> None:
    with on_behalf(between, "acme"):
        value = await getattr(between, task).apply_async(21, note="look").wait(TIMEOUT)

    assert value == [42, "look!", "acme", "acme", {"tenant": "acme"}]


async def test_g26_send_runs_once_per_call_the_first_middleware_outside(between: Stage) -> None:
    before = len(events(between.ledger.directory, "caller"))

    result = between.sync.apply_async(1)

    assert [each.what for each in events(between.ledger.directory, "caller")[before:]] == [
        *("send outer", "send inner"),
        *("sent inner", "sent outer"),
    ]
    assert await result.wait(TIMEOUT)
    assert len(events(between.ledger.directory, "caller")) == before + 4


async def test_g26_send_refuses_a_call(between: Stage) -> None:
    with pytest.raises(PermissionError, match="not this call"):
        between.sync.apply_async("refused")
    with pytest.raises(PermissionError, match="not this call"):
        between.app.s(between.sync.name, "refused").apply_async()


@pytest.mark.parametrize("by_name", [False, True])
async def test_g26_a_signature_passes_the_middleware_when_it_is_sent(between: Stage, by_name: bool) -> None:
    stranger = App(between.app.name, url=between.app.url, middleware=[between.Outer(), between.Inner()])
    call = stranger.s(between.sync.name, 5) if by_name else between.sync.s(5)
    before = len(events(between.ledger.directory, "caller"))

    with on_behalf(between, "later"):
        result = call.apply_async()

    assert result.id == call.id
    assert (await result.wait(TIMEOUT))[::2] == [10, "later", {"tenant": "later"}]
    assert len(events(between.ledger.directory, "caller")) == before + 4
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
        return [job.job.version, dict(job.headers), job.job.more is not None and job.job.more.expires == -600]

    async with app, app.worker():
        assert await show.apply_async() == [1, {"trace": "1-2"}]
        assert await with_more.apply_async() == [RELEASE, {"trace": "1-2"}, True]
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
    await finish_of(between.ledger.directory, result.id)

    assert [each.what for each in events(between.ledger.directory, result.id)] == [
        *("enter outer", "enter inner", "open provided", "run"),
        *("leave inner", "leave outer", "finish"),
    ]


@pytest.mark.parametrize("task", ["fail_sync", "fail_async"])
async def test_g26_an_error_that_a_middleware_catches_remains_the_jobs(between: Stage, task: str) -> None:
    result = getattr(between, task).apply_async("of the task")

    with pytest.raises(LookupError, match="of the task"):
        await result.wait(TIMEOUT)

    assert "error in outer" in [each.what for each in events(between.ledger.directory, result.id)]


async def test_g26_the_error_of_execute_is_the_jobs_and_judged_as_such(between: Stage) -> None:
    with on_behalf(between, "locked"):
        result = between.guarded.apply_async()
        with pytest.raises(PermissionError, match="the tenant is locked"):
            await result.wait(TIMEOUT)

    assert await finish_of(between.ledger.directory, result.id) == [4, "FAILED", "PermissionError", "locked", True]
    retries = await retries_of(between.ledger.directory, result.id, 3)
    assert retries == [[n, "PermissionError", 0.0] for n in (1, 2, 3)]


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
