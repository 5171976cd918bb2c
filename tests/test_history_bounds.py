"""The history file has bounds: workers keep it to an age and a size, and people prune it by hand."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from aiotask import App
from aiotask.history.file import MAX_AGE, MAX_BYTES
from aiotask.history.recorder import Recorder

from .commands import run_command
from .helpers import wait_until_async
from .history import SECRET, count, finished, sqlite
from .workers import Workers

DAY = 86_400.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.db"


def recorded(path: Path, *ages: float, **bounds: Any) -> None:
    """Jobs that ended the given numbers of seconds ago, recorded by a recorder with these bounds."""
    now = time.time()
    with Recorder(path, [SECRET], "shop", **bounds) as recorder:
        recorder.record([finished(f"job-{number}", finished_at=now - age) for number, age in enumerate(ages)])


def test_jobs_that_are_too_old_are_removed_by_the_recorder(path: Path) -> None:
    recorded(path, 40 * DAY, 31 * DAY, 29 * DAY, 0.0)

    assert sqlite(path, "SELECT id FROM jobs ORDER BY id") == [("job-2",), ("job-3",)]


def test_zero_keeps_jobs_for_ever(path: Path) -> None:
    recorded(path, 4000 * DAY, 0.0, max_age=0)

    assert count(path) == 2


def test_the_oldest_jobs_make_room_when_the_file_is_too_large(path: Path) -> None:
    now = time.time()
    # The recorder looks at the bounds when it writes for the first time, and then every ten seconds.
    with Recorder(path, [SECRET], "shop", max_bytes=0) as unbounded:
        unbounded.record([finished(f"{n:05}", "x" * 500, finished_at=now - 5_000 + n) for n in range(4_000)])
    size = path.stat().st_size

    with Recorder(path, [SECRET], "bank", max_bytes=size // 2) as recorder:
        recorder.record([finished("newest", finished_at=now)])

    kept = [id for (id,) in sqlite(path, "SELECT id FROM jobs ORDER BY finished_at")]
    assert kept[-1] == "newest" and kept[-2] == "03999"
    assert kept == [*sorted(kept[:-1]), "newest"] and 1_000 <= len(kept) <= 2_500

    # The room of the removed rows is used again: the file does not grow.
    with Recorder(path, [SECRET], "shop", max_bytes=0) as unbounded:
        unbounded.record([finished(f"later-{n}", "x" * 500, finished_at=now) for n in range(1_000)])
    assert path.stat().st_size <= 1.1 * size


def results(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return run_command("results", *map(str, arguments))


def test_prune_removes_old_jobs_and_compact_shrinks_the_file(path: Path) -> None:
    now = time.time()
    with Recorder(path, [SECRET], "shop", max_age=0) as recorder:
        recorder.record([finished(f"old-{n}", "x" * 500, finished_at=now - 9 * DAY) for n in range(2_500)])
        recorder.record([finished("new", finished_at=now)])

    asked = results("prune", "--older-than", "7d", "--db", path)
    assert asked.returncode == 2 and count(path) == 2_501
    assert "would remove 2,500 jobs" in asked.stderr and "--yes" in asked.stderr

    done = results("prune", "--older-than", "7d", "--db", path, "--yes", "--compact", "--json")
    found = json.loads(done.stdout)
    assert (done.returncode, found["removed"], count(path)) == (0, 2_500, 1)
    assert found["bytes_after"] < found["bytes_before"] / 4

    nothing = results("prune", "--db", path)
    assert nothing.returncode == 0 and "Removed 0 jobs" in nothing.stdout


def test_prune_of_a_file_that_is_missing_names_the_next_step(tmp_path: Path) -> None:
    done = results("prune", "--db", tmp_path / "none.db")

    assert done.returncode == 2
    assert "There is no result database" in done.stderr and "Traceback" not in done.stderr


def test_bare_results_still_lists_and_takes_an_id(path: Path) -> None:
    recorded(path, 0.0)

    assert [job["id"] for job in json.loads(results("--db", path, "--json").stdout)] == ["job-0"]
    assert json.loads(results("job-0", "--db", path, "--json").stdout)["id"] == "job-0"
    assert json.loads(results("list", "--db", path, "--json").stdout) == json.loads(
        results("--db", path, "--json").stdout
    )


async def test_a_worker_keeps_the_bounds_that_it_is_given(
    workers: Workers, redis_url: str, app_name: str, path: Path
) -> None:
    recorded(path, 2 * DAY, 0.0)
    flags = ("--result-db", str(path), "--result-db-age", "1d")
    workers.start("tests.acceptance.apps.calls", options=flags, env={"TEST_APP": app_name})

    async with App(app_name, url=redis_url) as app:
        assert await app.s("tests.acceptance.apps.calls:add", 1, 2).apply_async() == 3

    def ids() -> list[Any]:
        return sqlite(path, "SELECT id FROM jobs")

    await wait_until_async(lambda: ("job-0",) not in ids(), description="the old job is removed")
    assert len(ids()) == 2 and ("job-1",) in ids()


def test_the_defaults_are_those_of_the_help() -> None:
    from aiotask.daemon.settings import WorkerSettings
    from aiotask_cli import worker

    fields = {name: field.default for name, field in WorkerSettings.__dataclass_fields__.items()}
    assert (fields["result_db_age"], fields["result_db_size"]) == (MAX_AGE, MAX_BYTES) == (30 * DAY, 1024**3)
    assert (worker.MAX_AGE, worker.MAX_BYTES) == (MAX_AGE, MAX_BYTES)
