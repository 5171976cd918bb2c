"""B. Results are recorded and come back as what they are; the same app runs without a server."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

import aiotask
from aiotask import App, ResultDB, ResultExpired, SerializationError, Status
from aiotask.brokers import connect, inspect

from ..helpers import wait_until_async
from ..workers import Workers, running_workers
from .stage import Put, Stage, prepared, staged

ORDER = UUID("12345678-1234-5678-1234-567812345678")
AT = datetime(2024, 2, 29, 12, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def shop_and_history(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stage, Path]]:
    """The apps of models with one worker process, which records what ends."""
    directory = tmp_path_factory.mktemp("models")
    history = directory / "history.db"
    with running_workers(directory, redis_url) as workers:
        stage = prepared("models", workers, directory / "ledger")
        stage.start(1, "--result-db", str(history))
        yield stage, history


@pytest.fixture
def shop(shop_and_history: tuple[Stage, Path]) -> Iterator[Stage]:
    with shop_and_history[0].active():
        yield shop_and_history[0]


@pytest.fixture
def history(shop_and_history: tuple[Stage, Path]) -> Path:
    """The file that the worker records into."""
    return shop_and_history[1]


@pytest.fixture
async def db(shop: Stage, history: Path) -> AsyncIterator[ResultDB]:
    async with ResultDB(history, app=shop.app) as db:
        yield db


@pytest.fixture(params=["cloudpickle", "json"])
def tasks(shop: Stage, request: pytest.FixtureRequest) -> Any:
    """The tasks of the app that pickles, and of the one that writes JSON."""

    class Tasks:
        def __getattr__(self, name: str) -> Any:
            return shop.task_of(name, request.param)

    return Tasks()


def rows(path: Path, sql: str, *values: Any) -> list[Any]:
    """What anybody reads with SQLite alone."""
    with closing(sqlite3.connect(path)) as connection, connection:
        return connection.execute(sql, values).fetchall()


async def recorded(db: ResultDB, *ids: str) -> None:
    """Return once these jobs are in the file."""

    async def all_there() -> bool:
        return all([await db.exists(id) for id in ids])

    await wait_until_async(all_there, description="the jobs are recorded")


# ---- B7: ResultDB


async def test_b7_a_value_comes_back_as_the_declared_type(shop: Stage, db: ResultDB) -> None:
    result = shop.charge.apply_async(order(shop), Decimal("0.5"), tags={"gift"})
    receipt = await result
    await recorded(db, result.id)
    again = await db.fetch_result(result.id)
    assert type(again) is shop.Receipt
    assert again == receipt == shop.Receipt(ORDER, Decimal("2.5"), AT + timedelta(hours=1), ("tea (SMALL)",), {"gift"})
    record = await db.fetch_record(result.id)
    assert record is not None
    assert (record.task, record.status, record.attempts) == (f"{shop.name}:charge", Status.SUCCESS, 1)
    assert await db.fetch_status(result.id) is Status.SUCCESS
    assert await db.exists(result.id)


async def test_b7_a_value_of_the_json_app_comes_back_as_the_declared_type(shop: Stage, history: Path) -> None:
    async with ResultDB(history, app=shop.plain) as db:
        charge, moment = shop.task_of("charge", "json"), shop.task_of("moment", "json")
        results = [charge.apply_async(order(shop)), moment.apply_async()]
        values = await asyncio.gather(*results)
        await recorded(db, *(result.id for result in results))
        assert [await db.fetch_result(result.id) for result in results] == values
        assert type(values[0]) is shop.Receipt and values[1] == datetime(2024, 2, 29, 12, tzinfo=UTC)


async def test_b7_none_is_a_value_and_nothing_is_none_of_ours(shop: Stage, db: ResultDB) -> None:
    result = shop.nothing.apply_async()
    assert await result is None
    await recorded(db, result.id)
    assert await db.fetch_result(result.id) is None
    assert await db.fetch_status(result.id) is Status.SUCCESS
    with pytest.raises(ResultExpired, match='has no job "never-sent"'):
        await db.fetch_result("never-sent")
    assert await db.fetch_record("never-sent") is None
    assert await db.fetch_status("never-sent") is None
    assert not await db.exists("never-sent")


async def test_b7_a_failure_is_raised_again(shop: Stage, db: ResultDB) -> None:
    result = shop.refuse.apply_async("tea")
    with pytest.raises(LookupError, match="tea"):
        await result
    await recorded(db, result.id)
    with pytest.raises(LookupError, match="tea") as caught:
        await db.fetch_result(result.id)
    assert "in refuse\n" in caught.value.__notes__[0]
    assert await db.fetch_status(result.id) is Status.FAILED
    record = await db.fetch_record(result.id)
    assert record is not None and record.error is not None and "tea" in record.error
    assert record.traceback is not None and "in refuse\n" in record.traceback


async def test_b7_tasks_without_annotations_work(shop: Stage, db: ResultDB) -> None:
    result = shop.untyped.apply_async({"a": (1, None)}, times=2)
    assert await result == [{"a": (1, None)}] * 2
    await recorded(db, result.id)
    assert await db.fetch_result(result.id) == [{"a": (1, None)}] * 2


async def test_b7_the_status_before_the_end_is_that_of_the_broker(shop: Stage, db: ResultDB) -> None:
    result = shop.nothing.options(delay=600.0).apply_async()
    await result.sent()
    assert await db.fetch_status(result.id) is Status.SCHEDULED
    assert await db.fetch_record(result.id) is None
    await result.cancel()
    await recorded(db, result.id)
    assert await db.fetch_status(result.id) is Status.CANCELLED


async def test_b7_one_bad_row_breaks_nothing(shop: Stage, db: ResultDB, history: Path) -> None:
    results = [shop.untyped.apply_async(n) for n in range(5)]
    await asyncio.gather(*results)
    await recorded(db, *(result.id for result in results))
    bad, garbage = results[1].id, results[3].id
    rows(history, "UPDATE jobs SET status = 'ODD', attempts = 'many', outcome = x'00', deps = '{' WHERE id = ?", bad)
    rows(history, "UPDATE jobs SET task = x'ff', job = 7, result = 1.5, outcome = NULL WHERE id = ?", garbage)
    records = {record.id: record for record in await db.fetch_all()}
    assert {result.id for result in results} <= set(records)
    assert "damaged" in (records[bad].error or "") and "damaged" in (records[garbage].error or "")
    assert [await db.fetch_result(results[n].id) for n in (0, 2, 4)] == [[0, 0], [2, 2], [4, 4]]
    for id in (bad, garbage):
        with pytest.raises(aiotask.AiotaskError):
            await db.fetch_result(id)


async def test_b7_anybody_reads_the_file_with_sqlite(shop: Stage, db: ResultDB, history: Path) -> None:
    result = shop.untyped.apply_async("word", times=3)
    await result
    await recorded(db, result.id)
    ((app, task, status, arguments, value),) = rows(
        history, "SELECT app, task, status, arguments, result FROM jobs WHERE id = ?", result.id
    )
    assert (app, task, status) == (shop.app.name, f"{shop.name}:untyped", "SUCCESS")
    assert (json.loads(arguments), json.loads(value)) == ([["word"], {"times": 3}], ["word"] * 3)
    assert rows(history, "PRAGMA journal_mode") == [("wal",)]
    assert rows(history, "PRAGMA user_version")[0][0] >= 1
    indexed = {row[2].split("(")[0] for row in rows(history, "SELECT * FROM sqlite_master WHERE type = 'index'")}
    assert indexed == {"jobs"}
    plan = rows(history, "EXPLAIN QUERY PLAN SELECT * FROM jobs WHERE id = ? AND app = ?", result.id, app)
    assert "USING INDEX" in str(plan)
    assert rows(history, "PRAGMA integrity_check") == [("ok",)]


async def test_b7_setup_makes_the_file_and_the_newest_comes_first(stage: Put, tmp_path: Path) -> None:
    shop, path = stage("models"), tmp_path / "new" / "history.db"
    async with ResultDB(path, app=shop.app) as db:
        await db.setup()
        assert path.exists() and await db.fetch_all() == []
        await asyncio.to_thread(shop.start, 1, "--result-db", str(path))
        ids = []
        for n in range(4):
            result = shop.untyped.apply_async(n)
            await result
            ids.append(result.id)
        await recorded(db, *ids)
        assert [record.id for record in await db.fetch_all()] == ids[::-1]
        [newest] = await db.fetch_all(limit=1)
        assert [record.id for record in await db.fetch_all(limit=2, after=newest)] == [ids[2], ids[1]]


# ---- B8: models and dataclasses


def order(shop: Stage, *names: str) -> Any:
    articles = [shop.Article(name=name, price=Decimal("3")) for name in names or ("tea",)]
    return shop.Order(id=ORDER, at=AT, articles=articles)


async def test_b8_models_and_dataclasses_as_arguments_and_results(shop: Stage, tasks: Any) -> None:
    receipt = await tasks.charge.apply_async(order(shop), Decimal("0.25"), tags={"a", "b"})
    assert type(receipt) is shop.Receipt
    assert receipt == shop.Receipt(ORDER, Decimal("2.75"), AT + timedelta(hours=1), ("tea (SMALL)",), {"a", "b"})
    assert type(receipt.total) is Decimal and type(receipt.lines) is tuple and type(receipt.ready) is datetime
    later = await tasks.renew.apply_async(receipt, by=timedelta(days=1))
    assert later.ready - receipt.ready == timedelta(days=1)
    article = await tasks.article.apply_async("cake")
    assert type(article) is shop.Article and article.size is shop.Size.LARGE
    assert article == shop.Article(name="cake", price=Decimal("1.5"), size=shop.Size.LARGE)


async def test_b8_models_inside_containers_and_optional_ones(shop: Stage, tasks: Any) -> None:
    small, large = order(shop, "tea"), order(shop, "tea", "cake")
    came = await tasks.largest.apply_async([small, large])
    assert type(came) is shop.Order and came == large
    assert type(came.articles[1]) is shop.Article
    assert await tasks.largest.apply_async([]) is None


async def test_b8_json_checks_what_is_sent_and_what_is_returned(shop: Stage) -> None:
    renew, wrong = shop.task_of("renew", "json"), shop.task_of("wrong", "json")
    with pytest.raises(SerializationError, match='"receipt"'):
        renew.apply_async("no receipt", by=timedelta(1))
    with pytest.raises(SerializationError, match=r'Task ".*:wrong" returned a str'):
        await wrong.apply_async().wait(60)


async def test_b8_json_by_name_needs_no_models_here_and_is_checked_there(shop: Stage) -> None:
    # This app does not know the tasks, as another service would not.
    stranger = App(shop.plain.name, serializer="json")
    plain = {"id": str(ORDER), "at": AT.isoformat(), "articles": [{"name": "tea", "price": "3"}]}
    result = stranger.s(f"{shop.name}:largest", [plain]).apply_async()
    assert await result.wait(60) == {**plain, "at": "2024-02-29T12:30:00Z", "note": None} | {
        "articles": [{"name": "tea", "price": "3", "size": "s"}]
    }
    assert await shop.task_of("largest", "json").result(result.id) == order(shop)
    bad = stranger.s(f"{shop.name}:charge", {"id": "no uuid", "at": "never", "articles": []}).apply_async()
    with pytest.raises(SerializationError, match=r'argument "order\.id" of charge\(\).*: Input should be a valid UUID'):
        await bad.wait(60)


# ---- B10: the memory broker


@pytest.fixture
def here(workers: Workers, tmp_path: Path) -> Iterator[Stage]:
    """The app of ordinary calls on a broker in this process's memory."""
    with staged("calls", workers, tmp_path / "ledger", url="memory://") as calls:
        yield calls


