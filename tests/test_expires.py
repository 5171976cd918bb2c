"""Jobs that expire: a run that would start too late does not start, and the caller is told."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import pytest

from aiotask import App, AsyncResult, ConfigError, JobExpired, exponential
from aiotask.broker import Broker, Replayed
from aiotask.brokers.redis.keys import prefix
from aiotask.job import RELEASE, Status, decode_job
from aiotask.tasks.defining import call_of
from aiotask.tasks.options import OPTIONS, BatchOptions, CallOptions, TaskOptions
from aiotask.wire.seal import Sealer

from .helpers import wait_until, wait_until_async
from .seam import Worker, sealed_outcome
from .server import PrivateServer
from .workers import ROOT, Supervisor, Workers

app = App(os.environ.get("TEST_APP", "expiring"), url=os.environ.get("AIOTASK_URL"))


@app.task
async def write(path: str) -> None:
    await asyncio.to_thread(_append, path)


@app.task
def write_in_line(path: str) -> None:
    _append(path)


@app.task(acks="early")
async def write_once(path: str) -> None:
    _append(path)


@app.task(expires=3600)
async def fresh() -> str:
    return "in time"


@app.task(retries=1_000, backoff=exponential(base=0.05, limit=0.05))
async def fail(path: str) -> None:
    _append(path)
    raise ValueError("once more")


def _append(path: str) -> None:
    with Path(path).open("a") as file:
        file.write("ran\n")


@pytest.fixture
def here(redis_url: str, app_name: str) -> App:
    return App(app_name, url=redis_url)


def start(workers: Workers, app_name: str) -> Supervisor:
    return workers.start("tests.test_expires", env={"TEST_APP": app_name}, app_dir=ROOT)


@pytest.mark.parametrize("name", ["write", "write_in_line", "write_once"])
async def test_a_job_that_no_worker_took_in_time_does_not_run(
    name: str, here: App, workers: Workers, app_name: str, tmp_path: Path
) -> None:
    path = tmp_path / "runs"
    task = here.register_task(write.func, name=f"tests.test_expires:{name}")
    async with here:
        late = task.options(expires=0.05).apply_async(str(path))
        past = task.options(expires=datetime.now(UTC) - timedelta(hours=1)).apply_async(str(path))
        in_time = task.options(expires=timedelta(hours=1)).apply_async(str(path))
        await here.flush()
        sent_at = time.time()
        await wait_until_async(lambda: time.time() > sent_at + 0.05, description="the job has expired")
        supervisor = start(workers, app_name)
        for result in (late, past):
            with pytest.raises(JobExpired, match=rf'Job "{result.id}" \(.+\) expired: no run of it was to start after'):
                await result.wait(60)
            assert await result.status() == "EXPIRED"
        await in_time.wait(60)
    assert path.read_text() == "ran\n"
    assert "expired" in supervisor.log


async def test_a_job_that_fails_is_not_retried_beyond_the_moment(
    here: App, workers: Workers, app_name: str, tmp_path: Path
) -> None:
    start(workers, app_name)
    path = tmp_path / "runs"
    async with here:
        result = here.register_task(fail.func, retries=1_000).options(expires=2).apply_async(str(path))
        # The next run would have come too late, or it was not queued in time.
        with pytest.raises((ValueError, JobExpired), match=r"once more|expired after \d+ failed runs?: no other run"):
            await result.wait(60)
    assert path.read_text().startswith("ran\n")


async def test_a_moment_before_1970_is_over(here: App) -> None:
    task = here.register_task(fresh.func)
    async with here, here.worker():
        for year in (1, 1969, 1970):
            with pytest.raises(JobExpired):
                await task.options(expires=datetime(year, 1, 1, tzinfo=UTC)).apply_async().wait(60)


async def test_a_replayed_dead_letter_runs_although_it_has_expired(
    broker_url: str, app_name: str, another_broker: Callable[[], Broker]
) -> None:
    here = App(app_name, url=broker_url)
    task = here.register_task(fresh.func)
    async with here:
        result = task.options(expires=datetime.now(UTC) - timedelta(hours=1)).apply_async()
        await result.sent()
        broker = another_broker()
        worker = await Worker(broker, "elsewhere.1").enlist()
        [delivery] = (await worker.claim()).deliveries
        lost = sealed_outcome(result.id, Status.FAILED)
        await worker.finish(delivery, outcome=lost, status=Status.FAILED, dead=True)
        assert await broker.replay([result.id]) == [Replayed.DONE]
        async with here.worker():
            assert await here.result(result.id).wait(60) == "in time"


async def test_the_log_does_not_say_how_long_a_job_took_that_did_not_start(
    own_server: PrivateServer, app_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    here = App(app_name, url=own_server.url)
    async with here:
        task = here.register_task(fresh.func)
        result = task.options(expires=datetime(2020, 1, 1, tzinfo=UTC)).apply_async()
        await result.sent()
        # The worker is to find it: a keeper that is quicker logs a line of its own.
        own_server.call("DEL", f"{prefix(app_name)}expiring")
        async with here.worker():
            with pytest.raises(JobExpired):
                await result.wait(60)
    [line] = [record.getMessage() for record in caplog.records if " expired" in record.getMessage()]
    assert "took" not in line


async def test_what_has_started_in_time_ends_as_it_would(here: App, workers: Workers, app_name: str) -> None:
    start(workers, app_name)
    task = here.register_task(fresh.func, expires=3600)
    async with here:
        assert await task.apply_async().wait(60) == "in time"
        assert await task.options(expires=None).apply_async().wait(60) == "in time"


# ---- the option


class NoZone(tzinfo):
    """A time zone that knows no offset from UTC: a datetime with it is as naive as one without."""

    def utcoffset(self, when: datetime | None) -> None:
        return None


@pytest.mark.parametrize(
    ("expires", "said"),
    [
        (0, "leaves the job no time"),
        (1_800_000_000, r"more than 31 years\. For a moment, give expires=datetime\.fromtimestamp"),
        (datetime(2030, 1, 1, tzinfo=NoZone()), "has no time zone"),
        (-1, "not a duration"),
        ("soon", "not a duration"),
        (datetime(2030, 1, 1), "has no time zone"),
        (True, "not a duration"),
    ],
)
def test_a_moment_that_is_none_is_refused(expires: object, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        fresh.options(expires=expires)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=said):
        App("none", url="memory://").register_task(fresh.func, expires=expires)  # type: ignore[call-overload]


def test_a_job_may_not_expire_before_it_may_start() -> None:
    with pytest.raises(ConfigError, match="would expire before it may start"):
        fresh.options(delay=60, expires=10)
    # One of the two may come from the task, and the other one from the call.
    with pytest.raises(ConfigError, match="delay=3600 and expires=3600: the job would expire before it may start"):
        fresh.options(delay=3600)
    with pytest.raises(ConfigError, match="would expire before it may start"):
        App("none", url="memory://").register_task(fresh.func, expires=10, delay=10)
    fresh.options(delay=3600, expires=None)
    fresh.options(delay=3600, eta=datetime.now(UTC))


async def test_only_a_job_that_expires_needs_the_second_release(redis_url: str, app_name: str) -> None:
    here = App(app_name, url=redis_url)
    task = here.register_task(fresh.func)
    async with here, here.inspector() as inspector:
        plain, expiring = task.apply_async(), task.options(expires=100).apply_async()
        await here.flush()
        jobs = []
        for result in (plain, expiring):
            info = await inspector.job(result.id)
            assert info is not None and info.sealed is not None
            jobs.append(decode_job(Sealer(here.secrets, "job").open(info.sealed)))
        assert (jobs[0].version, jobs[0].more) == (1, None)
        assert jobs[1].version == RELEASE and jobs[1].more is not None
        assert jobs[1].more.expires == -100


def test_a_call_without_the_option_is_the_call_that_it_was() -> None:
    task = App("calls", url="memory://").register_task(fresh.func)

    assert len(call_of(task.definition, "calls")) == 10
    assert call_of(task.options(expires=5).definition, "calls") != call_of(task.options(expires=6).definition, "calls")
    assert call_of(task.options(expires=None).definition, "calls") == call_of(task.definition, "calls")


def test_every_option_is_in_the_table() -> None:
    options = {*CallOptions.__annotations__, *TaskOptions.__annotations__, *BatchOptions.__annotations__}

    # The definition of a generator sets ``streams``.
    assert options == {*OPTIONS, "name"} - {"streams"}


# ---- ended by the keeper


@app.task(retries=3, backoff=exponential(base=3600, limit=3600))
async def fail_slowly() -> None:
    raise ValueError("not now")


@app.task
def block(path: str) -> None:
    wait_until(Path(path).exists, description="the test lets the job end")


async def test_a_job_between_retries_ends_with_the_error_of_its_last_run(
    here: App, workers: Workers, app_name: str
) -> None:
    start(workers, app_name)
    async with here:
        result = here.register_task(fail_slowly.func).options(expires=60, retries=3).apply_async()
        with pytest.raises(ValueError, match="not now"):
            await result.wait(60)


async def test_jobs_expire_while_every_worker_is_busy(
    here: App, workers: Workers, app_name: str, tmp_path: Path
) -> None:
    start(workers, app_name)
    async with here:
        busy = here.register_task(block.func).apply_async(str(tmp_path / "go"))
        await wait_until_async(lambda: is_running(busy), description="the worker is busy")
        task = here.register_task(write_in_line.func)
        waiting = task.options(expires=0.3).apply_async(str(tmp_path / "runs"))
        later = task.options(expires=0.4, delay=0.3).apply_async(str(tmp_path / "runs"))
        parked = nowhere(here).options(expires=1.0).apply_async()
        for result in (waiting, later, parked):
            with pytest.raises(JobExpired, match="no run of it was to start after"):
                await result.wait(60)
            assert await result.status() == "EXPIRED"
        assert not (tmp_path / "runs").exists()
        assert await busy.status() == "RUNNING"
        (tmp_path / "go").touch()
        await busy.wait(60)


def nowhere(app: App) -> Any:
    """A task that no worker knows, so that its jobs are parked."""
    return app.register_task(fresh.func, name="tests.test_expires:nowhere", expires=None)


async def is_running(result: AsyncResult[Any]) -> bool:
    return await result.status() == "RUNNING"


async def test_jobs_expire_in_a_worker_of_the_loop(broker_url: str, app_name: str) -> None:
    here = App(app_name, url=broker_url)
    elsewhere = App(app_name, url=broker_url)
    async with here, elsewhere, here.worker():
        result = nowhere(elsewhere).options(expires=0.2).apply_async()
        with pytest.raises(JobExpired):
            await result.wait(60)


@pytest.mark.parametrize("shift", [-3600, 3600])
async def test_clocks_of_sender_and_worker_may_differ_by_an_hour(
    shift: int, here: App, app_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = here.register_task(fresh.func, expires=None)
    async with here:
        here_and_now = time.time
        monkeypatch.setattr("aiotask.app.time.time", lambda: here_and_now() + shift)
        good = task.options(expires=600).apply_async()
        bad = task.options(expires=0.05).apply_async()
        await here.flush()
        monkeypatch.setattr("aiotask.app.time.time", here_and_now)
        at = here_and_now()
        await wait_until_async(lambda: here_and_now() > at + 0.05, description="one has expired")
        async with here.worker():
            assert await good.wait(60) == "in time"
            with pytest.raises(JobExpired):
                await bad.wait(60)


async def test_without_its_time_at_the_broker_the_worker_judges(own_server: PrivateServer, app_name: str) -> None:
    here = App(app_name, url=own_server.url)
    task = here.register_task(fresh.func, expires=None)
    async with here:
        gone = task.options(expires=0.05).apply_async()
        there = task.options(expires=600).apply_async()
        await here.flush()
        own_server.call("DEL", f"{prefix(app_name)}expiring")
        at = time.time()
        await wait_until_async(lambda: time.time() > at + 0.05, description="one has expired")
        async with here.worker():
            assert await there.wait(60) == "in time"
            with pytest.raises(JobExpired):
                await gone.wait(60)
