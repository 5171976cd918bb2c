"""The rules of sending and waiting: many loops, threads and forks, a loop that ends, an interpreter that exits."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import aiotask
from aiotask import (
    App,
    BrokerError,
    ConfigError,
    JobCancelled,
    JobLost,
    RemoteError,
    ResultExpired,
    ResultTimeout,
    SerializationError,
    Status,
    UnknownTask,
    current_job,
)
from aiotask.broker import Notice, Push
from aiotask.brokers.redis.codec import frame
from aiotask.client.send_buffer import Outbox

from .helpers import wait_until_async
from .server import PrivateServer


def make_app(url: str, name: str) -> App:
    app = App(name, url=url)

    @app.task
    def add(a: int, b: int = 2) -> int:
        return a + b

    @app.task
    async def aadd(a: int, b: int = 2) -> int:
        return a + b

    @app.task
    def fail(message: str) -> None:
        raise KeyError(message)

    @app.task
    async def stop_iteration() -> None:
        raise StopAsyncIteration("never as itself")

    @app.task
    async def cancel_itself() -> None:
        raise asyncio.CancelledError

    @app.task
    async def hold(path: str) -> str:
        while not os.path.exists(path):
            await asyncio.sleep(0.01)
        return "held"

    app.tasks = {task.__name__: task for task in (add, aadd, fail, stop_iteration, cancel_itself, hold)}  # type: ignore[attr-defined]
    return app


@pytest.fixture
def app(broker_url: str, app_name: str) -> App:
    return make_app(broker_url, app_name)


@pytest.fixture
async def worker(app: App) -> AsyncIterator[None]:
    async with app.worker():
        yield
        await app.client.close()


# ---- values and errors


async def test_a_result_is_awaited_twice_by_several_tasks_and_brings_the_same_value(app: App, worker: None) -> None:
    result = app.tasks["add"].apply_async(1)

    values = await asyncio.gather(*(result.wait() for _ in range(5)))

    assert values == [3] * 5
    assert await result == 3


@pytest.mark.trap("raised twice")
async def test_each_await_raises_a_fresh_copy_of_the_tasks_own_exception_with_the_remote_traceback(
    app: App, worker: None
) -> None:
    result = app.tasks["fail"].apply_async("x")

    errors = []
    for _ in range(2):
        with pytest.raises(KeyError) as raised:
            await result
        errors.append(raised.value)

    assert errors[0] is not errors[1]
    assert errors[0].args == ("x",)
    assert "raise KeyError(message)" in "".join(errors[1].__notes__)


@pytest.mark.trap("silent cancel")
async def test_what_would_end_a_generator_or_a_task_group_never_travels_as_itself(app: App, worker: None) -> None:
    with pytest.raises(RemoteError, match="never as itself"):
        await app.tasks["stop_iteration"].apply_async()
    with pytest.raises(JobCancelled):
        await app.tasks["cancel_itself"].apply_async()


async def test_arguments_are_encoded_at_once(app: App, worker: None) -> None:
    @app.task
    def length(items: list[int]) -> int:
        return len(items)

    items = [1, 2, 3]
    result = length.apply_async(items)
    items.clear()

    async with app.worker():
        assert await result == 3


async def test_outcomes_that_arrive_before_anybody_awaits_them_are_kept(app: App, worker: None) -> None:
    results = [app.tasks["add"].apply_async(n) for n in range(50)]
    await results[-1]
    await wait_until_async(lambda: all(r.arrived for r in results), description="all outcomes are here")

    assert [await result for result in results] == [n + 2 for n in range(50)]


async def test_gather_keeps_the_order_and_raises_the_first_error(app: App, worker: None) -> None:
    assert await aiotask.gather([app.tasks["aadd"].apply_async(n) for n in range(300)]) == [n + 2 for n in range(300)]
    assert await aiotask.gather([]) == []
    with pytest.raises(KeyError):
        await aiotask.gather([app.tasks["add"].apply_async(1), app.tasks["fail"].apply_async("x")])


async def test_a_wait_that_times_out_leaves_the_job_alone(app: App, worker: None, tmp_path: Path) -> None:
    result = app.tasks["hold"].apply_async(str(tmp_path / "go"))

    with pytest.raises(ResultTimeout, match="The job goes on") as raised:
        await result.wait(timeout=0.05)
    assert isinstance(raised.value, TimeoutError)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(result, 0.05)

    assert await result.status() is Status.RUNNING
    (tmp_path / "go").touch()
    assert await result == "held"


async def test_a_handle_on_any_job_is_made_from_its_id(app: App, broker_url: str, app_name: str, worker: None) -> None:
    id = app.tasks["add"].apply_async(5).id
    other = make_app(broker_url, app_name)
    await app.flush()

    assert await other.result(id) == 7
    assert await other.tasks["add"].result(id).wait(5.0) == 7
    assert await other.result(id).status() is Status.SUCCESS
    await other.client.close()


async def test_an_unknown_id_is_said_and_never_waited_for(app: App, worker: None) -> None:
    with pytest.raises(ResultExpired, match="nowhere"):
        await app.result("nowhere")
    with pytest.raises(ResultExpired):
        await app.result("nowhere").status()
    with pytest.raises(ResultExpired):
        await app.result("nowhere").cancel()


async def test_a_job_that_vanished_from_the_server_is_reported_as_lost(
    own_server: PrivateServer, app_name: str
) -> None:
    app = make_app(own_server.url, app_name)
    result = app.tasks["add"].apply_async(1)
    await result.sent()

    own_server.call("FLUSHALL")

    with pytest.raises(JobLost):
        await result
    await app.client.close()


async def test_a_custom_id_or_key_is_one_job(app: App, worker: None) -> None:
    seen: list[str] = []

    @app.task
    async def note(word: str) -> str:
        seen.append(word)
        return word

    async with app.worker():
        first = note.options(id="order-7").apply_async("a")
        second = note.options(id="order-7").apply_async("b")
        third = note.options(key="k").apply_async("c")
        fourth = note.options(key="k").apply_async("d")
        assert [await r for r in (first, second, third, fourth)] == ["a", "a", "c", "c"]
    assert sorted(seen) == ["a", "c"]


async def test_a_task_by_name_and_a_signature_are_sent_like_a_task(app: App, worker: None) -> None:
    add = app.tasks["add"]
    signature = add.s(1, b=5)

    assert await signature.apply_async() == 6
    assert (await app.s(add.name, 2).apply_async()) == 4
    result = app.s(f"{__name__}:nowhere", 2).apply_async()
    with pytest.raises(UnknownTask, match="nowhere"):
        await result
    assert await result.status() is Status.PARKED
    with pytest.raises(ConfigError, match="not supported in this release"):
        _ = add.s(1).cast


async def test_an_ignored_result_cannot_be_awaited(app: App, worker: None) -> None:
    @app.task(ignore_result=True)
    def quiet() -> None: ...

    result = quiet.apply_async()
    await result.sent()
    with pytest.raises(ResultExpired, match="has ignore_result=True"):
        await result


async def test_cancelling_a_job_that_has_not_started(app: App) -> None:
    result = app.tasks["add"].apply_async(1)
    later = app.tasks["add"].options(delay=60).apply_async(1)

    assert await result.cancel() == "cancelled"
    assert await later.status() is Status.SCHEDULED
    assert await later.cancel() == "cancelled"
    assert await later.cancel() == "finished"
    for handle in (result, later):
        with pytest.raises(JobCancelled):
            await handle
    await app.client.close()


async def test_cancelling_a_running_async_job(app: App, worker: None, tmp_path: Path) -> None:
    result = app.tasks["hold"].apply_async(str(tmp_path / "never"))
    await wait_until_async(lambda: _is(result, Status.RUNNING), description="the job runs")

    assert await result.cancel() == "asked"
    with pytest.raises(JobCancelled):
        await result


async def _is(result: aiotask.AsyncResult[object], status: Status) -> bool:
    return await result.status() is status


# ---- code without a loop


def test_get_blocks_a_thread_without_a_loop(redis_url: str, app_name: str) -> None:
    app = make_app(redis_url, app_name)
    add = app.tasks["add"]
    results = [add.apply_async(n) for n in range(20)]

    async def work() -> None:
        async with app.worker(burst=True) as worker:
            await worker.finished()

    results[-1].get  # noqa: B018 - the handles exist before any worker does
    asyncio.run(app.flush())
    asyncio.run(work())

    assert [result.get(timeout=30) for result in results] == [n + 2 for n in range(20)]
    with pytest.raises(ResultTimeout):
        add.apply_async(1).get(timeout=0.05)


async def test_get_in_a_running_loop_says_await_it(app: App) -> None:
    with pytest.raises(ConfigError, match="await result"):
        app.tasks["add"].apply_async(1).get()
    await app.client.close()


async def test_get_without_a_timeout_inside_a_sync_task_is_refused(app: App, worker: None) -> None:
    @app.task
    def nested() -> int:
        return int(app.tasks["add"].apply_async(1).get())

    async with app.worker():
        with pytest.raises(ConfigError, match="timeout"):
            await nested.apply_async()


def test_a_thread_hands_over_while_another_takes_batches() -> None:
    outbox = Outbox("client", lambda ids, error: False)
    push, usual = Push("a", "default", 5, b"sealed"), sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    thread = threading.Thread(target=lambda: [outbox.put(push) for _ in range(200_000)])
    thread.start()
    try:
        while thread.is_alive() or not outbox.empty:
            outbox.next_batch()
            outbox.accept()
    finally:
        sys.setswitchinterval(usual)
        thread.join()

    assert outbox.settled == outbox.handed == 200_000


def test_many_threads_send_at_once(redis_url: str, app_name: str) -> None:
    app = make_app(redis_url, app_name)
    results: list[aiotask.AsyncResult[int]] = []

    def send() -> None:
        results.extend([app.tasks["aadd"].apply_async(n) for n in range(200)])

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    async def work() -> list[int]:
        await app.flush()
        async with app.worker(burst=True) as worker:
            await worker.finished()
            return await aiotask.gather(results)

    assert len({result.id for result in results}) == 1600
    assert sum(asyncio.run(work())) == 8 * sum(n + 2 for n in range(200))


# ---- ends


def _pending(url: str, name: str) -> int:
    async def count() -> int:
        async with App(name, url=url).inspector() as inspector:
            return sum(queue.pending for queue in await inspector.queues())

    return asyncio.run(count())


@pytest.mark.trap("last words")
def test_a_loop_that_ends_right_after_a_send_loses_nothing(redis_url: str, app_name: str) -> None:
    app = make_app(redis_url, app_name)

    async def main() -> None:
        for n in range(500):
            app.tasks["add"].apply_async(n)

    asyncio.run(main())

    assert _pending(redis_url, app_name) == 500


def run_script(tmp_path: Path, url: str, name: str, body: str) -> subprocess.CompletedProcess[str]:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import asyncio, os, sys, threading
            from aiotask import App
            app = App(os.environ["TEST_APP"], url=os.environ["TEST_URL"])
            @app.task
            def add(a, b=2): return a + b
            """
        )
        + textwrap.dedent(body)
    )
    return subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        env={**os.environ, "TEST_APP": name, "TEST_URL": url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    "body",
    [
        "for n in range(700): add.apply_async(n)",
        "async def main():\n    for n in range(700): add.apply_async(n)\nasyncio.run(main())",
        "async def main():\n    for n in range(700): add.apply_async(n)\n"
        "loop = asyncio.new_event_loop(); loop.run_until_complete(main()); loop.close()",
        "def send():\n    for n in range(700): add.apply_async(n)\n"
        "t = threading.Thread(target=send); t.start(); t.join()",
        "for n in range(700): add.apply_async(n)\nsys.exit(3)",
        "import uvloop\nasync def main():\n    for n in range(700): add.apply_async(n)\nuvloop.run(main())",
    ],
    ids=["no loop", "asyncio.run", "closed loop", "thread", "sys.exit", "uvloop"],
)
@pytest.mark.trap("last words")
def test_an_interpreter_that_exits_right_after_sends_loses_nothing(
    tmp_path: Path, redis_url: str, app_name: str, body: str
) -> None:
    done = run_script(tmp_path, redis_url, app_name, body)

    if "loop.close()" not in body:  # asyncio itself complains of what was under way in a loop closed like that
        assert done.stderr == ""
    assert _pending(redis_url, app_name) == 700


