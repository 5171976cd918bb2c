"""The benchmarks run, and what they compute is right; how fast it is, no test says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import report
from benchmarks.__main__ import MEASUREMENTS
from benchmarks.fairness import Run, beside_a_free_worker
from benchmarks.figure import Figure
from benchmarks.plan import Plan
from benchmarks.server import private_server
from benchmarks.timely.rates import excess

from .helpers import wait_until_async
from .postgres import programs

ROOT = Path(__file__).resolve().parent.parent


def _run(*arguments: str, timeout: float = 240) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIOTASK_")}
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout)


def test_a_small_run_gives_its_figures_in_every_form(tmp_path: Path) -> None:
    files = ["--json", str(tmp_path / "figures.json"), "--markdown", str(tmp_path / "figures.md")]

    ended = _run("--only", "send", "--jobs", "1000", "--reps", "1", *files)

    assert ended.returncode == 0, ended.stderr
    found = json.loads((tmp_path / "figures.json").read_text())
    assert [(row["work"], row["fsync"]) for row in found["figures"]] == 2 * [("send", "no")] + 2 * [
        ("send", "everysec")
    ]
    assert all(len(row["values"]) == 1 and row["value"] > 0 for row in found["figures"])
    assert found["command"].startswith("python -m benchmarks --only send --jobs 1000")
    page = (tmp_path / "figures.md").read_text()
    for text in (
        found["date"],
        found["server"],
        found["machine"],
        "| send | one client, flush at the end | everysec |",
    ):
        assert text in page
    assert "one client, flush at the end" in ended.stdout


def test_a_small_run_of_rows_gives_the_figures_of_the_database_that_was_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    ended = _run("--only", "rows", "--databases", "sqlite", "--jobs", "1000", "--reps", "1", "--json", str(file))

    assert ended.returncode == 0, ended.stdout + ended.stderr
    figures = {row["name"].removeprefix("SQLite: "): row["values"] for row in json.loads(file.read_text())["figures"]}
    assert all(len(values) == 1 for values in figures.values()), figures
    rates = [
        f"{name} {what}" for name in ("sync", "async") for what in ("no-op rows, 1 process", "rows over sync tasks")
    ]
    starts = ("commit to start of an idle row", "outbox, commit to start")
    times = [f"{name}, {percentile}" for name in starts for percentile in ("p50", "p99")]
    claims = ["claim of 100 rows", "claim beside 5,000 rows that have ended", "claim beside 1,250 scheduled rows too"]
    assert sorted(figures) == sorted([*rates, *times, *claims])
    assert all(figures[name][0] > 0 for name in [*rates, *claims]), figures
    # A job may have started before its commit returned.
    assert all(0 <= figures[f"{name}, p50"][0] <= figures[f"{name}, p99"][0] for name in starts), figures
    assert "PostgreSQL" not in ended.stdout


def test_a_database_that_is_none_is_refused() -> None:
    ended = _run("--only", "rows", "--databases", "sqlite,oracle")
    assert ended.returncode == 2 and 'there is no database "oracle"; there are sqlite, postgresql' in ended.stderr


@pytest.mark.full_only("on SQLite alone it is a test of each run; PostgreSQL takes as long as ten files of tests")
@pytest.mark.timeout(400)
def test_a_small_run_of_rows_gives_the_figures_of_each_database_that_is_there(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"

    ended = _run("--only", "rows", "--jobs", "1000", "--reps", "1", "--json", str(file), timeout=390)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    figures = {row["name"]: row["values"] for row in json.loads(file.read_text())["figures"]}
    kinds = ["SQLite", "PostgreSQL"] if programs() else ["SQLite"]
    assert {name.split(":")[0] for name in figures} == set(kinds)
    for kind in kinds:
        times = (f"{kind}: commit to start of an idle row", f"{kind}: outbox, commit to start")
        assert all(figures[f"{name}, p50"][0] <= figures[f"{name}, p99"][0] for name in times)
        assert figures[f"{kind}: sync rows over sync tasks"][0] > 0
        assert figures[f"{kind}: claim beside 1,250 scheduled rows too"][0] > 0
    if "PostgreSQL" in kinds:
        assert figures["PostgreSQL: connections per worker process, idle"] == [2.0]
        assert figures["PostgreSQL: connections per worker process, a run uses its session"] == [3.0]
    else:
        assert "SQLite alone" in ended.stdout


def test_the_page_tells_of_every_measurement() -> None:
    rows = re.findall(
        r"^\| `([\w-]+)` \|.*\| `([\w/.]+)` \|$", (ROOT / "benchmarks" / "README.md").read_text(), re.MULTILINE
    )

    assert [name for name, _ in rows] == list(MEASUREMENTS)
    assert [file for _, file in rows if not (ROOT / "benchmarks" / file).exists()] == []


async def test_other_tasks_use_every_feature_beside_plain_ones() -> None:
    with private_server("no") as server:
        plan = Plan(server, 1_000, 1, has_features=True)
        tasks = plan.tasks()
        async with tasks.app, plan.fleet(1, tasks):
            assert await tasks.async_noop.apply_async(1) == 1

            names = ["unique", "lined", "wake", "checkpoints", "progress", "graphs", "schedules", "due"]
            keys = {name: server.key(name) for name in names}
            await wait_until_async(
                lambda: all(map(server.client.exists, keys.values())),
                description="a job of each feature that waits",
            )


@pytest.mark.parametrize(
    ("job", "waited"),
    [
        pytest.param(Run(1.5, 1, 2.0, 2.1), 0.0, id="all were busy"),
        pytest.param(Run(1.5, 1, 3.5, 3.6), 1.0, id="2 was free from 2 to 3"),
        pytest.param(Run(2.75, 1, 3.5, 3.6), 0.25, id="only when it had been sent"),
        pytest.param(Run(-0.5, 1, 0.0, 0.0), 0.5, id="before the first run of both"),
        pytest.param(Run(4.0, 1, 9.0, 9.1), 4.5, id="after the last run of 2"),
    ],
)
def test_a_wait_counts_while_a_worker_is_free(job: Run, waited: float) -> None:
    busy = [Run(0.0, 1, 0.25, 9.0), Run(0.0, 2, 0.0, 1.0), Run(0.0, 2, 1.0, 2.0), Run(0.0, 2, 3.0, 4.5)]

    assert beside_a_free_worker([job], busy, [1, 2]) == [pytest.approx(waited)]


@pytest.mark.parametrize(
    ("starts", "burst", "late"),
    [
        pytest.param([0.0, 0.1, 0.2, 0.3], 1, 0.0, id="as the rate says"),
        pytest.param([0.3, 0.0, 0.2, 0.05], 1, 0.05, id="two in half of the time"),
        pytest.param([0.0, 0.0, 0.1, 0.2], 2, 0.0, id="a burst"),
        pytest.param([0.0, 0.5, 1.0], 1, 0.0, id="slower: one start alone"),
    ],
)
def test_a_window_of_a_rate_may_be_too_short_for_its_starts(starts: list[float], burst: int, late: float) -> None:
    assert excess(starts, 10.0, burst) == pytest.approx(late)


def test_what_has_a_size_stands_in_a_table_of_its_own(tmp_path: Path) -> None:
    figures = [
        Figure("drain", "all", "jobs/s", [1.0, 3.0, 2.0], 2),
        *(Figure("scale: waiting", "send", "µs per job", [size / 1000], at=size) for size in (1_000, 20_000)),
    ]
    about: dict[str, Any] = {**report.facts("Redis 7"), "command": "python -m benchmarks"}

    report.write_markdown(figures, about, ["That is all."], tmp_path / "page.md")

    page = (tmp_path / "page.md").read_text()
    assert "| drain | all | off | **2.00** | 1.00 - 3.00 | ✓ ≥ 2.00 | jobs/s |" in page
    assert "| scale: waiting | 1,000 | 20,000 |\n|---|--:|--:|\n| send, µs per job | 1.00 | 20.0 |" in page
    assert page.endswith("- That is all.\n")
