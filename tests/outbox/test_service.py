"""The whole path: a client's transaction, the keeper of ``aiotask worker``, and worker processes."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from aiotask.errors import NotSent

from ..helpers import wait_until
from ..workers import DATABASES, Supervisor, Workers

MODULE = "tests.outbox.site"


class Site:
    """The app as this process sees it, and workers for it."""

    def __init__(self, module: ModuleType, workers: Workers, env: dict[str, str]) -> None:
        self.app: Any = module.app
        self.receipt: Any = module.receipt
        self.outer: Any = module.outer
        self.orders: sa.Table = module.orders
        self._ledger: Path = module.LEDGER
        self._workers = workers
        self._env = env
        module.metadata.create_all(self.engine)

    @property
    def engine(self) -> sa.Engine:
        engine: sa.Engine = self.app.database.open().engine
        return engine

    def serve(self, *options: str) -> Supervisor:
        return self._workers.start(MODULE, concurrency=2, options=options, env=self._env, loaded=DATABASES)

    def ran(self) -> list[tuple[str, str]]:
        """Order and what the job saw of it, of all runs."""
        lines = self._ledger.read_text().splitlines() if self._ledger.exists() else []
        return sorted((order, seen) for order, seen, _ in map(str.split, lines))

    def buy(self, order: int, *, commit: bool = True) -> Any:
        """An order and the job for its receipt, in one transaction."""
        with Session(self.engine) as session:
            session.execute(sa.insert(self.orders).values(id=order))
            with self.app.in_transaction(session):
                result = self.receipt.apply_async(order)
            if commit:
                session.commit()
            else:
                session.rollback()
        return result


@pytest.fixture
def site(
    database_url: str, app_name: str, workers: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Site]:
    env = {"TEST_APP": app_name, "TEST_DATABASE": database_url, "TEST_LEDGER": str(tmp_path / "ledger")}
    for name, value in {**env, "AIOTASK_URL": workers.url}.items():
        monkeypatch.setenv(name, value)
    sys.modules.pop(MODULE, None)
    yield Site(importlib.import_module(MODULE), workers, env)
    sys.modules.pop(MODULE, None)


def keeper_of(supervisor: Supervisor) -> psutil.Process:
    """Its keeper, once there is one: one that has just been started has the title of the supervisor at first."""

    def keepers() -> list[psutil.Process]:
        with contextlib.suppress(psutil.NoSuchProcess):
            return [child for child in supervisor.children() if "aiotask: keeper" in " ".join(child.cmdline())]
        return []

    return wait_until(keepers, description="there is a keeper")[0]


def test_a_job_goes_out_if_and_only_if_its_transaction_commits(site: Site) -> None:
    site.serve()
    refused = site.buy(1, commit=False)
    assert site.buy(2).get(30) == "receipt of 2"
    site.outer.apply_async(3).get(30)
    wait_until(lambda: len(site.ran()) == 2, description="both receipts are written")
    with pytest.raises(NotSent):
        refused.get(5)
    assert site.ran() == [("2", "2"), ("3", "3")]


def test_jobs_committed_without_a_worker_are_sent_by_the_next_keeper(site: Site) -> None:
    results = [site.buy(n) for n in range(20)]
    supervisor = site.serve()
    assert [result.get(30) for result in results] == [f"receipt of {n}" for n in range(20)]
    assert "trying again" not in supervisor.log


def test_keepers_are_killed_while_transactions_commit(site: Site) -> None:
    supervisor = site.serve()
    results = []
    for n in range(60):
        results.append(site.buy(n))
        site.buy(1000 + n, commit=False)
        if n % 15 == 7:
            with contextlib.suppress(psutil.NoSuchProcess):
                keeper_of(supervisor).kill()
    for result in results:
        result.get(60)
    assert [order for order, _ in site.ran()] == sorted(str(n) for n in range(60))


def test_a_missing_outbox_is_logged_at_once(site: Site) -> None:
    """No worker looks at the outbox: without the keeper's line, jobs would wait and no log would say why."""
    with site.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE aiotask_outbox")
    supervisor = site.serve()
    wait_until(lambda: "A table is missing in the database" in supervisor.log, description="the keeper tells of it")
    assert "create_tables(app)" in supervisor.log