@pytest.mark.trap("descriptors")
def test_a_thousand_loops_leave_no_descriptor_and_no_warning(tmp_path: Path, redis_url: str, app_name: str) -> None:
    done = run_script(
        tmp_path,
        redis_url,
        app_name,
        """
        async def main():
            await add.apply_async(1).sent()
        for _ in range(20): asyncio.run(main())
        before = len(os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd") else os.listdir("/dev/fd"))
        for _ in range(1000): asyncio.run(main())
        after = len(os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd") else os.listdir("/dev/fd"))
        print(after - before, len(app.client._sessions))
        """,
    )

    assert done.stderr == ""
    assert done.stdout.split() == ["0", "0"]


@pytest.mark.trap("descriptors")
def test_loops_that_are_closed_without_farewell_leave_no_descriptor(
    tmp_path: Path, redis_url: str, app_name: str
) -> None:
    done = run_script(
        tmp_path,
        redis_url,
        app_name,
        """
        async def main():
            await add.apply_async(1).sent()
        def once():
            loop = asyncio.new_event_loop()
            loop.run_until_complete(main())
            loop.close()
        import warnings
        with warnings.catch_warnings():
            # asyncio itself complains of the generator that nobody shut down.
            warnings.simplefilter("ignore", ResourceWarning)
            for _ in range(5): once()
            folder = "/proc/self/fd" if os.path.exists("/proc/self/fd") else "/dev/fd"
            count = lambda: len(os.listdir(folder))
            before = count()
            for _ in range(100): once()
            print(count() - before)
        """,
    )

    assert done.stdout.split() == ["0"], done.stderr


