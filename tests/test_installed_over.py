"""Another release is installed over the one that runs, or its files are gone for a while: what runs goes on."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from aiotask import App

from .helpers import wait_until, wait_until_async
from .workers import ROOT, Supervisor, Workers

APP = """
import asyncio, os, time
from aiotask import App, exponential
app = App(os.environ["TEST_APP"])
@app.task
def pid():
    return os.getpid()
@app.task(retries=1, backoff=exponential(base=0.05))
def fails(text):
    raise KeyError(text)
@app.task
async def anap(seconds):
    await asyncio.sleep(seconds)
    return seconds
@app.task(timeout=0.2)
def hangs():
    time.sleep(600)
@app.task
def by_value(n):
    return lambda: n + 1
@app.task
def returns(seconds):
    return [anap.s(seconds).cast, anap.s(seconds).cast]
@app.task
def counts(n):
    yield from range(n)
@app.task
async def sends(seconds):
    from aiotask import group
    result = group([anap.s(seconds), returns.s(seconds)]).apply_async()
    assert len((await result.members[1].graph()).nodes) > 1
    assert [n async for n in counts.apply_async(3)] == [0, 1, 2]
    return await result
"""


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A copy of the library, as a release is installed."""
    site = tmp_path / "site"
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "aiotask", site / "aiotask", ignore=ignore)
    shutil.copytree(ROOT / "cli", site / "aiotask_cli", ignore=ignore)
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "installed_app.py").write_text(APP)
    return site


def start(workers: Workers, installed: Path, name: str) -> Supervisor:
    app_dir = installed.parent / "app"
    env = {"PYTHONPATH": str(installed), "TEST_APP": name}
    history = str(installed.parent / "history.db")
    return workers.start("installed_app", env=env, app_dir=app_dir, options=("--result-db", history, "--grace", "5"))


async def test_scripts_of_another_release_are_not_run(
    installed: Path, workers: Workers, app_name: str, redis_url: str
) -> None:
    supervisor = start(workers, installed, app_name)
    for path in (installed / "aiotask/brokers/redis/scripts").rglob("*.lua"):
        path.write_text("return redis.error_reply('ERR a script of another release')\n")
    await runs_everything(App(app_name, url=redis_url), supervisor)
    assert supervisor.stop() == 0
    assert "another release" not in supervisor.log


async def test_what_runs_goes_on_without_the_files_of_the_library(
    installed: Path, workers: Workers, app_name: str, redis_url: str
) -> None:
    supervisor = start(workers, installed, app_name)
    (installed / "aiotask").rename(installed / "away")
    app = App(app_name, url=redis_url)
    await runs_everything(app, supervisor)
    # The same of the next worker and the next keeper.
    family = {child.pid for child in supervisor.children()}
    for pid in family:
        os.kill(pid, signal.SIGKILL)
    wait_until(
        lambda: len(supervisor.children()) == 2 and not family & {child.pid for child in supervisor.children()},
        description="worker and keeper have successors",
    )
    await runs_everything(app, supervisor)
    supervisor.signal(signal.SIGUSR1)
    wait_until(lambda: "The stacks of the keeper" in supervisor.log, description="it shows its stacks")
    assert supervisor.stop() == 0
    assert not any(said in supervisor.log for said in ("FileNotFound", "No such file", "ModuleNotFound", "ImportError"))


def test_all_modules_that_need_no_other_package_are_read_before_the_first_fork() -> None:
    # What an app does not ask for by an option or by an import of its own is read by no process of a worker.
    unread = {
        *("aiotask.__main__", "aiotask.ops", "aiotask.brokers.due_now", "aiotask.inloop.blocking"),
        *("aiotask.daemon.cpus", "aiotask.daemon.health.probe"),
    }
    # These come with pydantic, SQLAlchemy or a framework; an app with the memory broker has no worker processes.
    packages = ("wire.pydantic_json", "sql", "brokers.sql", "daemon.database_check", "contrib", "brokers.memory")
    code = """
import pkgutil, sys, aiotask, aiotask.daemon.keeper_process, aiotask.daemon.supervisor, aiotask.daemon.worker_process
aiotask.daemon.supervisor.import_library()
print(*({m.name for m in pkgutil.walk_packages(aiotask.__path__, "aiotask.")} - sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)

    prefixes = tuple(f"aiotask.{name}" for name in (*packages, "ops."))
    assert {name for name in done.stdout.split() if not name.startswith(prefixes)} <= unread


async def runs_everything(app: App, supervisor: Supervisor) -> None:
    """Jobs of every kind, and every end of them."""
    assert await app.s("installed_app:pid").apply_async() in {child.pid for child in supervisor.children()}
    assert await app.s("installed_app:anap", 0.01).apply_async() == 0.01
    with pytest.raises(KeyError, match="lost"):
        await app.s("installed_app:fails", "lost").apply_async()
    with pytest.raises(Exception, match="limit"):
        await app.s("installed_app:hangs").apply_async()
    assert (await app.s("installed_app:by_value", 1).apply_async())() == 2
    assert await app.s("installed_app:returns", 0).apply_async() == [0, 0]
    assert await app.s("installed_app:sends", 0).apply_async() == [0, [0, 0]]
    cancelled = app.s("installed_app:anap", 600).apply_async()

    async def is_running() -> bool:
        return (await cancelled.status()).value == "RUNNING"

    await wait_until_async(is_running, description="it runs")
    await cancelled.cancel()
    with pytest.raises(Exception, match="cancelled"):
        await cancelled
    results = [app.s("installed_app:anap", 0).apply_async() for _ in range(300)]
    assert await asyncio.gather(*results) == [0] * 300
    async with app.inspector() as inspector:
        await inspector.queues()
