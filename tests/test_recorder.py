"""The recorder: what it writes of a finished job, and what it does when the file is in trouble."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import stat
import tempfile
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from aiotask import App, ResultDB, Status
from aiotask.broker import Meta
from aiotask.brokers.history import HistoryRow
from aiotask.errors import ConfigError
from aiotask.history.file import SCHEMA_VERSION
from aiotask.history.recorder import Recorder
from aiotask.history.resultdb import RecordingDelayed
from aiotask.job import WIRE_VERSION
from aiotask.outcome import ErrorInfo, Outcome, decode_outcome, encode_outcome
from aiotask.wire.plaintext import TEXT_LIMIT, plain_text
from aiotask.wire.seal import Sealer

from .helpers import wait_until
from .history import SECRET, START, batch, count, finished, is_intact, pickled, python, sqlite, started


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "made" / "by itself" / "results.db"


@pytest.fixture
def recorder(path: Path) -> Iterator[Recorder]:
    with Recorder(path, [SECRET], "shop", timeout=0.1) as recorder:
        yield recorder


@pytest.fixture
async def db(path: Path) -> AsyncIterator[ResultDB]:
    async with ResultDB(path) as db:
        yield db


# ---- what people read


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        ("é", '"é"'),
        ((1, [2.5, True]), "[1,[2.5,true]]"),
        ({"a": {"b": None}}, '{"a":{"b":null}}'),
        (b"raw", "\"b'raw'\""),
        ({1: 2}, '{"1":2}'),
        ({1}, '"{1}"'),
        (float("inf"), '"inf"'),
        (2**70, f'"{2**70}"'),
        (["\ud800"], r'["\\ud800"]'),
        ((b"raw", 128, {"a": 0.5}), """["b'raw'",128,{"a":0.5}]"""),
        ({n: b"" for n in range(9)}, "{" + "".join(f'"{n}":"b\'\'",' for n in range(8)) + '"…":"…"}'),
        (Decimal("1.5"), '"<pickled, 45 B>"'),
        (10**5000, '"<pickled, 2.1 kB>"'),
        (["x" * 200_000], '"<pickled, 200.0 kB>"'),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_is_always_json_with_text_for_what_json_has_no_word_for(
    value: Any, text: str, recorder: Recorder, path: Path
) -> None:
    recorder.record([finished("a", value)])

    assert sqlite(path, "SELECT result FROM jobs") == [(text,)]
    json.loads(text)


def test_other_formats_are_json_too(recorder: Recorder, path: Path) -> None:
    recorder.record(
        [
            finished("a", body=b'J[[1], {"b": NaN}]', result=b"C" + bytes((3, 12)) + b"cloud"),
            finished("b", body=b"J\xff", result=b"?!"),
            finished("c", body=b"", result=b"P."),
            finished("d", body=b'J"' + b"x" * 100_000),
        ]
    )

    assert sqlite(path, "SELECT arguments, result FROM jobs ORDER BY id") == [
        ('[[1],{"b":"nan"}]', '"<pickled by value by Python 3.12, 8 B>"'),
        ('"<JSON, 2 B>"', "\"<unknown format b'?', 2 B>\""),
        ("\"<unknown format b'', 0 B>\"", '"<pickled, 2 B>"'),
        ('"<JSON, 100.0 kB>"', "null"),
    ]


def test_a_small_pickle_that_unfolds_without_end_stays_small() -> None:
    shared: list[Any] = [1]
    for _ in range(60):
        shared = [shared, shared]
    circle: list[Any] = []
    circle.append(circle)

    for value in (shared, circle, ["x" * 20_000] * 5000, {"k": ["x" * 20_000] * 5000}):
        text = plain_text(pickled(value))
        assert len(text) <= TEXT_LIMIT and json.loads(text)


def test_a_long_error_is_cut(recorder: Recorder, path: Path) -> None:
    recorder.record([finished("a", status=Status.FAILED, error=ErrorInfo("builtins.ValueError", "x" * 100_000))])

    ((error,),) = sqlite(path, "SELECT error FROM jobs")
    assert len(error) == TEXT_LIMIT and error.startswith("ValueError: xxx") and error.endswith("…")


def test_the_file_is_wal_indexed_versioned_and_private(recorder: Recorder, path: Path) -> None:
    recorder.record([finished("a")])

    assert sqlite(path, "PRAGMA journal_mode") == [("wal",)]
    assert sqlite(path, "PRAGMA user_version") == [(SCHEMA_VERSION,)]
    for query in (
        "SELECT * FROM jobs WHERE id = 'a'",
        "SELECT * FROM jobs ORDER BY finished_at DESC, rowid DESC",
        "SELECT * FROM jobs WHERE task = 'a' ORDER BY finished_at DESC, rowid DESC",
        "SELECT * FROM jobs WHERE status = 'FAILED' ORDER BY finished_at DESC, rowid DESC",
    ):
        plan = str(sqlite(path, f"EXPLAIN QUERY PLAN {query}"))
        assert "USING INDEX" in plan and "TEMP B-TREE" not in plan, query
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [stat.S_IMODE(each.stat().st_mode) for each in (path.parent, path.parent.parent)] == [0o700, 0o700]


def test_rows_that_are_not_ours_are_left_out_and_counted(
    recorder: Recorder, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good, foreign = finished("good"), finished("foreign", secret="another")
    other_job = HistoryRow("1-2", finished("x").job, finished("kept").outcome, Meta())

    recorder.record([foreign, HistoryRow("1-1", b"junk", b"junk", Meta()), other_job, good])

    assert recorder.skipped == 2
    assert "2 finished jobs were not recorded" in caplog.text and "another secret" in caplog.text
    assert sqlite(path, "SELECT id, status, queue FROM jobs ORDER BY id") == [
        ("good", "SUCCESS", "default"),
        ("kept", "SUCCESS", None),  # the outcome is true; the job beside it was another one
    ]


# ---- writing


def test_a_row_that_comes_again_is_written_once_and_the_later_end_wins(recorder: Recorder, path: Path) -> None:
    recorder.record([finished("a", "second", attempt=2, finished_at=START + 5)] * 2)
    recorder.record([finished("a", "first", attempt=1, finished_at=START)])
    assert sqlite(path, "SELECT attempts, result FROM jobs") == [(2, '"second"')]

    recorder.record([finished("a", "third", attempt=3, finished_at=START + 5)])
    assert sqlite(path, "SELECT attempts, result FROM jobs") == [(3, '"third"')]

    recorder.record([finished("a", "run anew", attempt=1, finished_at=START + 9)])
    assert sqlite(path, "SELECT attempts, result FROM jobs") == [(1, '"run anew"')]


async def test_two_apps_may_use_one_file_and_the_same_id(recorder: Recorder, db: ResultDB, path: Path) -> None:
    recorder.record([finished("same", "shop")])
    with Recorder(path, ["other secret"], "bank") as other:
        other.record([finished("same", "bank", secret="other secret", finished_at=START + 1), finished("b")])

    assert [record.app for record in await db.fetch_all()] == ["bank", "shop"]
    async with ResultDB(path, app=App("shop", url="memory://", secret=SECRET)) as shop:
        assert await shop.fetch_result("same") == "shop"
        assert [record.app for record in await shop.fetch_all()] == ["shop"]


def test_one_row_that_sqlite_cannot_hold_does_not_keep_the_others_out(recorder: Recorder, path: Path) -> None:
    recorder.record([finished("a"), finished("huge", attempt=2**63), finished("b")])

    assert sqlite(path, "SELECT id FROM jobs ORDER BY id") == [("a",), ("b",)]
    assert recorder.skipped == 1


WRITER = """
import sys
from tests.history import SECRET, batch
from aiotask.history.recorder import Recorder
path, name, batches, size = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
with Recorder(path, [SECRET], "shop") as recorder:
    for number in range(batches):
        recorder.record(batch(f"{name}-{number}", size))
