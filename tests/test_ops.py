"""``aiotask.ops`` gives what commands show as data, without a terminal; the command line alone prints."""

from __future__ import annotations

import ast
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from aiotask import App, current_job
from aiotask.inspector import JobFilter
from aiotask.job import Status
from aiotask.ops.connection import Place, inspectors
from aiotask.ops.jobs import read_job, read_page
from aiotask.ops.letters import Done, Filter, move_picked, pick
from aiotask.ops.overview import overview

from .workers import ROOT


def greet(name: str) -> str:
    return f"Hello {name}"


def fail() -> None:
    raise ValueError("on purpose")


def test_ops_neither_print_nor_write_to_a_stream() -> None:
    for path in sorted((ROOT / "aiotask" / "ops").glob("*.py")):
        names = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
        assert not names & {"print", "input", "sys"}, path.name


def test_the_help_of_commands_loads_no_library() -> None:
    code = (
        "import sys, aiotask_cli.main; "
        "print(*(name for name in sys.modules if name.partition('.')[0] in ('aiotask', 'redis')))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert loaded.stdout.split() == []


async def test_a_job_shows_when_it_has_saved_its_state_and_how_large_that_is(redis_url: str, app_name: str) -> None:
    place, before = Place(app_name, redis_url), time.time()

    async def save(gate: str) -> None:
        current_job().progress(7, 10, "saved")
        current_job().checkpoint({"step": 7})
        while not os.path.exists(gate):
            await asyncio.sleep(0.01)

    async with App(app_name, url=redis_url) as app:
        with tempfile.TemporaryDirectory() as folder:
            async with app.worker():
                sent = app.task(save).apply_async(f"{folder}/open")
                async with asyncio.timeout(30):
                    while "checkpoint" not in (found := await read_job(sent.id, place, None)):
                        await asyncio.sleep(0.01)
                assert found["status"] == "RUNNING"
                assert before <= found["checkpoint"]["at"] <= time.time()
                assert 5 < found["checkpoint"]["bytes"] < 1_000
                assert found["progress"] == {"current": 7.0, "total": 10.0, "message": "saved"}
                Path(f"{folder}/open").touch()
                await sent
            # The checkpoint goes with the job.
        assert "checkpoint" not in await read_job(sent.id, place, None)


async def test_jobs_and_queues_are_values_that_json_holds(broker_url: str, app_name: str) -> None:
    async with App(app_name, url=broker_url) as app:
        sent = app.task(greet).options(queue="mail").apply_async("leek")
        await sent.sent()

        (job,) = await read_page(Place(app_name, broker_url), JobFilter(Status.PENDING, "mail"), "", 10)
        found = await read_job(sent.id, Place(app_name, broker_url), None)
        assert found == {**job, "why": "no live worker consumes the queue mail"}
        ((shown,), idle) = await overview(Place(app_name, broker_url), everything=False)

    assert (job["id"], job["queue"], job["arguments"]) == (sent.id, "mail", [["leek"], {}])
    assert json.loads(json.dumps(job)) == job
    told = json.loads(json.dumps(shown.described()))
    assert [(queue["name"], queue["pending"]) for queue in told["queues"] if queue["pending"]] == [("mail", 1)]
    assert (told["app"], told["workers"], told["rejected"], idle) == (app_name, [], 0, [])


async def test_letters_are_replayed_as_they_were_picked(broker_url: str, app_name: str) -> None:
    app = App(app_name, url=broker_url)
    task = app.task(fail, retries=1, backoff=lambda run: 0.0)
    steps: list[int] = []
    async with app, app.worker():
        failed = task.apply_async()
        with pytest.raises(ValueError, match="on purpose"):
            await failed.wait(30)
        async with inspectors(Place(app_name, broker_url)) as opened:
            picked, of_graphs = await pick("replay", opened, Filter(task.name, None, "on purpose", None, None))
            assert [ids for _, ids in picked] == [[failed.id]] and not of_graphs
            done, again = Done(), Done()
            await move_picked("replay", picked, steps.append, done)
            await move_picked("delete", [(opened[0], ["unknown"])], steps.append, again)

    assert (done.moved, done.missing, done.outdated) == ([failed.id], [], [])
    assert (again.moved, again.missing) == ([], ["unknown"])
    assert steps == [1, 1]
