"""ResultDB and `aiotask results`: the history for those who ask."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from aiotask import App, ResultDB, Status
from aiotask.errors import ConfigError, JobCancelled, JobTimeout, RemoteError, ResultExpired, SealError
from aiotask.history.recorder import Recorder
from aiotask.outcome import ErrorInfo
from aiotask.wire.plaintext import plain_value
from aiotask.wire.seal import Sealer

from .history import ROOT, SECRET, START, TASK, Canary, batch, count, finished, pickled, python, sqlite


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "made" / "by itself" / "results.db"


@pytest.fixture
def recorder(path: Path) -> Iterator[Recorder]:
    with Recorder(path, [SECRET], "shop", timeout=0.1) as recorder:
        yield recorder


@pytest.fixture
def app() -> App:
    return App("shop", url="memory://", secret=SECRET)


@pytest.fixture
async def db(path: Path, app: App) -> AsyncIterator[ResultDB]:
    async with ResultDB(path, app=app) as db:
        yield db


# ---- one job


async def test_a_finished_job_is_found_with_all_that_is_known_of_it(recorder: Recorder, db: ResultDB) -> None:
    row = finished("a", {"pixels": 9}, args=(7, "x"), attempt=3, queue="images")

    recorder.record([row])

    assert await db.fetch_result("a") == {"pixels": 9}
    assert await db.fetch_status("a") is Status.SUCCESS
    assert await db.exists("a") is True
    record = await db.fetch_record("a")
    assert record is not None
    assert (record.id, record.app, record.task, record.queue) == ("a", "shop", TASK, "images")
    assert (record.status, record.attempts, record.worker, record.deps) == (Status.SUCCESS, 3, "host-7-1", ())
    assert (record.arguments, record.result) == ('[[7,"x"],{}]', '{"pixels":9}')
    assert (record.error, record.traceback) == (None, None)
    assert (record.sent_at, record.started_at, record.finished_at) == (START - 2, START - 1, START)
    assert (record.job, record.outcome) == (row.job, row.outcome)


async def test_an_unknown_job_is_nothing_or_an_error_that_names_the_next_step(recorder: Recorder, db: ResultDB) -> None:
    recorder.record([finished("a")])

    assert await db.fetch_record("b") is None
    assert await db.fetch_status("b") is None
    assert await db.exists("b") is False
    with pytest.raises(ResultExpired, match=r'no job "b".*await app\.result\(id\)'):
        await db.fetch_result("b")


async def test_none_as_a_value_differs_from_no_result(recorder: Recorder, db: ResultDB) -> None:
    failure = ErrorInfo("builtins.ValueError", "no")
    recorder.record([finished("none", None), finished("failed", status=Status.FAILED, error=failure)])

    assert await db.fetch_result("none") is None
    with pytest.raises(RemoteError):
        await db.fetch_result("failed")
    with pytest.raises(ResultExpired):
        await db.fetch_result("never")
    records = [await db.fetch_record(id) for id in ("none", "failed")]
    assert [record and record.result for record in records] == ["null", None]


async def test_a_failed_job_raises_its_own_exception_with_the_remote_traceback(
    recorder: Recorder, db: ResultDB, path: Path
) -> None:
    error = ErrorInfo("builtins.KeyError", "'size'", "Traceback: in render", body=pickled(KeyError("size")))
    recorder.record([finished("a", status=Status.FAILED, error=error)])

    with pytest.raises(KeyError) as caught:
        await db.fetch_result("a")

    assert caught.value.args == ("size",)
    assert "in render" in "".join(caught.value.__notes__)
    assert sqlite(path, "SELECT error, traceback FROM jobs") == [("KeyError: 'size'", "Traceback: in render")]


async def test_results_come_back_as_the_declared_type(recorder: Recorder, path: Path) -> None:
    json_app = App("shop", url="memory://", secret=SECRET, serializer="json")

    @json_app.task(name=TASK)
    def delivery() -> datetime: ...

    recorder.record([finished("declared", result=b'J"2025-12-31T23:00:00Z"')])
    recorder.record([finished("unknown task", result=b'J"2025-12-31T23:00:00Z"', task="shop.tasks:gone")])

    async with ResultDB(path, app=json_app) as db:
        assert await db.fetch_result("declared") == datetime(2025, 12, 31, 23, tzinfo=UTC)
        assert await db.fetch_result("unknown task") == "2025-12-31T23:00:00Z"


async def test_what_is_not_recorded_is_asked_of_the_broker(db: ResultDB, app: App) -> None:
    @app.task
    async def waits() -> None: ...

    async with app:
        result = waits.apply_async()
        await result.sent()

        assert await db.fetch_status(result.id) is Status.PENDING
        assert await db.fetch_status("nobody-knows-it") is None


# ---- trust


async def test_what_is_recorded_is_never_executed(recorder: Recorder, db: ResultDB, path: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    hostile = pickled(Canary(canary))

    recorder.record([finished("a", body=hostile, result=hostile)])

    assert sqlite(path, "SELECT arguments, result FROM jobs") == [
        (f'"<pickled, {len(hostile)} B>"', f'"<pickled, {len(hostile)} B>"')
    ]
    assert len(await db.fetch_all()) == 1
    assert await db.search(task=TASK)
    assert not canary.exists()


async def test_a_forged_outcome_is_refused_before_it_is_loaded(
    recorder: Recorder, db: ResultDB, path: Path, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    recorder.record([finished("a", 1), finished("b", 2)])
    forged = finished("a", result=pickled(Canary(canary)), secret="another")
    as_job = Sealer([SECRET], "job").seal(b"")

    for blob, why in (
        (forged.outcome, "another secret"),
        (forged.outcome[:5] + forged.outcome, "another secret"),
        (as_job, "outcome"),
        (b"", "no seal"),
        (None, "no seal"),
        (finished("b", 2).outcome, 'outcome of job "b"'),
    ):
        sqlite(path, "UPDATE jobs SET outcome = ? WHERE id = 'a'", blob)
        with pytest.raises(SealError, match=why):
            await db.fetch_result("a")

    assert await db.fetch_result("b") == 2
    assert not canary.exists()


async def test_without_an_app_only_plain_data_is_read(
    recorder: Recorder, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = tmp_path / "canary"
    own, foreign = ErrorInfo("aiotask.errors.JobTimeout", "too long"), ErrorInfo("shop.Broken", "cracked", "in shop")
    recorder.record(
        [
            finished("plain", [1, b"2"]),
            finished("json", result=b'J{"a": 1}'),
            finished("object", Decimal(1)),
            finished("hostile", result=pickled(Canary(canary))),
            finished("own", status=Status.FAILED, error=own),
            finished("foreign", status=Status.FAILED, error=foreign),
            finished("cancelled", status=Status.CANCELLED),
        ]
    )

    for secret in ("", f"newer, {SECRET}"):
        monkeypatch.setenv("AIOTASK_SECRET", secret)
        async with ResultDB(path) as db:
            assert await db.fetch_result("plain") == [1, b"2"]
            assert await db.fetch_result("json") == {"a": 1}
            for id in ("object", "hostile"):
                with pytest.raises(ConfigError, match="app=app"):
                    await db.fetch_result(id)
            with pytest.raises(JobTimeout, match="too long"):
                await db.fetch_result("own")
            with pytest.raises(RemoteError, match=r"shop\.Broken: cracked") as caught:
                await db.fetch_result("foreign")
            assert caught.value.type == "shop.Broken" and caught.value.__notes__ == ["in shop"]
            with pytest.raises(JobCancelled, match="cancelled"):
                await db.fetch_result("cancelled")
    monkeypatch.setenv("AIOTASK_SECRET", "wrong")
    async with ResultDB(path) as db:
        with pytest.raises(SealError, match="another secret"):
            await db.fetch_result("plain")
    assert not canary.exists()


# ---- reading


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


@pytest.fixture
async def many(recorder: Recorder, db: ResultDB) -> ResultDB:
    """100 jobs, one a second; every fourth failed, every fifth is of another task and queue."""
    error = ErrorInfo("builtins.ValueError", "no")
    recorder.record(
        [
            finished(
                f"{number:03}",
                number,
                finished_at=START + number,
                status=Status.SUCCESS if number % 4 else Status.FAILED,
                error=None if number % 4 else error,
                task=TASK if number % 5 else "shop.tasks:mail",
                queue="default" if number % 5 else "mail",
            )
            for number in range(100)
        ]
    )
    return db


async def test_pages_are_newest_first_and_complete(many: ResultDB) -> None:
    pages = [[record.id for record in await many.search(limit=30, offset=offset)] for offset in range(0, 120, 30)]

    assert [len(page) for page in pages] == [30, 30, 30, 10]
    assert [id for page in pages for id in page] == [f"{number:03}" for number in reversed(range(100))]
    assert [record.id for record in await many.fetch_all(limit=2, offset=1)] == ["098", "097"]
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
        ({"offset": -5}, 'offset="-5" is negative'),
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


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    path = tmp_path / "empty.db"
    path.touch()
    return path


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


# ---- the command


def command(*arguments: object, **environment: str) -> tuple[int, str]:
    """``aiotask results …`` in a process of its own: exit code, and what it said."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AIOTASK_")}
    done = subprocess.run(
        [sys.executable, "-c", "from aiotask_cli.main import main; main()", "results", *map(str, arguments)],
        cwd=ROOT,
        env=clean | {"COLUMNS": "200", "NO_COLOR": "1"} | environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=60,
    )
    return done.returncode, done.stdout