def test_a_later_loop_sends_what_a_closed_one_left_behind(tmp_path: Path, redis_url: str, app_name: str) -> None:
    done = run_script(
        tmp_path,
        redis_url,
        app_name,
        """
        async def main():
            add.apply_async(1)
        loop = asyncio.new_event_loop(); loop.run_until_complete(main()); loop.close()
        asyncio.run(app.flush())
        os._exit(0)
        """,
    )

    assert done.returncode == 0, done.stderr
    assert _pending(redis_url, app_name) == 1


def test_a_forked_child_has_an_id_and_an_outbox_of_its_own(tmp_path: Path, redis_url: str, app_name: str) -> None:
    done = run_script(
        tmp_path,
        redis_url,
        app_name,
        """
        import warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        async def main():
            await add.apply_async(0).sent()
            add.apply_async(1)              # still in the outbox of the parent
            pid = os.fork()
            if pid == 0:
                return "child"
            os.waitpid(pid, 0)
            return "parent"
        who = asyncio.run(main())
        if who == "child":
            asyncio.run(app.flush())
            add.apply_async(2)
        """,
    )

    assert done.returncode == 0, done.stderr
    assert _pending(redis_url, app_name) == 3


def test_a_send_that_failed_and_nobody_awaits_is_logged(tmp_path: Path, app_name: str) -> None:
    done = run_script(
        tmp_path,
        f"unix://{tmp_path}/missing.sock",
        app_name,
        """
        async def main():
            add.apply_async(1)
            await asyncio.sleep(0)
        import aiotask.client.session; aiotask.client.session.FAREWELL = 0.2
        asyncio.run(main())
        """,
    )

    assert "1 job not sent" in done.stderr


