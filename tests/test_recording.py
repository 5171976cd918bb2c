"""The agent that records: in a burst it leaves the processors to the jobs, and it catches up."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest

from aiotask import ResultDB
from aiotask.broker import Broker
from aiotask.brokers import hides_of
from aiotask.brokers.hides import encode_hidden
from aiotask.brokers.history import HistoryRow
from aiotask.history.recorder import Recorder
from aiotask.keeper import recording
from aiotask.keeper.recording import Recording
from aiotask.values.hidden import Hidden

from .helpers import wait_until_async
from .history import count, sqlite
from .seam import Worker, finish, send

#: What seals the jobs of the seam.
SECRET = "test"


class Counted:
    """A recorder that tells how many rows it has written."""

    def __init__(self, path: Path) -> None:
        self.recorder = Recorder(path, [SECRET], "shop")
        self.sizes: list[int] = []

    def record(self, rows: Sequence[HistoryRow]) -> None:
        self.recorder.record(rows)
        self.sizes.append(len(rows))

    def hide(self, hidden: Hidden) -> None:
        self.recorder.hide(hidden)

    def close(self) -> None:
        self.recorder.close()


@pytest.fixture
async def recorder(tmp_path: Path) -> AsyncIterator[Counted]:
    recorder = Counted(tmp_path / "history.db")
    yield recorder
    await asyncio.to_thread(recorder.close)


@contextlib.asynccontextmanager
async def recording_from(broker: Broker, recorder: Counted) -> AsyncIterator[None]:
    await broker.start_history()
    task = asyncio.create_task(Recording(broker, recorder, "host").run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def burst(broker: Broker, jobs: int, *, size: int = 250, pause: float = 0.001, host: str = "host") -> None:
    """That many jobs end, so many at a time with this many seconds between."""
    worker = await Worker(broker, f"{host}.1").enlist()
    for start in range(0, jobs, size):
        await send(broker, *(f"00{host:a>15.15}-{number:05x}" for number in range(start, start + size)))
        claimed = (await worker.claim()).deliveries
        await broker.finish(worker.name, [finish(delivery) for delivery in claimed])
        # The memory broker answers at once, which leaves no time to the thread that records.
        await asyncio.sleep(pause)


async def test_a_burst_is_recorded_to_the_last_job(
    broker: Broker, another_broker: Callable[[], Broker], recorder: Counted
) -> None:
    async with recording_from(another_broker(), recorder):
        await burst(broker, 10_000)

        async def is_done() -> bool:
            return await broker.unrecorded() == 0

        await wait_until_async(is_done, description="all is recorded")
    path = recorder.recorder.path
    assert count(path) == 10_000
    assert sqlite(path, "SELECT count(DISTINCT id) FROM jobs WHERE status = 'SUCCESS'") == [(10_000,)]


async def test_a_burst_without_an_end_is_recorded_too(
    broker: Broker, another_broker: Callable[[], Broker], recorder: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while, and where too much waits, recording takes what time it needs."""
    monkeypatch.setattr(recording, "BURST", 0.1)
    flowing = asyncio.create_task(burst(broker, 1_000_000))
    async with recording_from(another_broker(), recorder):

        async def is_recorded() -> bool:
            return sum(recorder.sizes) >= 8_000

        await wait_until_async(is_recorded, description="thousands are recorded while more end")
        assert not flowing.done()
        flowing.cancel()
        await asyncio.gather(flowing, return_exceptions=True)


async def test_what_gathered_while_the_file_was_locked_is_recorded_as_soon_as_it_is_free(
    broker: Broker, another_broker: Callable[[], Broker], recorder: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time in which nothing could be written says nothing of what recording takes."""
    monkeypatch.setattr(recording, "SHARE", 0.005)
    monkeypatch.setattr(recording, "BURST", 1_000.0)
    async with recording_from(another_broker(), recorder):
        await burst(broker, 10, size=10, host="first")
        await wait_until_async(lambda: recorder.sizes, description="there is a file")
        with contextlib.closing(sqlite3.connect(recorder.recorder.path, isolation_level=None)) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            await burst(broker, 3_000)
            await asyncio.sleep(0.5)
        flowing = asyncio.create_task(burst(broker, 1_000_000, size=1, pause=0.01, host="flow"))
        await wait_until_async(
            lambda: count(recorder.recorder.path) >= 3_010, description="what had gathered is recorded, and more comes"
        )
        assert not flowing.done()
        flowing.cancel()
        await asyncio.gather(flowing, return_exceptions=True)


async def test_a_file_that_takes_the_place_of_another_is_told_what_the_app_hides(
    broker: Broker, another_broker: Callable[[], Broker], recorder: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "LOOK", 0.0)
    monkeypatch.setattr(recording, "LOOK_AGAIN", 0.0)
    path = recorder.recorder.path
    await broker.start_history()
    reading = another_broker()
    task = asyncio.create_task(Recording(reading, recorder, "host", hides_of(reading)).run())

    async def hides() -> bool:
        async with ResultDB(path) as db:
            return (await db.hidden()).hides("iban")

    try:
        # The first jobs end before a worker has told what is hidden, as it does when it is up.
        await burst(broker, 1, size=1, host="first")
        await wait_until_async(lambda: recorder.sizes == [1], description="the job is recorded")
        assert not await hides()
        await hides_of(broker).hide("code", encode_hidden(Hidden().with_words(["iban"])))
        await wait_until_async(hides, description="the file knows it, though no more jobs end")

        path.rename(path.with_suffix(".old"))
        await burst(broker, 1, size=1, host="second")
        await wait_until_async(lambda: recorder.sizes == [1, 1], description="the job is in a new file")
        await wait_until_async(hides, description="the new file knows it")
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