def test_the_command_lists_newest_first_and_says_which_file(many: ResultDB, path: Path) -> None:
    code, said = command("--db", path, "--status", "failed", "--limit", 2)

    assert code == 0
    rows = [line for line in said.splitlines() if "FAILED" in line]
    assert [row.split()[0] for row in rows] == ["096", "092"]
    assert "ValueError: no" in rows[0]
    assert f"1-2 of 25 in {path}" in said and "--offset 2" in said


def test_the_command_prints_json_and_takes_its_flags_from_the_environment(many: ResultDB, path: Path) -> None:
    code, said = command("--json", "--since", START + 90, AIOTASK_RESULT_DB=str(path), AIOTASK_TASK="shop.tasks:mail")

    assert code == 0
    assert [(job["id"], job["status"], job["queue"]) for job in json.loads(said)] == [
        ("095", "SUCCESS", "mail"),
        ("090", "SUCCESS", "mail"),
    ]


def test_the_command_shows_one_job(recorder: Recorder, path: Path) -> None:
    error = ErrorInfo("builtins.ValueError", "[red]no\x1b[0m", "Traceback:\n  in render")
    recorder.record([finished("a", args=(7,), status=Status.FAILED, error=error, attempt=3)])

    code, said = command("a", "--db", path)

    assert code == 0
    for text in (
        "FAILED",
        TASK,
        "arguments  7",
        r"ValueError: [red]no\x1b[0m",
        "  in render",
        "took       1.0 s",
        str(path),
    ):
        assert text in said, said
    assert "\x1b" not in said
    code, said = command("a", "--db", path, "--json")
    assert code == 0 and json.loads(said)["attempts"] == 3


def test_the_command_says_what_to_do_when_there_is_nothing(recorder: Recorder, path: Path, tmp_path: Path) -> None:
    recorder.record([finished("a")])

    code, said = command("b", "--db", path)
    assert code == 1 and 'No finished job "b"' in said and "aiotask jobs b" in said
    code, said = command("--db", tmp_path / "none.db")
    assert code == 2 and "There is no result database" in said and "--result-db" in said
    assert not (tmp_path / "none.db").exists()
    code, said = command("--db", path, "--since", "yesterday")
    assert code == 2 and '"yesterday" is not a moment' in said
    code, said = command("--db", path, "--since", "10m")
    assert code == 0 and "No finished job in" in said
    code, said = command(AIOTASK_URL="redis://127.0.0.1:1")
    assert code == 2 and "AIOTASK_RESULT_DB" in said