async def test_b10_the_same_app_with_a_worker_in_the_same_loop_and_no_server(here: Stage) -> None:
    async with here.app, here.app.worker(concurrency=2):
        assert await here.add.apply_async(42) == here.add(42)
        assert await here.add_async.apply_async(a=1, b=2) == 3
        results = [(here.counted, here.counted_async)[n % 2].apply_async(n) for n in range(1_000)]
        assert await aiotask.gather(results) == list(range(1_000))
        with pytest.raises(here.OutOfStock, match="only 3 of tea") as caught:
            await here.sell.apply_async("tea")
        assert "in sell\n" in caught.value.__notes__[0]
        with pytest.raises(ConnectionResetError, match="run 4"):
            await here.flaky_async.apply_async("flaky")
        assert await here.fibonacci.apply_async(7) == 13
    assert here.ledger.counts() == {**{result.id: 1 for result in results}, here.ledger.runs("flaky")[0].id: 4}


async def test_b10_jobs_wait_in_memory_until_a_worker_comes(here: Stage) -> None:
    result = here.counted.apply_async("early")
    await result.sent()
    assert await result.status() is Status.PENDING
    async with here.app.worker(burst=True) as worker:
        await worker.finished()
        assert await result.wait(30) == "early"
    assert here.ledger.counts() == {result.id: 1}


