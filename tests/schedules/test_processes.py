"""Schedules of `aiotask worker`: several services, deaths of keepers and hosts, a deploy and a rollback."""

from __future__ import annotations

import collections
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from signal import SIGHUP
from typing import Any

import pytest

from ..helpers import wait_until
from ..recovery.deaths import has_keeper, keeper_of, kill_all
from ..server import PrivateServer
from ..workers import Workers

TICKING = """
import os
from pathlib import Path
from aiotask import App, current_job

app = App(os.environ["TEST_APP"])
LEDGER = Path(os.environ["TEST_LEDGER"])


def note() -> None:
    with LEDGER.open("a") as file:
        file.write(f"{current_job().id}\\n")


@app.task(every=0.5)
def tick() -> None:
    note()


@app.task(cron="* * * * *", timezone="Europe/Berlin", missed="all")
async def tock() -> None:
    note()
"""


class Place:
    """An app in a file of its own, with services on a server, and what its runs have written."""

    def __init__(self, workers: Workers, app_name: str, url: str, folder: Path) -> None:
        self._workers = workers
        self.folder = folder
        self.ledger = folder / "ledger"
        self.env = {"TEST_APP": app_name, "TEST_LEDGER": str(self.ledger), "AIOTASK_URL": url}
        self.name = app_name

    def write(self, source: str) -> None:
        (self.folder / "ticking.py").write_text(source)

    def start(self, **options: Any) -> Any:
        return self._workers.start("ticking", app_dir=self.folder, env=self.env, **options)

    def runs(self) -> list[str]:
        return self.ledger.read_text().split() if self.ledger.exists() else []

    def ask(self, *command: str) -> Any:
        done = subprocess.run(
            [sys.executable, "-m", "aiotask_cli", "schedules", *command, "--json", "--name", self.name],
            env={**os.environ, **self.env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout)

    def names(self) -> set[str]:
        return {schedule["name"] for schedule in self.ask()}

    def more(self, count: int) -> Callable[[], bool]:
        seen = len(self.runs())
        return lambda: len(self.runs()) >= seen + count


def test_each_run_comes_once_over_deaths_of_keepers_and_hosts_and_of_the_server(
    durable_server: PrivateServer, workers: Workers, app_name: str, tmp_path: Path
) -> None:
    place = Place(workers, app_name, durable_server.url, tmp_path)
    place.write(TICKING)
    services = [place.start(concurrency=1) for _ in range(3)]
    wait_until(place.more(4), description="it runs")
    for service in services:
        wait_until(lambda service=service: has_keeper(service), description="there is a keeper")

    keeper_of(services[0]).kill()
    wait_until(place.more(3), description="it runs without that keeper")
    kill_all(services[1])
    wait_until(place.more(3), description="it runs without that host")
    durable_server.stop()
    durable_server.start()
    wait_until(place.more(6), timeout=60, description="it runs on the server that was started again")

    ticks = sorted(float(id.split("-")[2]) for id in place.runs() if id.startswith(prefix_of(place, "tick")))
    counted = collections.Counter(ticks)
    # A job of the host that died may have run and not ended: that one runs again.
    assert sum(count - 1 for count in counted.values()) <= 1
    steps = {round(later - earlier, 3) for earlier, later in zip(sorted(counted), sorted(counted)[1:], strict=False)}
    # A run that the dead host had claimed comes once its lease is over, perhaps after the end of this test.
    assert steps <= {0.5, 1.0, 1.5}, steps


def prefix_of(place: Place, name: str) -> str:
    from aiotask.wire.scheduled import run_id

    return run_id(f"ticking:{name}", 1.0).removesuffix("1")


CHANGED = TICKING.replace("every=0.5", "every=0.4").replace("async def tock", "async def renamed")


def test_a_deploy_that_changes_and_renames_and_the_rollback(
    workers: Workers, app_name: str, redis_url: str, tmp_path: Path
) -> None:
    place = Place(workers, app_name, redis_url, tmp_path)
    place.write(TICKING)
    # Its processes are replaced all the time.
    old = place.start(concurrency=2, options=("--max-jobs-per-child", "2"))
    wait_until(place.more(3), description="it runs")
    assert place.names() == {"ticking:tick", "ticking:tock"}

    place.write(CHANGED)
    wait_until(place.more(6), description="processes of the old service are replaced")
    assert every(place) == 0.5

    new = place.start(concurrency=1)
    wait_until(lambda: place.names() == {"ticking:tick", "ticking:renamed"}, description="the new release has declared")
    wait_until(lambda: every(place) == 0.4, description="and changed")
    wait_until(place.more(6), description="it runs")
    assert place.names() == {"ticking:tick", "ticking:renamed"}

    place.write(TICKING)
    old.signal(SIGHUP)
    wait_until(lambda: place.names() == {"ticking:tick", "ticking:tock"}, timeout=60, description="the rollback wins")
    wait_until(lambda: every(place) == 0.5, description="and changes back")
    new.stop()
    wait_until(place.more(2), description="it runs")
    assert place.names() == {"ticking:tick", "ticking:tock"}
    assert max(collections.Counter(place.runs()).values()) == 1


def every(place: Place) -> float:
    return next(schedule["every"] for schedule in place.ask() if schedule["name"] == "ticking:tick")


def test_an_emptied_server_knows_the_schedules_again_within_seconds(
    own_server: PrivateServer, workers: Workers, app_name: str, tmp_path: Path
) -> None:
    place = Place(workers, app_name, own_server.url, tmp_path)
    place.write(TICKING)
    place.start(concurrency=1)
    wait_until(place.more(2), description="it runs")

    own_server.call("FLUSHALL")

    # Much sooner than the next declaration, which comes once a minute.
    wait_until(place.more(2), description="it runs again", timeout=20)
    assert place.names() == {"ticking:tick", "ticking:tock"}


def test_the_commands_see_and_steer_without_the_code_of_the_app(
    workers: Workers, app_name: str, redis_url: str, tmp_path: Path
) -> None:
    place = Place(workers, app_name, redis_url, tmp_path)
    place.write(TICKING)
    place.start(concurrency=1)
    wait_until(place.more(2), description="it runs")
    (tmp_path / "ticking.py").unlink()

    shown = place.ask("show", "ticking:tock")
    assert (shown["cron"], shown["timezone"], shown["declared_by"]) == ("* * * * *", "Europe/Berlin", "ticking")
    assert [later - earlier for earlier, later in zip(shown["next_runs"], shown["next_runs"][1:], strict=False)] == [
        60.0
    ] * 4
    assert place.ask("pause", "ticking:tick")["paused"]
    assert place.ask("list")[-1]["name"] == "ticking:tick"
    sent = place.ask("run-now", "ticking:tick")["id"]
    wait_until(lambda: sent in place.runs(), description="the job has run")
    assert place.ask("resume", "ticking:tick")["paused"] is None
    wait_until(place.more(2), description="it runs again")
    assert place.ask("remove", "ticking:tock")["name"] == "ticking:tock"
    assert place.names() == {"ticking:tick"}


@pytest.fixture
def durable_server() -> Iterator[PrivateServer]:
    """A server that has all that it had when it is started again."""
    server = PrivateServer("--appendonly", "yes", "--appendfsync", "always")
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(autouse=True)
def _logs(worker_logs: None) -> None:
    """What the workers said is shown with every failure."""
