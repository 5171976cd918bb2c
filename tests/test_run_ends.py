"""What middleware is told of the end of each run, of a call on its way out, and of the app that it belongs to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aiotask import App, Call, JobContext, JobExpired, Middleware, Retry, current_job
from aiotask.inloop import worker as inloop

from .helpers import wait_until_async

End = tuple[str, int, str, str]


class Ends(Middleware):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.ends: list[End] = []
        self.calls: list[tuple[str, str, str, bool]] = []
        self.apps: list[str] = []

    def attach(self, app: Any, /) -> None:
        self.apps.append(app.name)

    @contextlib.contextmanager
    def send(self, call: Call, /) -> Iterator[None]:
        yield
        self.calls.append((call.task, call.queue, call.id, call.is_scheduled))

    def on_run_end(self, job: JobContext, status: str, error: Exception | None, /) -> None:
        assert current_job() is job
        self.ends.append((job.id, job.attempt, status, type(error).__name__))

    async def of(self, id: str, count: int = 1) -> list[End]:
        """The ends of the runs of this job, once there are so many."""
        found: list[End] = []

        def are_there() -> bool:
            found[:] = [end for end in self.ends if end[0] == id]
            return len(found) >= count

        await wait_until_async(are_there, description="the runs have ended")
        return found


@pytest.fixture
def ends() -> Ends:
    return Ends()


@pytest.fixture
def app(ends: Ends, app_name: str, broker_url: str) -> App:
    return App(app_name, url=broker_url, middleware=[ends])


async def test_it_is_told_of_every_run_with_the_next_status_of_the_job(app: App, ends: Ends) -> None:
    @app.task(name="t:node")
    def node(n: int) -> int:
        return n

    @app.task(name="t:flaky", retries=1, backoff=lambda failures: 0.0)
    def flaky() -> None:
        raise (Retry(delay=0) if current_job().attempt == 1 else ValueError("no"))

    @app.task(name="t:grows")
    async def grows() -> Any:
        return node.s(1)

    @app.task(name="t:unreadable")
    def unreadable() -> Any:
        return (n for n in ())

    @app.task(name="t:late")
    def late() -> None: ...

    late_one = late.options(expires=datetime.now(UTC) - timedelta(seconds=1)).apply_async()
    async with app, app.worker():
        results = [task.apply_async() for task in (flaky, grows, unreadable)]
        for result in results:
            with contextlib.suppress(Exception):
                await result.wait(30)
        with pytest.raises(JobExpired):
            await late_one.wait(30)
        told = [
            [end[1:] for end in await ends.of(result.id, count)]
            for result, count in zip(results, (2, 2, 1), strict=True)
        ]

    assert told == [
        [(1, "RETRYING", "Retry"), (2, "FAILED", "ValueError")],
        [(1, "WAITING", "NoneType"), (1, "SUCCESS", "NoneType")],
        [(1, "FAILED", "SerializationError")],
    ]
    assert late_one.id not in [end[0] for end in ends.ends]


async def test_it_is_told_of_a_run_that_goes_back(app: App, ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inloop, "STOP_TIMEOUT", 0.2)
    begun = asyncio.Event()

    @app.task(name="t:long")
    async def long() -> None:
        begun.set()
        await asyncio.sleep(3600)

    async with app, app.worker():
        result = long.apply_async()
        await begun.wait()

    assert await ends.of(result.id) == [(result.id, 1, "PENDING", "NoneType")]


async def test_it_is_told_of_each_item_of_a_batch(app: App, ends: Ends) -> None:
    @app.task(name="t:batch", batch=2, batch_wait=10)
    def batch(numbers: list[int]) -> list[Any]:
        return [n or ValueError("nothing") for n in numbers]

    async with app, app.worker():
        first, second = batch.apply_async(0), batch.apply_async(1)
        assert await second.wait(30) == 1
        assert (await ends.of(first.id))[0][1:] == (1, "FAILED", "ValueError")
        assert (await ends.of(second.id))[0][1:] == (1, "SUCCESS", "NoneType")


async def test_an_error_of_it_is_logged_and_changes_nothing(
    app_name: str, broker_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Fails(Middleware):
        async def on_run_end(self, job: JobContext, status: str, error: Exception | None, /) -> None:
            raise LookupError("of the hook")

    app = App(app_name, url=broker_url, middleware=[Fails()])

    @app.task(name="t:one")
    def one() -> int:
        return 1

    async with app, app.worker():
        assert await one.apply_async().wait(30) == 1
        await wait_until_async(lambda: "of the hook" in caplog.text, description="the error is in the log")

    assert "Fails.on_run_end failed after job" in caplog.text


async def test_a_call_names_its_queue_and_its_job(app: App, ends: Ends, app_name: str) -> None:
    @app.task(name="t:node", queue="sums")
    def node(n: int) -> int:
        return n

    @app.task(name="t:one")
    def one(n: int) -> int:
        return n

    @app.task(name="t:tick", every=3600, queue="clock")
    def tick() -> None: ...

    plain = one.options(queue="other").apply_async(1)
    inner = node.s(1)
    graph = one.s(inner.cast).apply_async()
    async with app, app.worker(queues=["clock"]):
        await wait_until_async(lambda: len(ends.calls) >= 4, description="the schedule is declared")

    assert ends.apps == [app_name]
    assert set(ends.calls) == {
        ("t:one", "other", plain.id, False),
        ("t:one", "default", graph.id, False),
        ("t:node", "sums", inner.id, False),
        ("t:tick", "clock", "", True),
    }
