"""The file is locked, full, replaced, or no database of this release."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
from pathlib import Path

import msgspec
import pytest

from aiotask import ResultDB, Status
from aiotask.brokers.history import HistoryRow
from aiotask.errors import ConfigError
from aiotask.history.file import SCHEMA_VERSION
from aiotask.history.recorder import Recorder
from aiotask.history.resultdb import RecordingDelayed
from aiotask.job import WIRE_VERSION, Meta
from aiotask.outcome import Outcome, decode_outcome, encode_outcome
from aiotask.wire.seal import Sealer

from ..history import SECRET, batch, count, finished, is_intact, pickled, python, sqlite


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
    sqlite(path, "DROP TABLE hidden")
    sqlite(path, "DROP INDEX jobs_graph")
    for column in ("cpu", "memory", "parent", "graph", "trail"):
        sqlite(path, f"ALTER TABLE jobs DROP COLUMN {column}")
    sqlite(path, "PRAGMA user_version = 1")
    outcome = Outcome(WIRE_VERSION, "used", "shop:spin", Status.SUCCESS, value=pickled(1), cpu=1_500_000, memory=1024)
    old = decode_outcome(msgspec.msgpack.encode(msgspec.structs.astuple(outcome)[:-3]))
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
