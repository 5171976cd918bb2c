"""Two services of one app whose code has the same schedule: a deploy of one of them, and different times."""

from __future__ import annotations

from pathlib import Path
from signal import SIGHUP

import pytest

from aiotask.ops.checks import State, check_all
from aiotask.ops.connection import Place as Address

from ..helpers import wait_until
from ..workers import Supervisor, Workers
from .place import Place

#: The app and its task are in a file that both services import.
BASE = """
import os
from aiotask import App

app = App(os.environ["TEST_APP"])
"""
TICK = """
from base import app

@app.task(name="tick", cron="{cron}")
def tick() -> None: ...
"""
WITHOUT = """
from base import app

@app.task
def other() -> None: ...
"""
YEARLY = "0 0 1 1 *"


class Services:
    """Two modules of one app, each served by a worker of its own."""

    def __init__(self, workers: Workers, place: Place) -> None:
        (place.folder / "base.py").write_text(BASE)
        self._workers = workers
        self._place = place

    def write(self, name: str, source: str) -> None:
        (self._place.folder / f"{name}.py").write_text(source)

    def start(self, name: str, source: str) -> Supervisor:
        self.write(name, source)
        return self._workers.start(name, app_dir=self._place.folder, env=self._place.env, concurrency=1)

    def shown(self) -> dict[str, object]:
        return dict(self._place.ask("show", "tick"))


@pytest.fixture
def place(workers: Workers, app_name: str, redis_url: str, tmp_path: Path) -> Place:
    return Place(workers, app_name, redis_url, tmp_path)


@pytest.fixture
def services(workers: Workers, place: Place) -> Services:
    return Services(workers, place)


def test_a_schedule_of_two_services_outlives_the_deploy_of_one_that_drops_it(services: Services, place: Place) -> None:
    services.start("mail", TICK.format(cron=YEARLY))
    wait_until(lambda: place.names() == {"tick"}, description="it is declared")
    shop = services.start("shop", TICK.format(cron=YEARLY))
    wait_until(lambda: services.shown()["declared_by"] == "shop", description="the other service has taken it over")
    before = services.shown()
    assert before["also_declared_by"] == ["mail"]

    services.write("shop", WITHOUT)
    shop.signal(SIGHUP)

    wait_until(lambda: services.shown()["declared_by"] == "mail", description="it is that of the other service")
    after = services.shown()
    assert after["next_run"] == before["next_run"] is not None
    assert after["also_declared_by"] == []


async def test_services_that_declare_different_times_are_named(
    services: Services, place: Place, redis_url: str
) -> None:
    services.start("mail", TICK.format(cron=YEARLY))
    wait_until(lambda: place.names() == {"tick"}, description="it is declared")
    services.start("shop", TICK.format(cron="0 0 2 2 *"))
    wait_until(lambda: services.shown()["declared_by"] == "shop", description="the other service has taken it over")

    [said] = [
        check for check in await check_all(Address(place.name, redis_url), None, list) if "schedules" in check.name
    ]

    assert said.state is State.WARN
    assert 'The schedule "tick" is declared with different times by the code of mail and shop' in said.detail
    assert services.shown()["notes"] == [said.detail]


@pytest.fixture(autouse=True)
def _logs(worker_logs: None) -> None:
    """What the workers said is shown with every failure."""
