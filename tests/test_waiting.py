"""How callers wait: for how long, in which shapes, and what they are told where no worker will run the job."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import trio

import aiotask
from aiotask import App, AsyncResult, ConfigError, ResultTimeout
from aiotask.client import absence

from .helpers import wait_until_async
from .senders import run_program, serving


@pytest.fixture
def app(broker_url: str, app_name: str) -> App:
    app = App(app_name, url=broker_url)

    @app.task(name="jobs:add")
    def add(a: int, b: int = 2) -> int:
        return a + b

    @app.task(name="jobs:fail")
    def fail(message: str) -> int:
        raise KeyError(message)

    app.add, app.fail = add, fail  # type: ignore[attr-defined]
    return app


@pytest.fixture
async def worker(app: App) -> AsyncIterator[None]:
    async with app.worker():
        yield
        await app.client.close()


# ---- how long

WRONG: list[Any] = ["8", -1, float("nan"), float("inf"), True, timedelta(seconds=-1), [1]]


@pytest.mark.parametrize("timeout", WRONG, ids=str)
async def test_what_is_no_duration_is_refused_everywhere(app: App, timeout: Any) -> None:
    result = app.add.apply_async(1)
    calls: list[Callable[[], Any]] = [
        lambda: result.get(timeout=timeout),
        lambda: result.blocking.sent(timeout=timeout),
        lambda: asyncio.run(result.wait(timeout=timeout)),
    ]

    for call in calls:
        with pytest.raises(ConfigError, match=r"timeout=.* is not a duration"):
            await asyncio.to_thread(call)
    await app.client.close()


async def test_a_timedelta_is_taken_everywhere(app: App, worker: None) -> None:
    result = app.add.apply_async(1)

    assert await result.wait(timeout=timedelta(seconds=30)) == 3
    assert await asyncio.to_thread(app.add.apply_async(2).get, timedelta(seconds=30)) == 4
    await asyncio.to_thread(app.add.apply_async(2).blocking.sent, timedelta(seconds=30))


@pytest.mark.parametrize("timeout", [0, 0.0, timedelta(0), 1e-6])
async def test_a_wait_of_no_time_finds_a_finished_job(app: App, worker: None, timeout: Any) -> None:
    result = app.add.apply_async(1)
    await result

    assert await app.result(result.id).wait(timeout) == 3
    assert await asyncio.to_thread(app.result(result.id).get, timeout) == 3


async def test_a_wait_of_no_time_times_out_where_the_job_has_not_ended(app: App) -> None:
    result = app.add.apply_async(1)

    with pytest.raises(ResultTimeout, match="no outcome after 0 s"):
        await result.wait(timeout=0)
    await app.client.close()


# ---- shapes


async def test_asyncio_takes_results_where_it_takes_awaitables(app: App, worker: None) -> None:
    add = app.add

    assert await asyncio.gather(add.apply_async(1), add.apply_async(2)) == [3, 4]
    assert await asyncio.ensure_future(add.apply_async(1)) == 3
    assert await asyncio.wait_for(add.apply_async(1), 30) == 3
    done, _ = await asyncio.wait([asyncio.ensure_future(add.apply_async(1))])
    assert {task.result() for task in done} == {3}
    assert {await each for each in asyncio.as_completed([add.apply_async(1), add.apply_async(2)])} == {3, 4}


async def test_asyncio_wait_on_a_bare_result_names_the_fix(app: App, worker: None) -> None:
    results: Any = [app.add.apply_async(1)]

    with pytest.raises(AttributeError, match=r"asyncio\.ensure_future\(result\)"):
        await asyncio.wait(results)


async def test_gather_names_the_list_that_it_wants(app: App, worker: None) -> None:
    gather: Any = aiotask.gather
    first, second = app.add.apply_async(1), app.add.apply_async(2)

    for wrong in ((first,), (first, second), ([first], second)):
        with pytest.raises(TypeError, match=r"one list of results: `await aiotask\.gather\(\[first, second\]\)`"):
            await gather(*wrong)


async def test_gather_puts_errors_in_the_places_of_values(app: App, worker: None) -> None:
    other = App(app.name, url=app.url)
    missing: AsyncResult[int] = app.result("00nobody-1")
    results = [app.add.apply_async(1), app.fail.apply_async("x"), missing, other.result("00nobody-2")]
    results += [app.add.apply_async(n) for n in range(50)]

    got = await aiotask.gather(results, return_exceptions=True)

    assert got[0] == 3
    assert [type(each).__name__ for each in got[1:4]] == ["KeyError", "ResultExpired", "ResultExpired"]
    assert got[4:] == [n + 2 for n in range(50)]
    assert await aiotask.gather([], return_exceptions=True) == []
    with pytest.raises(KeyError):
        await aiotask.gather(results[:2])
    await other.client.close()


def test_another_library_than_asyncio_is_told_what_to_use(redis_url: str, app_name: str) -> None:
    app = App(app_name, url=redis_url)
    errors: list[str] = []

    async def main() -> int:
        result: AsyncResult[int] = app.s("jobs:add", 1).apply_async()
        calls: list[Callable[[], Coroutine[Any, Any, Any]]] = [
            result.wait,
            result.sent,
            result.status,
            result.cancel,
            app.flush,
        ]
        for call in calls:
            try:
                await call()
            except ConfigError as error:
                errors.append(str(error))
        return await trio.to_thread.run_sync(result.get, 30)

    with serving(redis_url, app_name):
        assert trio.run(main) == 3
    assert len(errors) == 5
    assert all("trio.to_thread.run_sync(result.get)" in error for error in errors)


@pytest.mark.parametrize("library", ["gevent", "eventlet"])
def test_greenlets_wait_while_others_go_on(tmp_path: Path, redis_url: str, app_name: str, library: str) -> None:
    patch = {
        "gevent": "from gevent import monkey, sleep, spawn; monkey.patch_all()\n",
        "eventlet": "import warnings; warnings.simplefilter('ignore')\n"
        "from eventlet import monkey_patch, sleep, spawn; monkey_patch()\n",
    }
    with serving(redis_url, app_name):
        done = run_program(
            tmp_path,
            redis_url,
            app_name,
            """
            ticks = []
            def tick():
                while True: ticks.append(1); sleep(0.001)
            spawn(tick)
            got = []
            for n in range(20): spawn(lambda n=n: got.append(add.apply_async(n).get(timeout=30)))
            while len(got) < 20: sleep(0.01)
            result = add.apply_async(1)
            result.blocking.sent()
            print(sorted(got) == list(range(2, 22)), len(ticks) > 1, result.get(timeout=30))
            """,
            before=patch[library],
        )

    assert done.stdout.split() == ["True", "True", "3"], done.stderr


# ---- no worker


async def test_waiting_on_memory_without_a_worker_is_an_error_and_leaves_the_job(app_name: str) -> None:
    app = App(app_name, url="memory://")

    @app.task(name="jobs:add")
    def add(a: int, b: int = 2) -> int:
        return a + b

    results = [add.apply_async(n) for n in range(3)]

    with pytest.raises(ConfigError, match=r"No worker of app .* `async with app\.worker\(\): …`"):
        await results[0]
    with pytest.raises(ConfigError, match="No worker of app"):
        await aiotask.gather(results)
    async with app.worker(burst=True) as worker:
        assert await results[0] == 2
        await worker.finished()
        with pytest.raises(ConfigError, match="No worker of app"):
            await add.apply_async(5)
    await app.client.close()


async def test_a_worker_that_comes_a_little_later_is_waited_for(app_name: str) -> None:
    app = App(app_name, url="memory://")

    @app.task(name="jobs:add")
    def add(a: int, b: int = 2) -> int:
        return a + b

    waiting = asyncio.ensure_future(add.apply_async(1))
    await asyncio.wait([waiting], timeout=absence.CHECK_AFTER + 1)
    async with app.worker():
        assert await waiting == 3
    await app.client.close()


async def test_a_caller_is_told_once_that_no_worker_is_live(
    redis_url: str, app_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = App(app_name, url=redis_url)
    waiting = [asyncio.ensure_future(app.s("shop.tasks:mail", n).apply_async()) for n in range(3)]

    with caplog.at_level(logging.WARNING, "aiotask.client"):
        await wait_until_async(lambda: caplog.records, description="it is said")

    (record,) = caplog.records
    text = record.getMessage()
    assert f'No worker of app "{app_name}" is live' in text
    assert 'in the queue "default"' in text
    assert text.endswith("Start one: aiotask worker shop.tasks")
    for task in waiting:
        task.cancel()
    await app.client.close()


async def test_a_caller_is_told_of_a_queue_that_no_live_worker_consumes(
    broker_url: str, app: App, worker: None, caplog: pytest.LogCaptureFixture
) -> None:
    waiting = asyncio.ensure_future(app.add.options(queue="mial").apply_async(1))

    with caplog.at_level(logging.WARNING, "aiotask.client"):
        await wait_until_async(lambda: caplog.records, description="it is said")

    assert f'No live worker of app "{app.name}" consumes queue "mial"' in caplog.text
    waiting.cancel()


# ---- large jobs, and test runs


async def test_a_large_call_is_warned_of_once_per_task(app: App, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "aiotask.client"):
        for _ in range(3):
            app.s("shop:load", b"x" * 1_100_000).apply_async()
        app.s("shop:other", b"x" * 900_000).apply_async()

    (record,) = caplog.records
    assert 'A call of task "shop:load" takes 1.1 MB' in record.getMessage()
    await app.client.close()


@pytest.mark.parametrize("body", ["task()", "def test_it(): task()"], ids=["collection", "test"])
def test_a_test_run_starts_no_embedded_server_unless_it_is_told_to(tmp_path: Path, body: str) -> None:
    (tmp_path / "test_shop.py").write_text(
        "from aiotask import App\napp = App('shop')\n@app.task\ndef add(): ...\n"
        f"def task(): add.apply_async()\n{body}\n"
    )
    env = {"PATH": "/usr/bin:/bin", "AIOTASK_HOME": str(tmp_path / "home"), "HOME": str(tmp_path)}

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "test_shop.py"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert "a test run does not start the embedded server by accident" in done.stdout
    assert "AIOTASK_EMBEDDED=1" in done.stdout
    assert not (tmp_path / "home").exists()