async def test_b10_a_blocking_task_in_memory_stalls_no_async_one(here: Stage, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with here.app.worker():
        blocked = here.block_until.apply_async(str(gate))
        await wait_until_async(lambda: here.ledger.runs("block"), description="the thread is blocked")
        assert await asyncio.wait_for(aiotask.gather([here.add_async.apply_async(n) for n in range(50)]), 30) == [
            n + 10 for n in range(50)
        ]
        assert await blocked.status() is Status.RUNNING
        await asyncio.to_thread(gate.touch)
        assert await blocked.wait(30) == "free"


async def test_b10_a_worker_in_the_loop_records_into_a_file(here: Stage, tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    async with ResultDB(path, app=here.app) as db, here.app.worker(result_db=path):
        result = here.echo.apply_async((1, {2}))
        assert await result == (1, {2})
        await recorded(db, result.id)
        assert await db.fetch_result(result.id) == (1, {2})


async def test_b10_the_same_worker_in_the_loop_on_a_server(stage: Put) -> None:
    calls = stage("calls")
    async with calls.app.worker():
        assert await aiotask.gather([calls.add.apply_async(n) for n in range(100)]) == [n + 10 for n in range(100)]
    broker = connect(calls.app.url, calls.app.name)
    try:
        assert await inspect(broker).workers() == []
    finally:
        await broker.close()
