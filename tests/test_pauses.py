"""Pauses with real workers: nothing of what is paused starts, and it goes on where it was."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from signal import Signals
from typing import Any

import pytest

from aiotask import App, AsyncResult, ConfigError, JobExpired, Limit
from aiotask.brokers.redis.broker import RedisBroker
from aiotask.brokers.redis.script import script
from aiotask.job import Status
from aiotask.ops.connection import Place
from aiotask.ops.pauses import change
from aiotask.parts.pausing import pause_named

from .helpers import wait_until, wait_until_async
from .workers import ROOT, Supervisor, Workers

app = App(os.environ.get("TEST_APP", "pausing"), url=os.environ.get("AIOTASK_URL"))
STEPS = Limit("steps", by="key", max_running_each=1)


@app.task
async def write(path: str, line: str, *, tenant: str = "acme") -> str:
    await asyncio.to_thread(_append, path, line)
    return line


@app.task
def write_in_line(path: str, line: str, *, tenant: str = "acme") -> str:
    _append(path, line)
    return line


@app.task(queue="mail")
async def mail(path: str, line: str) -> str:
    await asyncio.to_thread(_append, path, line)
    return line


@app.task(limit=STEPS)
async def step(path: str, key: str, number: int) -> None:
    await asyncio.to_thread(_append, path, f"{key}{number}")


@app.task
def block(path: str) -> None:
    Path(path, "started").touch()
    wait_until(Path(path, "go").exists, description="the test lets the job end")


@app.task
async def total(values: list[str]) -> str:
    return "".join(values)


def _append(path: str, line: str) -> None:
    with Path(path).open("a") as file:
        file.write(f"{line}\n")


@pytest.fixture
def here(redis_url: str, app_name: str) -> App:
    return App(app_name, url=redis_url)


def start(workers: Workers, app_name: str, **options: Any) -> Supervisor:
    return workers.start("tests.test_pauses", env={"TEST_APP": app_name}, app_dir=ROOT, **options)


def task(here: App, name: str) -> Any:
    function = globals()[name].func
    queue = "mail" if name == "mail" else "default"
    return here.register_task(function, name=f"tests.test_pauses:{name}", queue=queue)


async def knows(supervisor: Supervisor) -> None:
    await wait_until_async(lambda: "Paused: " in supervisor.log, description="the worker knows")


def lines(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


async def is_parked(result: AsyncResult[Any]) -> bool:
    return await result.status() is Status.PARKED


async def test_a_paused_queue_waits_while_others_go_on(
    here: App, workers: Workers, app_name: str, tmp_path: Path
) -> None:
    supervisor = start(workers, app_name)
    path = tmp_path / "ran"
    async with here:
        pause = await here.pause(queue="default", why="a move", by="ann")
        await knows(supervisor)
        waiting = [task(here, "write").apply_async(str(path), f"waited-{n}") for n in range(3)]
        assert await task(here, "mail").apply_async(str(path), "other").wait(60) == "other"
        assert lines(path) == ["other"]
        assert [await result.status() for result in waiting] == ["PENDING"] * 3
        assert await here.pauses() == [pause]
        assert 'Paused: queue "default" (by ann: a move). This worker starts none of its jobs.' in supervisor.log
        assert await here.resume(queue="default")
        for result in waiting:
            await result.wait(60)
        assert sorted(lines(path)) == ["other", "waited-0", "waited-1", "waited-2"]
        resumed = 'Resumed: queue "default".'
        await wait_until_async(lambda: resumed in supervisor.log, description="the log says so")


async def test_once_a_pause_returns_the_workers_obey_it(here: App, workers: Workers, app_name: str) -> None:
    supervisor = start(workers, app_name, concurrency=2)
    place = Place(app_name, here.url)
    await wait_until_async(lambda: "Ready: 2" in supervisor.log, description="both workers are live")

    done = await change(place, pause_named(queue="default"), resume=False)

    assert done.note == ""
    assert supervisor.log.count("Paused: ") == 2
    async with here, here.inspector() as inspector:
        await here.pause(task="tests.test_pauses:write")
        assert supervisor.log.count("Paused: ") == 4
        (one, other) = [worker.facts["pid"] for worker in await inspector.workers()]
    for pid in (one, other):
        os.kill(pid, Signals.SIGSTOP)
    try:
        late = await change(place, pause_named(queue="mail"), resume=False)
    finally:
        for pid in (one, other):
            os.kill(pid, Signals.SIGCONT)
    assert "2 worker processes have not confirmed it yet" in late.note


async def test_what_runs_ends_and_what_has_not_started_goes_back(
    here: App, workers: Workers, app_name: str, tmp_path: Path
) -> None:
    supervisor = start(workers, app_name)
    async with here:
        running = task(here, "block").apply_async(str(tmp_path))
        waiting = [task(here, "write_in_line").apply_async(str(tmp_path / "ran"), f"{n}") for n in range(5)]
        await wait_until_async((tmp_path / "started").exists, description="a job runs")
        await here.pause(everything=True)
        await knows(supervisor)
        (tmp_path / "go").touch()
        await running.wait(60)
        await wait_until_async(lambda: are_pending(waiting), description="all are back")
        assert lines(tmp_path / "ran") == []
        await here.resume(everything=True)
        for result in waiting:
            await result.wait(60)
        # Those that waited behind a long job may have gone behind others.
        assert sorted(lines(tmp_path / "ran")) == ["0", "1", "2", "3", "4"]


async def are_pending(results: list[AsyncResult[Any]]) -> bool:
    return {await result.status() for result in results} == {Status.PENDING}


@pytest.mark.parametrize("name", ["write", "write_in_line"])
async def test_jobs_of_a_paused_task_are_parked(
    name: str, here: App, workers: Workers, app_name: str, tmp_path: Path
) -> None:
    supervisor = start(workers, app_name)
    path = tmp_path / "ran"
    async with here, here.inspector() as inspector:
        pause = await here.pause(task=f"tests.test_pauses:{name}")
        await knows(supervisor)
        paused = [task(here, name).apply_async(str(path), f"{n}") for n in range(4)]
        awaited = asyncio.ensure_future(paused[-1].wait(60))
        await wait_until_async(lambda: is_parked(paused[-1]), description="the last one is parked")
        assert await task(here, "mail").apply_async(str(path), "other").wait(60) == "other"
        info = await inspector.job(paused[0].id)
        assert info is not None and info.need == pause.need_in("default")
        assert await here.resume(task=f"tests.test_pauses:{name}")
        assert await awaited == "3"
        for result in paused:
            await result.wait(60)
    assert sorted(lines(path)) == ["0", "1", "2", "3", "other"]
    if name == "write_in_line":
        assert lines(path) == ["other", "0", "1", "2", "3"]


async def test_a_resume_that_was_interrupted_keeps_the_order_of_each_key(
    here: App, workers: Workers, app_name: str, tmp_path: Path, redis_url: str
) -> None:
    supervisor = start(workers, app_name, concurrency=2)
    path = tmp_path / "ran"
    async with here:
        send = here.register_task(step.func, name="tests.test_pauses:step", limit=STEPS)
        await here.pause(task="tests.test_pauses:step")
        await knows(supervisor)
        before = [send.apply_async(str(path), key, n) for n in range(150) for key in "ab"]
        for result in before:
            await wait_until_async(lambda result=result: is_parked(result), description="it is parked")
        # The caller of the resume dies after its first call to the server.
        broker = here.client.session().broker
        assert isinstance(broker, RedisBroker)
        pause = "task:tests.test_pauses:step"
        assert await broker.wire.run(script("resume"), broker.prefix, pause, "", 7) == [1, 1]
        after = [send.apply_async(str(path), key, n) for n in range(150, 200) for key in "ab"]
        for result in (*before, *after):
            await result.wait(60)
        assert await here.pauses() == []
    for key in "ab":
        assert [line for line in lines(path) if line.startswith(key)] == [f"{key}{n}" for n in range(200)]


async def test_only_calls_with_the_argument_are_parked(
    here: App, workers: Workers, app_name: str, tmp_path: Path
) -> None:
    supervisor = start(workers, app_name)
    path = tmp_path / "ran"
    write = task(here, "write")
    async with here:
        await here.pause(task=write, where="tenant == 'acme'")
        await knows(supervisor)
        held = [write.apply_async(str(path), "named", tenant="acme"), write.apply_async(str(path), "default")]
        for result in held:
            await wait_until_async(lambda result=result: is_parked(result), description="it is parked")
        assert await write.apply_async(str(path), "free", tenant="other").wait(60) == "free"
        # A node whose argument is the value of another job.
        node = write.s(str(path), "node", tenant=write.s(str(path), "acme", tenant="x").cast).apply_async()
        await wait_until_async(lambda: is_parked(node), description="the node is parked")
        await here.resume(task=write, where="tenant=='acme'")
        for result in (*held, node):
            await result.wait(60)
    assert sorted(lines(path)) == ["acme", "default", "free", "named", "node"]


async def test_a_pause_outlives_a_restart_of_the_workers(
    here: App, workers: Workers, app_name: str, tmp_path: Path
) -> None:
    async with here:
        await here.pause(task="tests.test_pauses:write")
        first = start(workers, app_name)
        result = task(here, "write").apply_async(str(tmp_path / "ran"), "late")
        await wait_until_async(lambda: is_parked(result), description="it is parked")
        first.stop()
        start(workers, app_name)
        assert await task(here, "mail").apply_async(str(tmp_path / "ran"), "other").wait(60) == "other"
        assert await is_parked(result)
        await here.resume(task="tests.test_pauses:write")
        assert await result.wait(60) == "late"


async def test_a_paused_job_expires(here: App, workers: Workers, app_name: str, tmp_path: Path) -> None:
    start(workers, app_name)
    write = task(here, "write")
    async with here:
        await here.pause(queue="default")
        with pytest.raises(JobExpired):
            await write.options(expires=0.3).apply_async(str(tmp_path / "ran"), "late").wait(60)
    assert lines(tmp_path / "ran") == []


async def test_a_worker_of_the_loop_obeys(broker_url: str, app_name: str, tmp_path: Path) -> None:
    here = App(app_name, url=broker_url)
    write, path = task(here, "write"), tmp_path / "ran"
    async with here:
        await here.pause(queue="default")
        await here.pause(task=write, where="tenant in acme, umbrella")
        async with here.worker(queues=["default", "mail"]):
            first = write.apply_async(str(path), "free", tenant="other")
            held = write.apply_async(str(path), "held")
            assert await task(here, "mail").apply_async(str(path), "other").wait(60) == "other"
            assert await first.status() == "PENDING"
            await here.resume(queue="default")
            assert await first.wait(60) == "free"
            await wait_until_async(lambda: is_parked(held), description="it is parked")
            await here.resume(task=write, where="tenant in acme, umbrella")
            assert await held.wait(60) == "held"


async def test_a_pause_that_names_no_parameter_of_the_task_is_reported(
    app_name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    here = App(app_name, url="memory://")
    write, path = task(here, "write"), tmp_path / "ran"
    async with here:
        await here.pause(task=write, where="tennant == 'acme'")
        await here.pause(task=write, where="tenant == 'other'")
        async with here.worker():
            for line in ("one", "two"):
                assert await write.apply_async(str(path), line).wait(60) == line
    [told] = [record.getMessage() for record in caplog.records if "stops no job" in record.getMessage()]
    assert 'the task has no parameter "tennant". It has: path, line, tenant.' in told


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({}, "Name one thing"),
        ({"queue": "a", "task": "b"}, "Name one thing"),
        ({"queue": "a", "everything": True}, "Name one thing"),
        ({"queue": "a", "where": "x == 1"}, "is about the arguments of a task"),
        ({"task": "b", "where": "x"}, "is no condition"),
        ({"queue": "a b"}, "queue"),
    ],
)
async def test_what_is_paused_is_named_in_one_way(named: dict[str, Any], message: str, here: App) -> None:
    async with here:
        with pytest.raises(ConfigError, match=message):
            await here.pause(**named)
        with pytest.raises(ConfigError, match=message):
            await here.resume(**named)
        assert await here.pauses() == []


async def test_a_broker_without_pauses_says_so(app_name: str, tmp_path: Path) -> None:
    from . import brokers_sqlite  # noqa: F401

    here = App(app_name, url=f"sqlite://{tmp_path}")
    async with here:
        for call in (here.pause(queue="a"), here.resume(queue="a"), here.pauses()):
            with pytest.raises(ConfigError, match='needs a broker with the feature "pauses"'):
                await call
