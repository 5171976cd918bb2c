"""aiotask queues pause and resume, aiotask tasks: what is paused, by whom and why."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from aiotask import App

from ..helpers import wait_until_async
from .command import invoke


@pytest.fixture
def place(redis_url: str, app_name: str) -> Iterator[list[str]]:
    app = App(app_name, url=redis_url)
    app.register_task(len, name="shop:measure", queue="mail").s("leek").apply_async().blocking.sent()
    yield ["--name", app_name, "--url", redis_url]


def ask(*arguments: str, code: int = 0) -> Any:
    said = invoke(*arguments, "--json")
    assert said.exit_code == code, said.output
    return json.loads(said.output)


def test_a_paused_queue_is_shown_with_who_and_why(place: list[str]) -> None:
    said = invoke("queues", "pause", "mail", "--why", "the server moves", *place)
    assert (said.exit_code, said.output) == (0, 'Paused: queue "mail". Jobs that run end as usual.\n')

    [app] = ask("queues", *place)
    [pause] = app["pauses"]
    assert (pause["queue"], pause["why"], bool(pause["by"])) == ("mail", "the server moves", True)
    assert [queue["paused"] for queue in app["queues"] if queue["name"] == "mail"] == [True]
    shown = invoke("queues", *place).output
    assert "(paused)" in shown and 'Paused: queue "mail"' in shown and ": the server moves" in shown

    said = invoke("queues", "resume", "mail", *place)
    assert (said.exit_code, said.output) == (0, 'Resumed: queue "mail".\n')
    assert ask("queues", *place)[0]["pauses"] == []


def test_what_is_paused_already_keeps_who_when_and_why(place: list[str]) -> None:
    first = ask("queues", "pause", "mail", "--why", "first reason", *place)

    again = ask("queues", "pause", "mail", *place)
    assert {**again, "note": ""} == first
    assert again["note"].startswith(f"It was paused already, by {first['by']} since 2")

    said = invoke("queues", "pause", "mail", "--why", "second reason", *place)
    assert "The reason was: first reason." in " ".join(said.output.split())
    [app] = ask("queues", *place)
    [pause] = app["pauses"]
    assert (pause["why"], pause["at"], pause["by"]) == ("second reason", first["at"], first["by"])


def test_a_schedule_that_is_paused_already_keeps_who_when_and_why(place: list[str], app_name: str) -> None:
    async def set_it() -> None:
        async with App(app_name, url=place[3]) as app:
            measure = app.register_task(len, name="shop:measure")
            await app.schedules.set("nightly", measure.s("leek"), every=3600.0)

    asyncio.run(set_it())
    first = ask("schedules", "pause", "nightly", "--why", "first reason", *place)
    again = ask("schedules", "pause", "nightly", *place)
    assert (again["paused"], again["paused_why"]) == (first["paused"], "first reason")
    last = ask("schedules", "pause", "nightly", "--why", "second reason", *place)
    assert (last["paused"], last["paused_why"]) == (first["paused"], "second reason")

    [found] = [check for check in ask("doctor", *place)["checks"] if "nightly" in check["detail"]]
    assert found["name"] == f"{app_name}: paused" and "(second reason)" in found["detail"]
    assert found["fix"] == "If it is no longer needed: aiotask schedules resume nightly"


def test_what_is_not_paused_cannot_be_resumed(place: list[str]) -> None:
    assert ask("queues", "resume", "mail", *place, code=1)["done"] is False
    said = invoke("tasks", "resume", "shop:measure", *place)
    assert said.exit_code == 1
    assert 'Not paused: task "shop:measure". Nothing is paused.' in said.output
    for arguments in (["queues", "pause", "mail"], ["tasks", "pause", "shop:measure", "obj == 'a b'"]):
        ask(*arguments, *place)
    said = invoke("queues", "resume", "--all", *place)
    assert "aiotask queues resume mail; aiotask tasks resume shop:measure 'obj == '" in said.output


def test_a_pause_of_what_no_live_worker_knows_says_so(place: list[str]) -> None:
    name, url = place[1], place[3]
    assert ask("queues", "pause", "mial", *place)["note"] == ""  # no worker is live: nothing is known

    def note(arguments: list[str]) -> Any:
        return ask(*arguments, *place)["note"]

    async def pause() -> list[Any]:
        app = App(name, url=url)
        app.register_task(len, name="shop:measure", queue="mail")
        async with app, app.worker():
            arguments = (["queues", "pause", "mial"], ["tasks", "pause", "measure"], ["queues", "pause", "mail"])
            return [await asyncio.to_thread(note, each) for each in arguments]

    queue, task, known = asyncio.run(pause())
    assert queue.startswith("It was paused already, by ")
    assert (
        queue.partition(" UTC. ")[2]
        == 'No live worker consumes a queue "mial", and no job waits in it. Did you mean "mail"?'
    )
    assert task == 'No live worker has a task "measure". Did you mean "shop:measure"?'
    assert known == ""
    assert "Did you mean" not in invoke("queues", "pause", "other", *place).output


def test_a_pause_of_an_app_that_the_server_does_not_know_says_so(place: list[str]) -> None:
    name, url = place[1], place[3]
    note = ask("queues", "pause", "mail", "--name", f"{name}s", "--url", url)["note"]
    assert note.startswith(f'This server knew no app "{name}s". Did you mean "{name}"? Apps: ')
    # The pause stands all the same: workers of a new app may come later.
    assert "It was paused already" in ask("queues", "pause", "mail", "--name", f"{name}s", "--url", url)["note"]


def test_doctor_names_each_pause_and_how_it_ends(place: list[str]) -> None:
    ask("queues", "pause", "mail", "--why", "the server moves", *place)
    ask("tasks", "pause", "shop:measure", "obj == 'a b'", *place)

    checks = [check for check in ask("doctor", *place)["checks"] if check["name"].endswith(": paused")]

    assert [check["state"] for check in checks] == ["warn", "warn"]
    assert checks[0]["detail"].startswith("Queue mail has been paused for ")
    assert "the server moves" in checks[0]["detail"]
    assert checks[0]["fix"] == "If it is no longer needed: aiotask queues resume mail"
    assert "aiotask tasks resume shop:measure 'obj == '" in checks[1]["fix"]


def test_a_job_that_is_parked_by_a_pause_says_which_one(place: list[str]) -> None:
    name, url = place[1], place[3]
    ask("tasks", "pause", "shop:measure", "--why", "it is too slow", *place)

    id = ask("jobs", *place)[0]["id"]

    async def park() -> None:
        app = App(name, url=url)
        app.register_task(len, name="shop:measure", queue="mail")

        async def is_parked() -> bool:
            return await app.result(id).status() == "PARKED"

        async with app, app.worker():
            await wait_until_async(is_parked, description="the job is parked")

    asyncio.run(park())
    assert "paused: task shop:measure" in invoke("jobs", "--status", "parked", *place).output
    why = ask("job", id, *place)["why"]
    assert why.startswith('task "shop:measure" was paused by ')
    assert why.endswith("(it is too slow); aiotask tasks resume shop:measure ends that")
    ask("tasks", "resume", "shop:measure", *place)
    assert ask("job", id, *place)["why"].startswith("its pause is over")


def test_everything_is_paused_and_resumed(place: list[str]) -> None:
    assert ask("queues", "pause", "--all", *place)["id"] == "all"
    assert all(queue["paused"] for queue in ask("queues", *place)[0]["queues"])
    assert ask("queues", "resume", "--all", *place)["done"]


def test_calls_of_a_task_are_paused(place: list[str]) -> None:
    assert ask("tasks", "pause", "shop:measure", "obj", "==", "leek", *place)["where"] == "obj == leek"
    [known] = ask("tasks", *place)
    assert (known["task"], known["workers"], known["pauses"][0]["where"]) == ("shop:measure", 0, "obj == leek")
    assert "obj == leek" in invoke("tasks", *place).output
    assert ask("tasks", "resume", "shop:measure", "obj == 'leek'", *place)["done"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["queues", "pause"], "no queue was named. Name one, or give --all"),
        (["queues", "pause", "mail", "--all"], "Name one thing to pause"),
        (["tasks", "pause", "shop:measure", "obj", "like", "leek"], "is no condition"),
    ],
)
def test_what_cannot_be_paused_is_refused(arguments: list[str], message: str, place: list[str]) -> None:
    said = invoke(*arguments, *place)
    assert said.exit_code != 0
    assert message in f"{said.output}{said.exception}"


def test_a_job_says_that_it_waits_for_the_end_of_a_pause(place: list[str]) -> None:
    ask("queues", "pause", "mail", *place)
    job = ask("jobs", *place)[0]
    assert "the queue mail is paused" in ask("job", job["id"], *place)["why"]
