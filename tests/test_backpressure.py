"""A full queue as senders meet it: refused, waiting for room, or making room; and a server without memory."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from aiotask import App, BrokerError, ConfigError, ConnectionLost, JobCancelled, QueueFull, ResultTimeout, Status
from aiotask.client import backpressure
from aiotask.results.result import AsyncResult

from .helpers import wait_until_async
from .server import PrivateServer


def make_app(url: str, name: str, **settings: object) -> App:
    app = App(name, url=url, **settings)  # type: ignore[arg-type]

    @app.task
    async def double(n: int) -> int:
        return 2 * n

    @app.task(queue="mail")
    def mail(n: int) -> int:
        return n

    @app.task(acks="early")
    async def once(n: int) -> int:
        return n

    @app.task
    async def fan_out(n: int) -> int:
        results = [double.apply_async(each) for each in range(n)]
        for result in results:
            await result.sent()
        return sum([await result for result in results])

    app.tasks = {task.__name__: task for task in (double, mail, once, fan_out)}  # type: ignore[attr-defined]
    return app


@pytest.fixture
async def place(broker_url: str, app_name: str) -> AsyncIterator[tuple[str, str]]:
    yield broker_url, app_name


async def ends_of(results: list[AsyncResult[int]]) -> list[int | type[BaseException]]:
    ends = await asyncio.gather(*results, return_exceptions=True)
    return [type(end) if isinstance(end, BaseException) else end for end in ends]


async def test_what_finds_its_queue_full_is_refused_and_nothing_else(
    place: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(*place, max_pending={"default": 3})
    double, mail = app.tasks["double"], app.tasks["mail"]  # type: ignore[attr-defined]
    results = [task.apply_async(n) for n in range(5) for task in (double, mail)]
    await app.flush()
    accepted = await asyncio.gather(*(result.sent() for result in results), return_exceptions=True)
    assert [type(error) for error in accepted if error is not None] == [QueueFull, QueueFull]
    with pytest.raises(QueueFull, match=r'Queue "default" is full: 3 jobs are waiting in it \(max_pending\)'):
        await results[8]
    with pytest.raises(QueueFull):
        await results[8].status()
    assert "2 jobs not sent" in caplog.text, "nobody had asked for them yet"
    # Delayed ones are not waiting yet.
    assert await double.options(delay=60).apply_async(1).status() is Status.SCHEDULED
    async with app.worker():
        assert await ends_of(results) == [0, 0, 2, 1, 4, 2, QueueFull, 3, QueueFull, 4]
        assert await double.apply_async(21) == 42
    await app.client.close()


async def test_senders_wait_for_room_and_hold_up_nobody(
    place: tuple[str, str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backpressure, "_WARN_AFTER", 0.0)
    app = make_app(*place, max_pending=2, when_full="wait")
    double, mail = app.tasks["double"], app.tasks["mail"]  # type: ignore[attr-defined]
    results = [double.apply_async(n) for n in range(60)]
    behind = double.apply_async(60)
    with pytest.raises(ResultTimeout):
        await behind.wait(timeout=0.3)
    assert await behind.status() is Status.PENDING
    await mail.apply_async(7).sent()
    said = 'queues are full (max_pending): "default" (59)'
    await wait_until_async(lambda: said in caplog.text, description="it is said")
    unwanted = results.pop()
    assert await unwanted.cancel() == "cancelled"
    with pytest.raises(JobCancelled):
        await unwanted.sent()
    with pytest.raises(JobCancelled):
        await unwanted
    async with app.worker():
        assert await ends_of([*results, behind]) == [*range(0, 118, 2), 120]
        await asyncio.gather(*(result.sent() for result in results))
        # More than there is room for, sent by what has to make it.
        fans = [app.tasks["fan_out"].apply_async(8) for _ in range(6)]  # type: ignore[attr-defined]
        assert await ends_of(fans) == [56] * 6
    await app.client.close()
    assert app.client.session().send_buffer.empty


async def test_the_oldest_make_room_for_what_is_new(place: tuple[str, str]) -> None:
    app = make_app(*place, max_pending=4, when_full="drop_oldest")
    double = app.tasks["double"]  # type: ignore[attr-defined]
    results = []
    for n in range(3):
        results += [double.apply_async(each) for each in range(3 * n, 3 * n + 3)]
        await asyncio.gather(*(result.sent() for result in results))
    flood = [double.apply_async(n) for n in range(9, 40)]
    await app.flush()
    with pytest.raises(JobCancelled, match=r'was dropped before it started: queue "default" was full \(4 jobs'):
        await results[0]
    assert await results[1].status() is Status.CANCELLED
    async with app.worker():
        ends = await ends_of([*results, *flood])
    assert ends == [JobCancelled] * 36 + [72, 74, 76, 78]
    await app.client.close()


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"max_pending": 0}, "whole number of at least 1"),
        ({"max_pending": {"mail": "many"}}, "whole number of at least 1"),
        ({"max_pending": {"no such name": 1}}, "cannot name a queue"),
        ({"max_pending": 1, "when_full": "explode"}, "reject, wait, drop_oldest"),
    ],
)
def test_limits_that_make_no_sense_are_refused(settings: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        make_app("memory://", "limits", **settings)


async def test_limits_come_from_the_environment_too(monkeypatch: pytest.MonkeyPatch, app_name: str) -> None:
    monkeypatch.setenv("AIOTASK_MAX_PENDING", "mail=2, =1")
    monkeypatch.setenv("AIOTASK_WHEN_FULL", "reject")
    app = make_app("memory://", app_name)
    mail, double = app.tasks["mail"], app.tasks["double"]  # type: ignore[attr-defined]
    sent = await asyncio.gather(
        *(task.apply_async(n).sent() for n in range(3) for task in (mail, double)), return_exceptions=True
    )
    assert [error is None for error in sent] == [True, True, True, False, False, False]
    await app.client.close()
    monkeypatch.setenv("AIOTASK_MAX_PENDING", "mail=lots")
    with pytest.raises(ConfigError, match="AIOTASK_MAX_PENDING"):
        make_app("memory://", app_name)


def test_the_same_words_without_a_loop(redis_url: str, app_name: str) -> None:
    app = make_app(redis_url, app_name, max_pending=1, when_full="wait")
    double = app.tasks["double"]  # type: ignore[attr-defined]
    first, second = double.apply_async(1), double.apply_async(2)
    first.blocking.sent()
    with pytest.raises(ResultTimeout, match="was not accepted by the broker within"):
        second.blocking.sent(timeout=0.1)
    assert first.blocking.status() is Status.PENDING
    assert first.blocking.cancel() == "cancelled"
    second.blocking.sent(timeout=30)
    assert second.blocking.cancel() == "cancelled"

    async def wrongly() -> None:
        first.blocking.sent()

    with pytest.raises(ConfigError, match=r"await result\.sent\(\)"):
        asyncio.run(wrongly())


# ---- the server itself


async def test_a_server_without_memory_refuses_what_is_new_and_is_drained(
    own_server: PrivateServer, app_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "aiotask")
    app = make_app(own_server.url, app_name)
    double, once = app.tasks["double"], app.tasks["once"]  # type: ignore[attr-defined]
    jobs = [task.apply_async(n) for n in range(100) for task in (double, once)]
    unwanted = double.options(priority=9).apply_async(0)
    await app.flush()
    own_server.call("CONFIG", "SET", "maxmemory", 1)
    async with asyncio.timeout(120):
        with pytest.raises(QueueFull, match="out of memory"):
            await double.apply_async(1)
    assert await unwanted.cancel() == "cancelled"
    assert await jobs[0].status() is Status.PENDING
    async with app.worker():
        assert await ends_of(jobs) == [value for n in range(100) for value in (2 * n, n)]
        with pytest.raises(QueueFull):
            await double.apply_async(1).sent()
        own_server.call("CONFIG", "SET", "maxmemory", 0)
        assert await double.apply_async(21) == 42
    await app.client.close()


async def test_one_question_about_a_job_takes_one_patience(own_server: PrivateServer, app_name: str) -> None:
    app = make_app(own_server.url, app_name)
    double = app.tasks["double"]  # type: ignore[attr-defined]
    await double.apply_async(1).sent()
    own_server.pause()
    try:
        # Too short to wait once to send what is left and once more to ask.
        async with asyncio.timeout(7.5):
            with pytest.raises((ConnectionLost, BrokerError)):
                await double.apply_async(2).status()
    finally:
        own_server.resume()
    await app.client.close()
