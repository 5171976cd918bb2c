"""Rows with several processes: each runs once, and once again if its process or the server dies."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from aiotask import App
from aiotask.brokers.sql.database import Database
from aiotask.sql import create_tables

from ..helpers import wait_until
from ..postgres import PostgresServer, programs
from ..workers import ROOT
from . import ledger_app
from .ledger_app import Async, Counted

pytestmark = pytest.mark.timeout(300)


class Fleet:
    """Processes that work on the rows of a database."""

    def __init__(self, url: str, folder: Path) -> None:
        self.database = Database(url)
        self._folder = folder
        self._environment = {**os.environ, "ROWS_DATABASE": url, "ROWS_LEDGER": str(folder / "ledger")}
        self.processes: list[subprocess.Popen[bytes]] = []
        app = App("ledger", database=url)
        app.rows = ledger_app.app.rows
        create_tables(app)

    def fill(self, count: int) -> None:
        with self.database.writing() as connection:
            for model in (Counted, Async):
                connection.execute(sa.insert(model.__table__), [{"id": n} for n in range(1, count + 1)])

    def start(self) -> None:
        with (self._folder / "log").open("ab") as log:
            command = [sys.executable, "-m", "tests.rows.ledger_app"]
            process = subprocess.Popen(command, cwd=ROOT, env=self._environment, stdout=log, stderr=log)
        self.processes.append(process)

    def kill_one(self) -> None:
        """Kill a process, and start another one."""
        victim = self.processes.pop(random.randrange(len(self.processes)))
        victim.send_signal(signal.SIGKILL)
        victim.wait(30)
        self.start()

    def join(self) -> None:
        """Wait until all rows have ended and so the processes."""
        for process in self.processes:
            assert process.wait(200) == 0, (self._folder / "log").read_text()[-5000:]

    def clear(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait(30)
        self.database.dispose()

    def ledger(self) -> Counter[str]:
        """How often each row ran."""
        return Counter(line for path in self._folder.glob("ledger.*") for line in path.read_text().splitlines())

    def rows(self) -> Counter[tuple[Any, ...]]:
        """How many rows are as these columns say: status, own counter, deaths."""
        found: Counter[tuple[Any, ...]] = Counter()
        with self.database.reading() as connection:
            for model in (Counted, Async):
                found.update(tuple(row) for row in connection.execute(sa.select(model.status, model.n, model.deaths)))
        return found


@pytest.fixture
def fleet(database_url: str, tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(database_url, tmp_path)
    yield fleet
    fleet.clear()


def test_each_row_runs_once_while_no_process_dies(fleet: Fleet, is_full: bool) -> None:
    count, processes = (5_000, 8) if is_full else (1_000, 5)
    fleet.fill(count)
    for _ in range(processes):
        fleet.start()
    fleet.join()
    assert fleet.rows() == {("SUCCESS", 1, 0): 2 * count}
    ran = fleet.ledger()
    assert len(ran) == 2 * count
    assert set(ran.values()) == {1}


def test_rows_of_killed_processes_run_again_and_change_once(fleet: Fleet) -> None:
    fleet.fill(600)
    for _ in range(3):
        fleet.start()
    for quarter in (1, 2, 3):
        wait_until(lambda: sum(fleet.ledger().values()) > 250 * quarter, description="some rows have run")  # noqa: B023
        fleet.kill_one()
    fleet.join()
    assert fleet.rows() == {("SUCCESS", 1, 0): 1_200}
    assert len(fleet.ledger()) == 1_200


def test_rows_survive_a_restart_of_the_server(tmp_path: Path) -> None:
    folder = programs()
    if folder is None:
        pytest.skip("PostgreSQL is not installed on this machine (initdb)")
    server = PostgresServer(folder, "synchronous_commit=on")
    server.start()
    fleet = Fleet(server.create(), tmp_path)
    try:
        fleet.fill(1_000)
        for _ in range(2):
            fleet.start()
        wait_until(lambda: sum(fleet.ledger().values()) > 300, description="some rows have run")
        server.stop(signal.SIGQUIT)
        server.start()
        fleet.join()
        fleet.database.dispose()
        assert fleet.rows() == {("SUCCESS", 1, 0): 2_000}
        assert len(fleet.ledger()) == 2_000
    finally:
        fleet.clear()
        server.remove()
