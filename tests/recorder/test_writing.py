"""Rows are written once and in whole batches, whatever becomes of the writer."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from aiotask import App, ResultDB
from aiotask.history.recorder import Recorder

from ..helpers import wait_until
from ..history import SECRET, START, batch, count, finished, is_intact, python, sqlite, started


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


READER = """
import sqlite3, sys
while True:
    with sqlite3.connect(sys.argv[1]) as connection:
        connection.execute("SELECT count(*) FROM jobs").fetchone()
    connection.close()
"""


def test_a_file_can_be_opened_while_another_program_opens_and_closes_it(recorder: Recorder, path: Path) -> None:
    """SQLite removes the log and the index of a file when its last connection is closed."""
    recorder.record(batch("first", 10))
    recorder.close()
    with started(READER, path):
        for _ in range(1_000):
            with Recorder(path, [SECRET], "shop", timeout=5) as other:
                other.open()

    assert count(path) == 10


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