"""


async def test_several_processes_write_while_others_read(db: ResultDB, path: Path) -> None:
    seen = [0]
    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(started(WRITER, path, f"writer{number}", 20, 50)) for number in range(3)]
        while any(writer.poll() is None for writer in writers):
            seen.append(await db.count())
            assert all(record.error is None for record in await db.search(limit=20))
        assert [writer.returncode for writer in writers] == [0, 0, 0]

    assert await db.count() == 3 * 20 * 50
    assert seen == sorted(seen) and all(number % 50 == 0 for number in seen)
    assert is_intact(path)


def test_a_writer_that_is_killed_leaves_whole_batches(path: Path) -> None:
    def batches() -> int:
        try:
            return count(path) // 100
        except sqlite3.Error:  # the file is being made
            return 0

    for attempt in range(8):
        target = attempt * 2 + 1 + (batches() if path.exists() else 0)
        with started(WRITER, path, f"attempt{attempt}", 100_000, 100) as writer:
            wait_until(
                lambda target=target: path.exists() and batches() >= target, description="some batches are written"
            )
            writer.kill()

        assert is_intact(path)
        assert set(sqlite(path, "SELECT count(*) FROM jobs GROUP BY rtrim(id, '0123456789')")) == {(100,)}


def test_a_writer_that_is_killed_within_its_transaction_changes_nothing(recorder: Recorder, path: Path) -> None:
    recorder.record(batch("old", 500))
    code = """