async def test_no_server_fails_a_send_and_its_await_within_seconds_and_hides_the_password(app_name: str) -> None:
    app = make_app("redis://user:secret@127.0.0.1:1/0", app_name)
    app_result = app.tasks["add"].apply_async(1)

    async with asyncio.timeout(20):
        with pytest.raises(BrokerError) as raised:
            await app_result
        with pytest.raises(BrokerError):
            await app_result.sent()

    assert "127.0.0.1:1" in str(raised.value)
    assert "secret" not in str(raised.value)
    await app.client.close()


async def test_a_forged_outcome_reaches_nobody_as_a_value(app: App, own_server: PrivateServer, app_name: str) -> None:
    app = make_app(own_server.url, app_name)
    result = app.tasks["add"].apply_async(1)
    await result.sent()
    key = f"aiotask1:{{{app_name}}}:"
    own_server.call("SET", f"{key}r:{result.id}", b"cos\nsystem\n(S'touch pwned'\ntR.")
    assert await result.status() is Status.PENDING, "what waits has no outcome yet"
    own_server.call("DEL", f"{key}q:default:5", f"{key}index")

    with pytest.raises(aiotask.SealError):
        await result
    await app.client.close()


async def test_forged_messages_end_no_await_and_are_said_once_a_second(
    own_server: PrivateServer, app_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    app: Any = make_app(own_server.url, app_name)
    result = app.tasks["add"].apply_async(1)
    waiting = asyncio.create_task(result.wait())
    channels = f"aiotask1:{{{app_name}}}:to:*"
    await wait_until_async(lambda: own_server.call("PUBSUB", "CHANNELS", channels), description="it listens")
    (channel,) = own_server.call("PUBSUB", "CHANNELS", channels)
    for forged in (b"cos\nsystem\n(S'touch pwned'\ntR.", app.client.outcomes_sealer.seal(b"\x91" * 20_000)):
        for _ in range(100):
            own_server.call("PUBLISH", channel, frame(Notice(result.id, forged)))
    await wait_until_async(lambda: "An outcome was set aside" in caplog.text, description="that is said")

    async with app.worker():
        assert await waiting == 3

    assert caplog.text.count("An outcome was set aside") < 50
    await app.client.close()


async def test_an_argument_that_cannot_travel_is_named(app: App) -> None:
    with pytest.raises(SerializationError, match='argument "b"'):
        app.tasks["add"].apply_async(1, b=threading.Lock())


def test_current_job_exists_outside_a_job() -> None:
    assert current_job().id == ""
    assert current_job().attempt == 1
    gc.collect()
