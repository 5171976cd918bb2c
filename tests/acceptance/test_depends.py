"""G28: what a worker provides to tasks: opened once per job, closed after it however it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from signal import Signals

import pytest

import aiotask
from aiotask import ConfigError, JobCancelled, JobTimeout

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
