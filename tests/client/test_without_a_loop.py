"""Sending and waiting in threads and in code without a loop."""

from __future__ import annotations

import asyncio
import sys
import threading

import pytest

import aiotask
from aiotask import App, ConfigError, ResultTimeout
from aiotask.broker import Push
from aiotask.client.send_buffer import SendBuffer

from .sums import make_app


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
    send_buffer = SendBuffer("client", lambda ids, error: False)
    push, usual = Push("a", "default", 5, b"sealed"), sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    thread = threading.Thread(target=lambda: [send_buffer.put(push) for _ in range(200_000)])
    thread.start()
    try:
        while thread.is_alive() or not send_buffer.empty:
            send_buffer.next_batch()
            send_buffer.accept()
    finally:
        sys.setswitchinterval(usual)
        thread.join()

    assert send_buffer.settled == send_buffer.handed == 200_000


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
