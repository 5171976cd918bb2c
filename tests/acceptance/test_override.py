"""G28: what cannot be provided is refused at registration, and a test puts its own values in the place of providers."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

import pytest

from aiotask import App, ConfigError, Depends, JobCancelled, JobTimeout, Middleware

from ..helpers import wait_until_async

TIMEOUT = 60


# ---- registration


def test_g28_providers_in_a_circle_are_refused_at_registration() -> None:
    app = App("circle", url="memory://")

    def one() -> int:
        return 1

    def other(value: int = Depends(one)) -> int:
        return value

    one.__defaults__ = (Depends(other),)
    one.__code__ = (lambda value=0: value).__code__

    def task(value: int = Depends(other)) -> int:
        return value

    with pytest.raises(ConfigError, match=r"in a circle: .*other -> .*one -> .*other"):
        app.task(task)


def test_g28_what_cannot_be_provided_is_refused_at_registration() -> None:
    app = App("wrong", url="memory://")

    def needs(path: str) -> str:
        return path

    def of_a_provider(value: str = Depends(needs)) -> None: ...
    def before_the_slash(value: str = Depends(str), /) -> None: ...

    with pytest.raises(ConfigError, match="parameter without a value"):
        app.task(of_a_provider)
    with pytest.raises(ConfigError, match='stands before "/"'):
        app.task(before_the_slash)
    with pytest.raises(ConfigError, match="without calling it"):
        Depends(needs("here"))  # type: ignore[call-overload]


def test_a_context_manager_in_the_place_of_its_function_is_refused() -> None:
    app = App("called", url="memory://")

    @contextlib.contextmanager
    def opened() -> Iterator[str]:
        yield "here"

    called = opened()

    def task(value: Any = Depends(called)) -> None: ...

    with pytest.raises(ConfigError, match="without calling it"):
        app.task(task)
    with pytest.raises(ConfigError, match="without calling it"):
        App("called", url="memory://", lifespan=[called])  # type: ignore[list-item]


def test_middleware_and_lifespan_are_lists() -> None:
    def provider() -> str:
        return "here"

    with pytest.raises(ConfigError, match=r"lifespan: give a list of providers, as in \[.*provider\]"):
        App("single", url="memory://", lifespan=provider)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"middleware: give a list of objects, as in \[Middleware\(\)\]"):
        App("single", url="memory://", middleware=Middleware())  # type: ignore[arg-type]


def test_g28_an_annotation_of_another_framework_is_refused_at_registration() -> None:
    app = App("annotated", url="memory://")

    def task(value: Annotated[str, Depends(str)]) -> None: ...

    task.__annotations__["value"] = Annotated[str, Depends(str)]
    with pytest.raises(ConfigError, match="Make it the default value"):
        app.task(task)


# ---- override, in a worker of this process


def connect() -> Iterator[str]:
    raise AssertionError("a test must not connect")
    yield "connection"


def session(connection: str = Depends(connect)) -> str:
    return f"session of {connection}"


async def tenant() -> AsyncIterator[str]:
    yield "the tenant"


def app_of_a_test(**settings: Any) -> App:
    return App("overridden", url="memory://", **settings)


async def test_g28_an_override_replaces_a_provider_until_its_block_ends() -> None:
    app = app_of_a_test()

    @app.task
    def sync(value: str = Depends(session), other: str = Depends(tenant)) -> list[str]:
        return [value, other]

    @app.task
    async def in_loop(value: str = Depends(session), other: str = Depends(tenant)) -> list[str]:
        return [value, other]

    async with app, app.worker():
        for task in (sync, in_loop):
            with app.override(connect, "a fake"):
                assert await task.apply_async() == ["session of a fake", "the tenant"]
                with app.override(connect, "another"), app.override(tenant, "a guest"):
                    assert await task.apply_async() == ["session of another", "a guest"]
                with app.override(session, "no session"):
                    assert await task.apply_async() == ["no session", "the tenant"]
                assert await task.apply_async() == ["session of a fake", "the tenant"]
            with pytest.raises(AssertionError, match="must not connect"):
                await task.apply_async()


async def test_g28_overrides_may_end_in_any_order() -> None:
    app = app_of_a_test()

    @app.task
    def sync(value: str = Depends(session)) -> str:
        return value

    first, second = app.override(connect, "first"), app.override(connect, "second")
    async with app, app.worker():
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert await sync.apply_async() == "session of second"
        second.__exit__(None, None, None)


async def test_g28_a_hanging_provider_of_a_sync_task_ends_at_the_limit_in_a_thread_too() -> None:
    app = app_of_a_test()
    seen: list[str] = []

    async def never() -> AsyncIterator[None]:
        try:
            await asyncio.sleep(600)
            yield
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    @app.task(timeout=0.3)
    def sync(value: None = Depends(never)) -> None:
        seen.append("run")

    async with app, app.worker():
        with pytest.raises(JobTimeout):
            await sync.apply_async().wait(TIMEOUT)
    assert seen == ["cancelled"]


async def test_g28_a_cancel_reaches_a_hanging_provider_of_a_sync_task_in_a_thread_too() -> None:
    app = app_of_a_test()
    seen: list[str] = []

    async def never() -> AsyncIterator[None]:
        seen.append("open")
        try:
            await asyncio.sleep(600)
            yield
        finally:
            seen.append("closed")

    @app.task
    def sync(value: None = Depends(never)) -> None:
        seen.append("run")

    async with app, app.worker():
        result = sync.apply_async()
        await wait_until_async(lambda: seen, description="it is being opened")
        await result.cancel()
        with pytest.raises(JobCancelled):
            await result.wait(TIMEOUT)
    assert seen == ["open", "closed"]


async def test_g28_a_task_group_of_a_provider_that_fails_fails_the_job() -> None:
    app = app_of_a_test()

    async def grouped() -> AsyncIterator[asyncio.TaskGroup]:
        async def fail() -> None:
            failed.set()
            raise ConnectionError("in the background")

        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
            yield group

    failed = threading.Event()

    @app.task
    def sync(group: object = Depends(grouped)) -> None:
        assert failed.wait(TIMEOUT)

    async with app, app.worker():
        with pytest.raises(ExceptionGroup) as raised:
            await sync.apply_async().wait(TIMEOUT)
    assert "in the background" in str(raised.value.exceptions[0])


async def test_g28_with_json_the_provided_parameters_are_no_part_of_the_call() -> None:
    app = App("in-json", url="memory://", serializer="json")

    class Pool:
        """Pydantic has no JSON for it."""

    def pool() -> Pool:
        return Pool()

    def task(key: str, pool: object = None, *, size: int = 3) -> list[Any]:
        return [key, type(pool).__name__, size]

    task.__annotations__["pool"] = Pool
    task.__defaults__ = (Depends(pool),)
    registered: Any = app.register_task(task, name="fetch")

    async with app, app.worker():
        assert await registered.apply_async("k", size=4) == ["k", "Pool", 4]
        assert await app.s("fetch", "k").apply_async() == ["k", "Pool", 3]
        with pytest.raises(TypeError, match="is provided by the worker"):
            registered.apply_async("k", pool=Pool())
