"""Schedules of `aiotask worker`: an emptied server, and the commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..helpers import wait_until
from ..server import PrivateServer
from ..workers import Workers
from .place import TICKING, Place


def test_an_emptied_server_knows_the_schedules_again_within_seconds(
    own_server: PrivateServer, workers: Workers, app_name: str, tmp_path: Path
) -> None:
    place = Place(workers, app_name, own_server.url, tmp_path)
    place.write(TICKING)
    place.start(concurrency=1)
    wait_until(place.more(2), description="it runs")

    own_server.call("FLUSHALL")

    # Much sooner than the next declaration, which comes once a minute.
    wait_until(place.more(2), description="it runs again")
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


@pytest.fixture(autouse=True)
def _logs(worker_logs: None) -> None:
    """What the workers said is shown with every failure."""
