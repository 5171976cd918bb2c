"""The outbox of an app that has rows and no task: its keeper sends the jobs that another service runs."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from sqlalchemy.orm import Session

from aiotask import App
from aiotask.brokers.sql.outbox import Outbox
from aiotask.parts.units import units_of
from aiotask.sql import create_tables

from ..helpers import wait_until, wait_until_async
from ..postgres import programs
from ..server import PrivateServer
from ..workers import DATABASES, Supervisor, Workers

MODULE = "tests.outbox.shelf"
SAME_KEEPER = pytest.mark.full_only("tests/outbox/test_relay.py sends from the outboxes of both databases")


class Shelf:
    """The app as this process sees it, and its worker service."""

    def __init__(self, module: ModuleType, workers: Workers, env: dict[str, str]) -> None:
        self.module = module
        self.app: App = module.app
        self.workers = workers
        self.env = env
        create_tables(self.app)

    def serve(self, url: str, *options: str, **env: str) -> Supervisor:
        return self.workers.start(
            MODULE, options=options, env={**self.env, "AIOTASK_URL": url, **env}, loaded=DATABASES
        )

    def add(self, *ids: int) -> None:
        """Insert rows, each of which sends a job."""
        with self.app.session() as session:
            session.add_all(self.module.Parcel(id=id) for id in ids)

    def send(self, number: int) -> None:
        """Send a job in a transaction of this process, by its name."""
        with Session(self.app.database.open().engine) as session:
            with self.app.in_transaction(session):
                self.app.named("elsewhere:receipt").options(id=f"receipt-{number}").apply_async(number)
            session.commit()

    @property
    def is_relayed(self) -> bool:
        return Outbox(self.app.database.open(), self.app.name).is_empty()

    def have_run(self, count: int) -> bool:
        with self.app.session() as session:
            return session.query(self.module.Parcel).filter_by(status="SUCCESS").count() == count


@pytest.fixture(params=[pytest.param("sqlite", marks=SAME_KEEPER if programs() else ()), "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty database: on PostgreSQL, if its programs are here; on both with --full."""
    url: str = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")
    return url


@pytest.fixture
def shelf(
    database_url: str, app_name: str, workers: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Shelf]:
    env = {"TEST_APP": app_name, "TEST_DATABASE": database_url}
    for name, value in {**env, "AIOTASK_URL": workers.url}.items():
        monkeypatch.setenv(name, value)
    sys.modules.pop(MODULE, None)
    yield Shelf(importlib.import_module(MODULE), workers, env)
    sys.modules.pop(MODULE, None)


async def all_arrive(shelf: Shelf, url: str, numbers: set[int]) -> None:
    """Run the jobs as the other service does, until each has run once."""
    other = App(shelf.app.name, url=url, secret="x" * 40)
    ran: list[int] = []

    @other.task(name="elsewhere:receipt")
    async def receipt(number: int) -> None:
        ran.append(number)

    async with other, other.worker():
        await wait_until_async(lambda: len(ran) >= len(numbers), description="the jobs have run")
        await wait_until_async(lambda: shelf.is_relayed, description="the outbox is empty")
    assert sorted(ran) == sorted(numbers)


async def test_jobs_by_name_are_sent_where_no_task_is_served(shelf: Shelf) -> None:
    url = shelf.workers.url
    shelf.send(1)
    supervisor = shelf.serve(url)
    shelf.add(2, 3)
    wait_until(lambda: shelf.have_run(2) and shelf.is_relayed, description="rows have run, and their jobs were sent")
    await all_arrive(shelf, url, {1, 2, 3})
    assert supervisor.stop() == 0
    assert f"\n  outbox   sent to {url}" in supervisor.log


async def test_a_broker_is_contacted_for_jobs_of_transactions_alone(shelf: Shelf, own_server: PrivateServer) -> None:
    """While the broker is away, rows run, and their jobs wait in the outbox."""
    own_server.kill()
    supervisor = shelf.serve(own_server.url)
    shelf.add(*range(10))
    wait_until(lambda: shelf.have_run(10), description="the rows have run")
    wait_until(lambda: "Jobs of committed transactions cannot be sent" in supervisor.log, description="it is logged")
    assert not shelf.is_relayed
    own_server.start()
    await all_arrive(shelf, own_server.url, set(range(10)))
    assert supervisor.stop() == 0


def test_rows_that_send_nothing_contact_no_broker(shelf: Shelf, own_server: PrivateServer) -> None:
    before = own_server.call("INFO", "stats")["total_connections_received"]
    supervisor = shelf.serve(own_server.url)
    assert supervisor.stop() == 0
    assert own_server.call("INFO", "stats")["total_connections_received"] == before


def test_the_database_may_be_named_by_module_and_attribute(shelf: Shelf, tmp_path: Path) -> None:
    """The keeper finds the module where the worker does: in the folder of the app."""
    database = shelf.env["TEST_DATABASE"]
    (tmp_path / "its_database.py").write_text(f"import sqlalchemy as sa\nengine = sa.create_engine({database!r})\n")
    (tmp_path / "its_tasks.py").write_text(
        "import os\nfrom aiotask import App\n"
        "app = App(os.environ['TEST_APP'], secret='x' * 40, database='its_database:engine')\n"
        "@app.task(name='elsewhere:receipt')\n"
        "def receipt(number: int) -> None: ...\n"
    )
    shelf.workers.start("its_tasks", env=shelf.env, app_dir=tmp_path)
    shelf.send(1)
    wait_until(lambda: shelf.is_relayed, description="the job was sent")


@pytest.mark.parametrize("url", ["", "memory://"])
def test_no_server_is_started_and_no_memory_is_filled_for_an_outbox(
    shelf: Shelf, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIOTASK_URL", url)
    (unit,) = units_of(shelf.app)
    assert unit.rows is not None and unit.database is None and not unit.send_to


def _own() -> None: ...


def test_one_unit_of_an_app_sends_its_outbox(shelf: Shelf) -> None:
    (alone,) = units_of(shelf.app)
    assert alone.database is not None and alone.send_to == shelf.workers.url
    shelf.app.task(name="shelf:own")(_own)
    tasks, rows = units_of(shelf.app)
    assert tasks.database is not None and rows.database is None
    # A service that is restricted to rows has no keeper of tasks.
    (restricted,) = units_of(shelf.app, ["parcels"])
    assert restricted.send_to == shelf.workers.url