import sys
from aiotask.history.file import HistoryFile
with HistoryFile(sys.argv[1], create=True).transaction() as connection:
    connection.execute("UPDATE jobs SET result = hex(zeroblob(10000))")  # more than its cache holds
    print("in the middle", flush=True)
    sys.stdin.read()
"""
    with started(code, path) as writer:
        assert writer.stdout is not None and writer.stdout.readline() == "in the middle\n"
        assert path.with_name("results.db-wal").stat().st_size > 1_000_000, "nothing of it was on disk yet"
        writer.kill()

    recorder.record([finished("new")])

    assert is_intact(path)
    assert count(path) == 501
    assert sqlite(path, "SELECT count(*) FROM jobs WHERE length(result) > 100") == [(0,)]


def test_a_recorder_goes_on_in_a_forked_child(path: Path) -> None:
    code = """
import os, sys
from tests.history import SECRET, batch
from aiotask.history.recorder import Recorder
recorder = Recorder(sys.argv[1], [SECRET], "shop")
recorder.record(batch("before", 10))
child = os.fork()
recorder.record(batch("child" if child == 0 else "parent", 10))
if child == 0:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
recorder.record(batch("after", 10))
"""
    python(code, path)
    assert count(path) == 40 and is_intact(path)


# ---- a file in trouble


def test_a_locked_file_delays_the_recording(recorder: Recorder, path: Path) -> None:
    recorder.open()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        for _ in range(2):
            with pytest.raises(RecordingDelayed, match=r"locked by another process. To see which: fuser"):
                recorder.record([finished("a")])
        other.execute("ROLLBACK")

    recorder.record([finished("a")])

    assert count(path) == 1


def test_a_file_that_may_not_be_written_delays_the_recording(tmp_path: Path) -> None:
    # In a child, which gives up being root: root may write everything.
    code = """
import os, sqlite3, sys
from pathlib import Path
from tests.history import SECRET, finished
from aiotask.history.recorder import Recorder
from aiotask.history.resultdb import RecordingDelayed
path = Path(sys.argv[1])
if os.geteuid() == 0:
    os.chown(path.parent, 65534, 65534)
    os.setgid(65534)
    os.setuid(65534)
recorder = Recorder(path, [SECRET], "shop")
recorder.record([finished("a")])
recorder.close()
for closed, mode, open in ((path, 0o400, 0o600), (path.parent, 0o500, 0o700)):
    closed.chmod(mode)
    try:
        recorder.record([finished("b")])
    except RecordingDelayed as error:
        print(error)
    closed.chmod(open)
recorder.record([finished("b")])
"""
    tmp_path.chmod(0o755)
    for directory in list(tmp_path.parents)[:3]:
        if directory.stat().st_uid == os.geteuid() and directory != Path(tempfile.gettempdir()):
            directory.chmod(0o755)
    own = tmp_path / "own"
    own.mkdir()

    said = python(code, own / "results.db")

    assert len(said.splitlines()) == 2
    assert all("cannot be opened or written: give this user write permission" in line for line in said.splitlines())
    assert count(own / "results.db") == 2


def test_a_full_disk_delays_the_recording(path: Path) -> None:
    code = """
import resource, sys
from tests.history import SECRET, batch
from aiotask.history.recorder import Recorder
from aiotask.history.resultdb import RecordingDelayed
recorder = Recorder(sys.argv[1], [SECRET], "shop")
recorder.record(batch("a", 100))
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
written = 0
try:
    while written < 100:
        recorder.record(batch(f"b{written}", 100))
        written += 1
