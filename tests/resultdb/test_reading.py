"""Search, count, prune and setup of the history."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import sqlite3
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from aiotask import App, ResultDB, Status
from aiotask.errors import ConfigError, SealError
from aiotask.history.record import JobRecord
from aiotask.history.recorder import Recorder
from aiotask.wire.plaintext import plain_value

from ..helpers import wait_until_async
from ..history import SECRET, START, batch, count, finished, pickled, python, sqlite


async def test_one_bad_row_never_breaks_the_others(recorder: Recorder, db: ResultDB, path: Path) -> None:
    recorder.record([finished("good", 1, finished_at=START + 1), finished("bad", 2), finished("unknown", 3)])
    sqlite(
        path,
        "UPDATE jobs SET task = x'ff00', status = x'ff', deps = '[[[', attempts = 'many', sent_at = 'yesterday',"
        " arguments = cast(x'fffe' AS text), job = 'text', outcome = 7 WHERE id = 'bad'",
    )
    sqlite(path, "UPDATE jobs SET status = 'DONE', deps = '5', started_at = null WHERE id = 'unknown'")

    records = {record.id: record for record in await db.fetch_all()}

    assert set(records) == {"good", "bad", "unknown"}
    assert records["good"].error is None
    bad = records["bad"]
    assert (bad.status, bad.attempts, bad.sent_at, bad.job, bad.outcome) == (None,) * 5
    assert bad.task == ""
    assert (bad.deps, bad.result, bad.worker, bad.queue) == ((), "2", "host-7-1", "default")
    assert bad.error is not None and "damaged" in bad.error and "attempts holds 'many'" in bad.error
    assert records["unknown"].status is None and "unknown status 'DONE'" in str(records["unknown"].error)
    assert await db.fetch_result("good") == 1
    assert await db.fetch_result("unknown") == 3
    with pytest.raises(SealError):
        await db.fetch_result("bad")


async def test_pages_are_newest_first_and_complete(many: ResultDB) -> None:
    pages: list[list[JobRecord]] = []
    while not pages or pages[-1]:
        pages.append(await many.search(limit=30, after=pages[-1][-1] if pages else None))

    assert [len(page) for page in pages] == [30, 30, 30, 10, 0]
    assert [record.id for page in pages for record in page] == [f"{number:03}" for number in reversed(range(100))]
    [first] = await many.fetch_all(limit=1)
    assert [record.id for record in await many.fetch_all(limit=2, after=first)] == ["098", "097"]
    assert len(await many.fetch_all()) == 100
    assert len(await many.search()) == 50


async def test_search_and_count_agree_on_every_filter(many: ResultDB) -> None:
    start = datetime.fromtimestamp(START, UTC)
    cases: list[tuple[dict[str, Any], int]] = [
        ({}, 100),
        ({"task": "shop.tasks:mail"}, 20),
        ({"queue": "mail", "status": Status.FAILED}, 5),
        ({"status": "FAILED"}, 25),
        ({"since": START + 90}, 10),
        ({"since": start + timedelta(seconds=10), "until": start + timedelta(seconds=20)}, 10),
        ({"since": timedelta(seconds=time.time() - START - 50.5)}, 49),
        ({"task": "x' OR 1=1 --"}, 0),
    ]
    for wanted, expected in cases:
        assert await many.count(**wanted) == expected, wanted
        assert len(await many.search(**wanted, limit=None)) == expected, wanted


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        ({"status": "DONE"}, '"DONE" is not a status. Use one of: .*SUCCESS'),
        ({"limit": -1}, 'limit="-1" is negative'),
        ({"since": datetime(2025, 1, 1)}, "no time zone"),
    ],
)
async def test_a_wrong_question_is_said(wanted: dict[str, Any], why: str, db: ResultDB) -> None:
    with pytest.raises(ConfigError, match=why):
        await db.search(**wanted)


async def test_prune_deletes_what_is_older(many: ResultDB, recorder: Recorder, path: Path) -> None:
    with Recorder(path, [SECRET], "bank") as other:
        other.record([finished("theirs")])

    assert await many.prune(datetime.fromtimestamp(START + 10, UTC)) == 10
    assert await many.prune(time.time() - START - 50.5) == 41
    assert (await many.count(), count(path)) == (49, 50)
    recorder.record(batch("many", 2500))
    assert await many.prune(timedelta(days=1)) == 2549
    assert await many.count() == 0
    for wrong in (-1, float("nan"), timedelta(seconds=-5)):
        with pytest.raises(ConfigError, match="older_than"):
            await many.prune(wrong)


async def test_the_loop_goes_on_while_the_file_is_locked(db: ResultDB, path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        prune = asyncio.create_task(db.prune(0))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not prune.done()
        other.execute("ROLLBACK")

        assert await prune == 0


async def test_a_missing_file_is_said_and_setup_makes_it(path: Path, app: App) -> None:
    db = ResultDB(path, app=app)
    for _ in range(2):  # asking does not make it
        with pytest.raises(ConfigError, match=r"no result database.*--result-db"):
            await db.fetch_all()

    await db.setup()
    await db.setup()

    assert await db.fetch_all() == []
    await db.close()
    await db.close()
    assert await db.fetch_all() == []
    await db.close()


async def test_an_empty_file_is_prepared_by_setup_alone(empty: Path) -> None:
    db = ResultDB(empty)
    with pytest.raises(ConfigError, match="setup"):
        await db.fetch_all()

    async with db:
        assert await db.fetch_all() == []


def test_one_database_serves_one_loop_after_another(path: Path, recorder: Recorder) -> None:
    recorder.record([finished("a", 5)])
    db = ResultDB(path)

    assert [asyncio.run(db.fetch_result("a")) for _ in range(3)] == [5, 5, 5]
    asyncio.run(db.close())


def test_where_the_file_is_if_nobody_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AIOTASK_URL", "AIOTASK_RESULT_DB"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AIOTASK_HOME", str(tmp_path / "home"))
    away = App("away", url="redis://127.0.0.1:1")

    assert ResultDB().path == tmp_path / "home" / "results.db"
    assert ResultDB(app=App("here")).path == tmp_path / "home" / "results.db"
    with pytest.raises(ConfigError, match="AIOTASK_RESULT_DB"):
        ResultDB(app=away)
    monkeypatch.setenv("AIOTASK_URL", "redis://127.0.0.1:1")
    with pytest.raises(ConfigError, match="AIOTASK_RESULT_DB"):
        ResultDB()
    monkeypatch.setenv("AIOTASK_RESULT_DB", str(tmp_path / "named.db"))
    assert ResultDB().path == ResultDB(app=away).path == tmp_path / "named.db"
    assert not (tmp_path / "home").exists()


@pytest.mark.trap("slow import")
def test_sqlite_is_loaded_at_first_use() -> None:
    code = "import aiotask, aiotask.history.recorder, sys; sys.exit('sqlite3' in sys.modules)"
    python(code)


def test_plain_values_need_nobody() -> None:
    assert plain_value(b"J[1, NaN]")[0] == 1
    assert plain_value(pickled({"a": {1, 2}})) == {"a": {1, 2}}


async def test_a_reader_waits_for_a_file_that_is_being_made(tmp_path: Path) -> None:
    path, made = tmp_path / "history.db", tmp_path / "made" / "history.db"
    async with ResultDB(made) as other:
        await other.setup()
    path.touch()
    directory = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(directory, fcntl.LOCK_EX)  # as a recorder does while it makes the file
    reading = asyncio.create_task(ResultDB(path).count())
    await wait_until_async(lambda: reading.done() or _is_open(path), description="the reader has opened the file")
    with contextlib.closing(sqlite3.connect(made)) as source, contextlib.closing(sqlite3.connect(path)) as target:
        source.backup(target)
    os.close(directory)
    assert await reading == 0


def _is_open(path: Path) -> bool:
    return any(os.path.realpath(each) == str(path) for each in Path("/proc/self/fd").iterdir())
