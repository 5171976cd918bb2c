"""aiotask watch: the progress of a job, and of a graph, until it has ended."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from aiotask import App
from aiotask.ops.watch import View
from aiotask.results.progress import Progress
from aiotask_cli.watch import _line

from ..helpers import wait_until
from ..workers import Workers
from .command import invoke

SHOP = """
import asyncio
import os
from pathlib import Path

from aiotask import App, current_job

app = App(os.environ["TEST_APP"])
GATE = Path(os.environ["TEST_FOLDER"]) / "gate"


@app.task(timeout=600)
async def resize(count: int) -> int:
    # Until the gate opens.
    number = 0
    while not GATE.exists():
        number += 1
        current_job().progress(number, count, "resizing")
        await asyncio.sleep(0.05)
    return number


@app.task
async def twice(count: int) -> int:
    await asyncio.sleep(0.3)
    return 2 * count


@app.task(retries=1, backoff=lambda failures: 0.1)
async def flaky(name: str) -> str:
    if current_job().attempt == 1:
        raise ValueError("out of paper")
    return name


@app.task
async def fail() -> None:
    raise ValueError("out of paper")
"""


def test_a_job_and_a_graph_are_watched_to_their_ends(
    workers: Workers, redis_url: str, app_name: str, tmp_path: Path
) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    env = {"TEST_APP": app_name, "TEST_FOLDER": str(tmp_path)}
    workers.start("shop", concurrency=1, app_dir=tmp_path, env=env)
    app = App(app_name, url=redis_url)
    where, gate = ("--url", redis_url, "--name", app_name), tmp_path / "gate"
    resize, twice, fail = (app.named(f"shop:{name}") for name in ("resize", "twice", "fail"))

    result = resize.apply_async(1_000_000)
    result.blocking.sent()
    views = []
    with subprocess.Popen(
        [sys.executable, "-m", "aiotask_cli", "watch", result.id, "--json", *where], stdout=subprocess.PIPE, text=True
    ) as watching:
        assert watching.stdout is not None
        for line in watching.stdout:
            views.append(json.loads(line))
            if len({view["current"] for view in views} - {None}) > 2:
                # However late the watcher began: the job ends once its progress was seen.
                gate.touch()
    assert watching.returncode == 0
    assert views[-1]["status"] == "SUCCESS"
    reported = [view["current"] for view in views if view["current"] is not None]
    assert reported == sorted(reported)
    gate.unlink()

    graph = twice.s(twice.s(3).cast).apply_async()
    graph.blocking.sent()
    said = invoke("watch", graph.id, *where)
    assert said.exit_code == 0
    assert "2/2 jobs of the graph" in said.stdout.splitlines()[-1]

    failed = fail.apply_async()
    failed.blocking.sent()
    said = invoke("watch", failed.id, *where)
    assert (said.exit_code, said.stdout.splitlines()[-1].split()[0]) == (1, "FAILED")

    assert invoke("watch", "unknown", *where).exit_code != 0

    long = resize.apply_async(1_000_000)
    long.blocking.sent()
    shown = wait_until(
        lambda: json.loads(invoke("job", long.id, "--json", *where).stdout).get("progress"), description="progress"
    )
    assert (shown["total"], shown["message"]) == (1_000_000, "resizing") and shown["current"] >= 1
    assert " of 1,000,000 resizing" in invoke("job", long.id, *where).stdout
    shown = wait_until(
        lambda: (found := json.loads(invoke("job", long.id, "--json", *where).stdout)).get("started_at") and found,
        description="its host has reported it",
    )
    assert shown["sent_at"] - 1 < shown["started_at"] and 0 < shown["seconds_left"] < 600
    assert "time left" in invoke("job", long.id, *where).stdout
    long.blocking.cancel()


def test_an_ended_job_is_shown_with_its_call_and_its_earlier_runs(
    workers: Workers, redis_url: str, app_name: str, tmp_path: Path
) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    env, db = {"TEST_APP": app_name, "TEST_FOLDER": str(tmp_path)}, str(tmp_path / "results.db")
    workers.start("shop", concurrency=1, app_dir=tmp_path, env=env, options=("--result-db", db))
    app = App(app_name, url=redis_url)
    where = ("--url", redis_url, "--name", app_name, "--db", db, "--json")
    result = app.named("shop:flaky").apply_async("leek")
    result.blocking.sent()

    shown = wait_until(
        lambda: (
            (found := json.loads(invoke("job", result.id, *where).stdout)).get("finished_at")
            and found.get("arguments")
            and found
        ),
        description="the job is recorded",
    )
    assert (shown["status"], shown["queue"], shown["attempt"]) == ("SUCCESS", "default", 2)
    assert "leek" in str(shown["arguments"]) and shown["sent_at"] <= shown["finished_at"]
    assert [how for _, _, how, _ in shown["trail"]] == ["retried"]
    assert "from" not in shown


def test_a_line_fits_on_a_terminal() -> None:
    from rich.text import Text

    long = Progress(123_456, 1_000_000, "a message that goes on and on and on, far beyond what fits")
    for progress in (None, Progress(3), Progress(3, 10, "resizing"), long):
        view = View("shop", "id", "shop.tasks:a_task_with_a_long_name_" + "x" * 60, "RUNNING", progress)
        for width in (60, 80, 120):
            assert Text.from_markup(_line(view, width)).cell_len <= width
    for current, total, shown in (
        (3, 10, "3/10"),
        (0.5, 1.25, "0.5/1.25"),
        (1_234_567, 2_000_000, "1,234,567/2,000,000"),
        (123_456.25, 1e300, "123,456.2/1e+300"),
    ):
        assert shown in _line(View("shop", "id", "shop:resize", "RUNNING", Progress(current, total, "resizing")), 80)
    assert "resizing" in _line(View("shop", "id", "shop:resize", "RUNNING", Progress(3, 10, "resizing")), 80)
