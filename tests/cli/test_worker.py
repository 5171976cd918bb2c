"""aiotask worker, started as a user starts it."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from aiotask import App

from ..commands import run_command
from ..helpers import wait_until
from ..server import PrivateServer
from .command import invoke

TASKS = """
import sys
from aiotask import App

app = App({name!r})

@app.task
def loaded(names: list[str]) -> list[str]:
    return [name for name in names if name in sys.modules]
"""


@pytest.fixture
def tasks(tmp_path: Path, app_name: str) -> App:
    """A module ``shop_tasks`` in ``tmp_path``, and its app as a sender has it."""
    (tmp_path / "shop_tasks.py").write_text(TASKS.format(name=app_name))
    return App(app_name)


async def test_a_worker_runs_jobs_without_carrying_the_command_line(
    own_server: PrivateServer, tasks: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIOTASK_URL", own_server.url)
    async with tasks:
        result = tasks.s("shop_tasks:loaded", ["aiotask", "typer", "rich", "pydantic", "click"]).apply_async()
        await result.sent()

        done = await asyncio.to_thread(
            run_command, "worker", "shop_tasks", "--burst", "-c", "1", "--app-dir", str(tmp_path), "--log-json"
        )

        assert done.returncode == 0, done.stderr
        assert await result.wait(10) == ["aiotask"]
    said = [json.loads(line) for line in done.stderr.splitlines()]
    banner = next(line for line in said if line.get("event") == "banner")
    assert banner["processes"] == 1
    assert banner["apps"][0]["tasks"] == ["shop_tasks:loaded"]
    assert (banner["apps"][0]["queues"], banner["apps"][0]["order"]) == (["default"], "")
    assert [line["task"] for line in said if line.get("event") == "succeeded"] == ["shop_tasks:loaded"]


async def test_a_worker_takes_its_queues_in_the_order_that_a_variable_says(
    own_server: PrivateServer, tasks: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIOTASK_URL", own_server.url)
    monkeypatch.setenv("AIOTASK_QUEUES", "critical > default > low")

    @tasks.task(name="shop_tasks:loaded")
    def loaded(names: list[str]) -> list[str]:
        return names

    async with tasks:
        for queue in ("low", "default", "critical") * 20:
            loaded.options(queue=queue).apply_async([])
        await tasks.flush()
        done = await asyncio.to_thread(
            run_command, "worker", "shop_tasks", "--burst", "-c", "1", "--app-dir", str(tmp_path), "--log-json"
        )

    assert done.returncode == 0, done.stderr
    said = [json.loads(line) for line in done.stderr.splitlines()]
    [shown] = next(line for line in said if line.get("event") == "banner")["apps"]
    assert (shown["queues"], shown["order"]) == (["critical", "default", "low"], "critical > default > low")
    ran = [line["queue"] for line in said if line.get("event") == "succeeded"]
    assert ran == ["critical"] * 20 + ["default"] * 20 + ["low"] * 20


@pytest.mark.parametrize("queues", ["critical:x", "critical>", "a>b,c", "a:1,a:2"])
def test_queues_that_make_no_sense_end_the_worker_with_the_reason(
    queues: str, own_server: PrivateServer, tasks: App, tmp_path: Path
) -> None:
    done = run_command("worker", "shop_tasks", "-q", queues, "--app-dir", str(tmp_path), "--url", own_server.url)

    assert done.returncode not in (0, None)
    assert f'Queues "{queues}"' in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("spec", "reason"), [("no_such_module", "no_such_module"), ("shop_tasks:ap", 'Did you mean "app"?')]
)
def test_a_wrong_app_ends_the_worker_with_the_reason(
    spec: str, reason: str, own_server: PrivateServer, tasks: App, tmp_path: Path
) -> None:
    done = run_command("worker", spec, "--app-dir", str(tmp_path), "--url", own_server.url)

    assert done.returncode not in (0, None)
    assert reason in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_is_told_to_stop_leaves_in_good_order(
    number: signal.Signals, own_server: PrivateServer, tasks: App, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "aiotask_cli", "worker", "shop_tasks", "-c", "1", "--app-dir", str(tmp_path)]
    command += ["--queues", "default:6,mail:1"]
    process = subprocess.Popen(
        [*command, "--url", own_server.url], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        arguments = ("queues", "--name", tasks.name, "--url", own_server.url, "--json")
        wait_until(
            lambda: json.loads(invoke(*arguments).output)[0]["workers"], description="the worker is live", timeout=60
        )
        [worker] = json.loads(invoke(*arguments).output)[0]["workers"]
        assert worker["facts"]["queues"] == ["default", "mail"]
        assert "default:6, mail:1" in invoke(*arguments[:-1]).output
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()

    assert process.returncode == 0, errors
    assert json.loads(invoke(*arguments).output)[0]["workers"] == []
