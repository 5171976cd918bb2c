"""G28: what a worker provides to tasks: opened once per job, closed after it however it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from signal import Signals
from typing import Any

import pytest

import aiotask
from aiotask import App, ConfigError, Depends, JobCancelled, JobTimeout

from ..helpers import wait_until_async
from ..workers import running_workers
from .events import events
from .stage import Put, Stage, prepared

KINDS = ["use_sync", "use_async"]
ENDS = ["end_sync", "end_async"]
TIMEOUT = 60


@pytest.fixture(scope="module")
def shared(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    directory = tmp_path_factory.mktemp("provided")
    with running_workers(directory, redis_url) as workers:
        stage = prepared("provided", workers, directory / "ledger")
        stage.start(2)
        yield stage


@pytest.fixture
def provided(shared: Stage) -> Iterator[Stage]:
    """Two worker processes with every kind of provider."""
    Path(shared.GATE).unlink(missing_ok=True)
    with shared.active():
        yield shared


def whats(stage: Stage, job: str) -> list[str]:
    return [each.what for each in events(stage.ledger.directory, job)]


# ---- kinds


@pytest.mark.parametrize("task", KINDS)
async def test_g28_every_kind_of_provider_is_opened_once_and_closed_in_reverse(provided: Stage, task: str) -> None:
    result = getattr(provided, task).apply_async("here")

    value = await result.wait(TIMEOUT)

    in_order = ["here", "plain", "awaited", "generator", "async generator", "block", "async block"]
    assert value["values"] == [*in_order, ["async block", "generator"]]
    assert value["connection"] == [True, result.id]
    # A context variable that a sync provider sets is the function's.
    assert value["setting"] == "by generator"
    opens = ["generator", "async generator", "block", "async block", "connection", "nested"]
    assert whats(provided, result.id) == [
        *("call plain", "call awaited"),
        *(f"open {each}" for each in opens),
        "run",
        *(f"close {each}" for each in reversed(opens)),
    ]


@pytest.mark.parametrize("task", KINDS)
async def test_g28_jobs_side_by_side_have_values_of_their_own(provided: Stage, task: str) -> None:
    results = [getattr(provided, task).apply_async(str(n)) for n in range(20)]

    values = await asyncio.wait_for(aiotask.gather(results), TIMEOUT)

    assert [value["values"][0] for value in values] == [str(n) for n in range(20)]
    assert [value["connection"][1] for value in values] == [result.id for result in results]


# ---- ends


@pytest.mark.parametrize("task", ENDS)
async def test_g28_providers_get_the_error_of_the_task_and_are_closed(provided: Stage, task: str) -> None:
    result = getattr(provided, task).options(retries=0).apply_async("fail")

    with pytest.raises(LookupError, match="of the task"):
        await result.wait(TIMEOUT)

    assert whats(provided, result.id)[-4:] == [
        *("error in async block", "close async block"),
        *("error in generator", "close generator"),
    ]


@pytest.mark.parametrize("task", ENDS)
async def test_g28_each_run_of_a_retried_job_opens_its_own(provided: Stage, task: str) -> None:
    result = getattr(provided, task).apply_async("retry")

    assert await result.wait(TIMEOUT) == "retry"

    seen = whats(provided, result.id)
    assert seen.count("open generator") == seen.count("close generator") == seen.count("run") == 2
    assert seen.count("error in generator") == 1


@pytest.mark.parametrize("task", ENDS)
async def test_g28_a_time_limit_closes_the_providers(provided: Stage, task: str) -> None:
    result = getattr(provided, task).options(timeout=0.5, retries=0).apply_async("wait")

    with pytest.raises(JobTimeout):
        await result.wait(TIMEOUT)

    assert whats(provided, result.id)[-1] == "close generator"
    assert whats(provided, result.id).count("close async block") == 1


@pytest.mark.parametrize("task", ENDS)
async def test_g28_a_cancel_closes_the_providers(provided: Stage, task: str) -> None:
    result = getattr(provided, task).apply_async("wait")
    await wait_until_async(lambda: "run" in whats(provided, result.id), description="it runs")

    await result.cancel()
    with pytest.raises(JobCancelled):
        await result.wait(TIMEOUT)

    assert whats(provided, result.id)[-1] == "close generator"


@pytest.mark.parametrize("task", ["hang_sync", "hang_async"])
async def test_g28_a_provider_that_hangs_is_a_timeout_of_the_job(provided: Stage, task: str) -> None:
    result = getattr(provided, task).options(timeout=0.5).apply_async()

    with pytest.raises(JobTimeout):
        await result.wait(TIMEOUT)

    seen = whats(provided, result.id)
    assert "run" not in seen
    assert seen == ["open generator", "open never", "error in never", "close never", *seen[-2:]]
    assert seen[-1] == "close generator"


@pytest.mark.parametrize("task", ["hang_sync", "hang_async"])
async def test_g28_a_job_is_cancelled_while_its_provider_opens(provided: Stage, task: str) -> None:
    result = getattr(provided, task).apply_async()
    await wait_until_async(lambda: "open never" in whats(provided, result.id), description="it is being opened")

    await result.cancel()
    with pytest.raises(JobCancelled):
        await result.wait(TIMEOUT)

    assert whats(provided, result.id)[-1] == "close generator"


@pytest.mark.parametrize("task", ["hang_at_close_sync", "hang_at_close_async"])
async def test_g28_a_close_that_hangs_is_a_timeout_of_the_job(provided: Stage, task: str) -> None:
    result = getattr(provided, task).options(timeout=0.5).apply_async()

    with pytest.raises(JobTimeout):
        await result.wait(TIMEOUT)

    assert whats(provided, result.id)[-2:] == ["error in generator", "close generator"]


@pytest.mark.parametrize("task", ["hang_at_close_sync", "hang_at_close_async"])
async def test_g28_a_job_is_cancelled_while_its_provider_closes(provided: Stage, task: str) -> None:
    result = getattr(provided, task).apply_async()
    await wait_until_async(lambda: "begin to close" in whats(provided, result.id), description="it is being closed")

    await result.cancel()
    with pytest.raises(JobCancelled):
        await result.wait(TIMEOUT)


@pytest.mark.parametrize("task", ["broken_sync", "broken_in_loop_sync", "broken_async"])
async def test_g28_the_error_of_a_provider_is_that_of_the_job(provided: Stage, task: str) -> None:
    result = getattr(provided, task).apply_async()

    with pytest.raises(ConnectionError, match="the database is down"):
        await result.wait(TIMEOUT)

    assert whats(provided, result.id) == ["open generator", "error in generator", "close generator"]


@pytest.mark.parametrize("task", ["swallowed_sync", "swallowed_async"])
async def test_g28_a_provider_cannot_turn_a_failure_into_a_success(provided: Stage, task: str) -> None:
    with pytest.raises(LookupError, match="of the task"):
        await getattr(provided, task).apply_async().wait(TIMEOUT)


async def test_g28_a_close_that_fails_fails_the_job_and_shows_both_errors(provided: Stage) -> None:
    with pytest.raises(ConnectionError, match="at the commit"):
        await provided.unclosed_sync.apply_async(False).wait(TIMEOUT)

    with pytest.raises(LookupError, match="of the task"):
        await provided.unclosed_sync.apply_async(True).wait(TIMEOUT)


@pytest.mark.parametrize("task", ENDS)
async def test_g28_a_killed_process_closes_nothing_and_the_next_run_opens_anew(provided: Stage, task: str) -> None:
    result = getattr(provided, task).apply_async("kill")

    assert await result.wait(TIMEOUT) == "kill"

    seen = events(provided.ledger.directory, result.id)
    assert [each.what for each in seen].count("open generator") == 2
    assert [each.what for each in seen].count("close generator") == 1
    assert len({each.pid for each in seen}) == 2


@pytest.mark.parametrize("task", ENDS)
async def test_g28_a_process_that_a_job_forks_closes_nothing(provided: Stage, task: str) -> None:
    result = getattr(provided, task).apply_async("fork")

    assert await result.wait(TIMEOUT) == "fork"
    # A second job on each process: the first one's child has ended by itself.
    await asyncio.wait_for(aiotask.gather([provided.use_sync.apply_async("after") for _ in range(4)]), TIMEOUT)

    seen = events(provided.ledger.directory, result.id)
    assert [each.what for each in seen].count("close async block") == 1
    assert [each.what for each in seen].count("close generator") == 1


@pytest.mark.parametrize("task", ENDS)
async def test_g28_a_stop_waits_for_the_job_and_its_providers(stage: Put, task: str) -> None:
    provided = stage("provided")
    supervisor = await asyncio.to_thread(provided.start)
    result = getattr(provided, task).apply_async("wait")
    await wait_until_async(lambda: "run" in whats(provided, result.id), description="it runs")

    supervisor.signal(Signals.SIGTERM)
    await wait_until_async(lambda: "Stopping" in supervisor.log, description="it stops")
    Path(provided.GATE).touch()

    assert await asyncio.to_thread(supervisor.wait) == 0
    assert whats(provided, result.id)[-1] == "close generator"
    assert await result.wait(TIMEOUT) == "wait"


# ---- callers


async def test_g28_callers_leave_out_what_the_worker_provides(provided: Stage) -> None:
    for wrong in ({"a": "mine"}, {"h": []}):
        with pytest.raises(TypeError, match="is provided by the worker"):
            provided.use_sync.apply_async("k", **wrong)
        with pytest.raises(TypeError, match="is provided by the worker"):
            provided.use_sync.s("k", **wrong)
    with pytest.raises(TypeError, match="takes 1 positional argument"):
        provided.use_sync.apply_async("k", "mine")


async def test_g28_a_direct_call_names_what_is_missing(provided: Stage) -> None:
    with pytest.raises(ConfigError, match=r'without "a".*\(generator\): pass it'):
        provided.end_sync("k")
    with pytest.raises(ConfigError, match=r'without "b"'):
        await provided.end_async("k", a="mine")
    assert provided.end_sync("k", "mine", b="mine") == "k"
    assert await provided.end_async("k", a="mine", b="mine") == "k"
    # The bare function gets the default, which says what it is.
    with pytest.raises(AttributeError, match="without its worker"):
        _ = provided.use_sync.func.__defaults__[0].query


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


def test_g28_an_annotation_of_another_framework_is_refused_at_registration() -> None:
    from typing import Annotated

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
                with app.override(connect, "another"), app.override(tenant, "nobody"):
                    assert await task.apply_async() == ["session of another", "nobody"]
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
