"""aiotask schedules: what is not paused is not resumed, and the command says so."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from aiotask import App, ConfigError
from aiotask.parts.pausing import this_user

from .command import invoke


@pytest.fixture
def place(redis_url: str, app_name: str) -> Iterator[list[str]]:
    async def set_one() -> None:
        async with App(app_name, url=redis_url) as app:
            task = app.register_task(len, name="shop:measure")
            await app.schedules.set("report-7", task.s("leek"), every=3600)

    asyncio.run(set_one())
    yield ["--name", app_name, "--url", redis_url]


def ask(*arguments: str, code: int = 0) -> Any:
    said = invoke(*arguments, "--json")
    assert said.exit_code == code, said.output
    return json.loads(said.output)


def test_a_schedule_that_is_not_paused_is_not_resumed(place: list[str]) -> None:
    said = invoke("schedules", "resume", "report-7", *place)
    assert said.exit_code == 1
    assert "Not paused: schedule report-7. Its next runs: aiotask schedules show report-7" in said.output
    assert ask("schedules", "resume", "report-7", *place, code=1)["done"] is False

    assert ask("schedules", "pause", "report-7", *place)["done"] is True
    said = invoke("schedules", "resume", "report-7", *place)
    assert said.exit_code == 0
    assert said.output.startswith("Resumed report-7.")
    unknown = invoke("schedules", "resume", "report-8", *place)
    assert isinstance(unknown.exception, ConfigError) and 'Did you mean "report-7"?' in str(unknown.exception)


def test_a_pause_is_shown_with_its_reason_and_who_has_begun_it(place: list[str]) -> None:
    invoke("schedules", "pause", "report-7", "--why", "the numbers are wrong", *place)

    for said in (invoke("schedules", *place), invoke("schedules", "show", "report-7", *place)):
        assert re.search(rf"Paused.* ago by {this_user()}: the numbers are wrong", said.output)
    shown = ask("schedules", "show", "report-7", *place)
    assert (shown["paused_by"], shown["paused_why"]) == (this_user(), "the numbers are wrong")


def test_a_schedule_that_is_removed_twice_is_missed(place: list[str]) -> None:
    assert ask("schedules", "remove", "report-7", *place)["done"] is True
    said = invoke("schedules", "remove", "report-7", *place)
    assert isinstance(said.exception, ConfigError) and 'There is no schedule "report-7"' in str(said.exception)