except RecordingDelayed as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
recorder.record(batch(f"b{written}", 100))
print(written)
"""
    error, written = python(code, path).splitlines()

    assert "disk is full" in error
    assert count(path) == (2 + int(written)) * 100
    assert is_intact(path)


def test_a_file_that_is_no_database_is_left_alone_until_it_is_moved_away(recorder: Recorder, path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(b"something else" * 1000)

    for _ in range(2):
        with pytest.raises(RecordingDelayed, match=r'mv ".*results.db" ".*results.db.damaged".*\.recover'):
            recorder.record([finished("a")])
    with pytest.raises(ConfigError, match=r"damaged"):
        recorder.open()
    assert path.read_bytes().startswith(b"something else")

    path.rename(path.with_name("results.db.damaged"))
    recorder.record([finished("a")])
    assert count(path) == 1


async def test_a_file_and_outcomes_of_the_release_before_are_read_and_brought_up_to_date(
    recorder: Recorder, path: Path
) -> None:
    recorder.record([finished("before")])
    recorder.close()
    for column in ("cpu", "memory"):
        sqlite(path, f"ALTER TABLE jobs DROP COLUMN {column}")
    sqlite(path, "PRAGMA user_version = 1")
    outcome = Outcome(WIRE_VERSION, "used", "shop:spin", Status.SUCCESS, value=pickled(1), cpu=1_500_000, memory=1024)
    old = decode_outcome(msgspec.msgpack.encode(msgspec.structs.astuple(outcome)[:-2]))
    assert (old.value, old.cpu, old.memory) == (outcome.value, 0, 0)

    sealed = Sealer([SECRET], "outcome").seal(encode_outcome(outcome))
    recorder.record([HistoryRow("1-1", b"", sealed, Meta())])

    assert sqlite(path, "PRAGMA user_version") == [(SCHEMA_VERSION,)]
    assert sqlite(path, "SELECT id, cpu, memory FROM jobs ORDER BY id") == [
        ("before", None, None),
        ("used", 1.5, 1024 * 1024),
    ]
    async with ResultDB(path) as db:
        record = await db.fetch_record("used")
        assert record is not None and (record.cpu, record.memory) == (1.5, 1024 * 1024)


async def test_a_later_schema_is_refused_and_left_alone(recorder: Recorder, path: Path) -> None:
    recorder.record([finished("a")])
    recorder.close()
    sqlite(path, f"PRAGMA user_version = {SCHEMA_VERSION + 1}")

    with pytest.raises(
        ConfigError, match=f"version {SCHEMA_VERSION + 1}, but this release knows {SCHEMA_VERSION}. Upgrade"
    ):
        recorder.open()
    with pytest.raises(RecordingDelayed, match="Upgrade"):
        recorder.record([finished("b")])
    reader = ResultDB(path)
    for call in (reader.setup, reader.fetch_all):
        with pytest.raises(ConfigError, match="Upgrade"):
            await call()
    await reader.close()
    assert sqlite(path, "PRAGMA user_version") == [(SCHEMA_VERSION + 1,)]
    assert count(path) == 1


async def test_the_database_of_something_else_is_refused(recorder: Recorder, path: Path) -> None:
    path.parent.mkdir(parents=True)
    sqlite(path, "CREATE TABLE jobs (mine)")

    with pytest.raises(ConfigError, match="the SQLite database of another program"):
        recorder.open()
    with pytest.raises(ConfigError, match="the SQLite database of another program"):
        await ResultDB(path).setup()
    assert sqlite(path, "SELECT name FROM sqlite_master") == [("jobs",)]


@pytest.mark.parametrize("bad", ["", ":memory:", "."])
def test_a_path_that_is_no_file_is_refused_at_once(bad: str) -> None:
    with pytest.raises(ConfigError, match="Name a file"):
        Recorder(bad, [SECRET], "shop")
    with pytest.raises(ConfigError, match="Name a file"):
        ResultDB(bad)


async def test_recorders_and_readers_follow_a_file_that_is_moved_away(
    recorder: Recorder, db: ResultDB, path: Path
) -> None:
    old = path.with_name("results.db.1")
    with Recorder(path, [SECRET], "shop") as another:
        recorder.record(batch("a", 10))
        another.record(batch("b", 10))
        assert await db.count() == 20

        os.rename(path, old)
        recorder.record(batch("c", 10))
        assert await db.count() == 10
        another.record(batch("d", 10))
        recorder.record(batch("e", 10))
        assert await db.count() == 30

    assert (count(old), count(path)) == (20, 30)
    assert is_intact(old) and is_intact(path)


async def test_recorders_and_readers_follow_a_file_that_is_replaced(
    recorder: Recorder, db: ResultDB, path: Path, tmp_path: Path
) -> None:
    backup = tmp_path / "backup.db"
    with Recorder(backup, [SECRET], "shop") as earlier:
        earlier.record(batch("restored", 100))
    with Recorder(path, [SECRET], "shop") as another:
        recorder.record(batch("a", 300))
        another.record(batch("b", 300))
        assert await db.count() == 600

        os.replace(backup, path)
        another.record(batch("c", 10))
        recorder.record(batch("d", 10))
        another.record(batch("e", 10))
        assert await db.count() == 130

    assert is_intact(path)
    assert count(path) == 130
    assert sqlite(path, "SELECT count(*) FROM jobs WHERE id LIKE 'restored-%'") == [(100,)]


async def test_a_deleted_file_is_made_anew(recorder: Recorder, db: ResultDB, path: Path) -> None:
    recorder.record(batch("a", 10))
    assert await db.count() == 10

    for name in ("results.db", "results.db-wal", "results.db-shm"):
        path.with_name(name).unlink(missing_ok=True)
    with pytest.raises(ConfigError, match="no result database"):
        await db.count()
    recorder.record(batch("b", 5))

    assert await db.count() == 5
    assert is_intact(path)
