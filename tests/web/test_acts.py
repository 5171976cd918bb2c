"""Forms that act: one thing, a selection, and all that a filter finds; what has to be typed, and where they lead."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from aiotask import App
from aiotask.contrib.web import Settings
from aiotask.ops.audit import read_audit
from aiotask.ops.connection import Place
from aiotask.ops.hosts import read_hosts
from aiotask.ops.visitors import Verb

from ..cli.shop import Shop, give_up
from ..helpers import wait_until_async
from .site import Populated, Reader, as_visitor, read, site


async def act(client: httpx.AsyncClient, verb: str, **form: Any) -> str:
    """What the page says after an action."""
    answer = await client.post(f"/do/{verb}", data=form)
    assert answer.status_code == 303, answer.text[:2000]
    page = await client.get(answer.headers["location"])
    assert page.status_code == 200
    return read(page.text).text


async def status(app: App, id: str) -> str:
    return str(await app.result(id).status())


async def test_jobs_are_steered_one_by_one(populated: Populated) -> None:
    app, ids = populated.app, populated.ids
    async with site(populated.place, settings=populated.settings) as client:
        said = await act(client, "cancel", on="job", id=ids["pending"], back=f"/jobs/{ids['pending']}")
        assert f"Job {ids['pending']}: cancelled; it was PENDING" in said and "CANCELLED" in said
        said = await act(client, "run_now", on="job", id=ids["scheduled"], back="/jobs")
        assert "runs as soon as a worker takes it" in said
        said = await act(client, "resend", on="job", id=ids["shop:add"], back="/jobs")
        assert "was sent again as" in said
        said = await act(client, "cancel", on="job", id=[ids["line"], "unknown"], back="/jobs")
        assert "Cancelled: 1 job. Skipped 1; the first one: unknown" in said
        assert "no job is selected" in await act(client, "cancel", on="job", back="/jobs")
    assert await status(app, ids["line"]) == "CANCELLED"
    assert await wait_for(app, ids["scheduled"], "SUCCESS")


async def wait_for(app: App, id: str, wanted: str) -> bool:
    async def has() -> bool:
        return await status(app, id) == wanted

    await wait_until_async(has, description=f"{id} is {wanted}")
    return True


async def test_queues_tasks_schedules_and_limits_are_steered(populated: Populated) -> None:
    app = populated.app
    async with site(populated.place, settings=populated.settings) as client:
        assert "Resumed: queue" in await act(client, "resume", on="queue", name="mail", back="/queues")
        assert "Not paused: queue" in await act(client, "resume", on="queue", name="mail", back="/queues")
        said = await act(
            client, "pause", on="task", name="shop:add", where="left == 1", why="wrong sums", back="/tasks/shop:add"
        )
        assert "where left == 1 by ada" in said and "wrong sums" in said
        assert "everything" in await act(client, "pause", on="all", back="/")
        assert len(await app.pauses()) == 2
        await act(client, "resume", on="all", back="/")
        paused = {"on": "schedule", "name": "every-hour", "why": "wrong numbers"}
        for page in ("/schedules", "/schedules/every-hour"):
            said = await act(client, "pause", **paused, back=page)
            assert "is paused" in said and "by ada" in said and ": wrong numbers" in said
        assert "goes on" in await act(client, "resume", on="schedule", name="every-hour", back="/schedules")
        assert "Sent as job" in await act(client, "run_now", on="schedule", name="every-hour", back="/schedules")
        assert "type the name" in await act(client, "remove", on="schedule", name="every-hour", back="/schedules")
        await act(client, "remove", on="schedule", name="every-hour", typed="every-hour", back="/schedules")
        assert [each.name async for each in app.schedules.list()] == ["shop:report"]
        said = await act(client, "set_limit", name="stripe", numbers="max_running=7", back="/limits/stripe")
        assert "allows from now on: 7" in said and "set by hand" in said
        await act(client, "reset_limit", name="stripe", back="/limits")
        wrong = await client.post("/do/set_limit", data={"name": "stripe", "numbers": "max_running=x"})
        assert wrong.status_code == 400 and "give a whole number" in wrong.text
        wrong = await client.post("/do/pause", data={"on": "nothing", "name": "x"})
        assert wrong.status_code == 400


async def test_dead_letters_are_replayed_and_deleted(populated: Populated) -> None:
    id = populated.ids["shop:fail"]
    async with site(populated.place, settings=populated.settings) as client:
        assert 'type "delete" to confirm' in await act(client, "discard", on="letter", id=id, back="/dead")
        assert "Replayed: 1 dead letter." in await act(client, "replay", on="letter", id=id, back="/dead")

        async def is_dead() -> bool:
            return (await client.get(f"/dead/{id}")).status_code == 200

        await wait_until_async(is_dead, description="it failed again")
        said = await act(client, "discard", on="letter", id=id, typed="delete", back="/dead")
        assert "Deleted: 1 dead letter." in said
        assert (await client.get(f"/dead/{id}")).status_code == 404
        assert "is no dead letter any more" in await act(client, "replay", on="letter", id=id, back="/dead")


async def test_stacks_are_shown_on_the_page_of_the_job(populated: Populated) -> None:
    async with site(populated.place, settings=populated.settings) as client:
        answer = await client.post("/do/stacks", data={"on": "job", "id": populated.ids["running"]})
        assert answer.status_code == 200
        read(answer.text)
    [line] = [line for line in await read_audit(populated.place, 10) if line["verb"] == "stacks"]
    assert line["ended"] == "done"


# ---- all that match


async def test_a_bulk_action_counts_runs_and_tells(populated: Populated) -> None:
    task = populated.app.named("shop:many", queue="unread")
    for number in range(300):
        task.apply_async(number)
    await populated.app.flush()
    async with site(populated.place, settings=populated.settings) as client:
        ask = await client.get("/bulk", params={"verb": "cancel", "queue": "unread", "back": "/jobs?queue=unread"})
        page = read(ask.text)
        assert "300 match now" in page.text and "jobs in queue unread" in page.text
        answer = await client.post("/do/cancel", data={"on": "filter", "queue": "unread", "back": "/jobs?queue=unread"})
        progress = answer.headers["location"]
        assert answer.status_code == 303 and progress.startswith("/bulk/")

        async def is_over() -> bool:
            text = read((await client.get(progress)).text).text
            return "300 of 300" in text and "■done" in text

        await wait_until_async(is_over, description="all are cancelled")
        page = read((await client.get(progress)).text)
        assert "done" in page.text and "/jobs?queue=unread" in page.links()
        [line, *_] = await read_audit(populated.place, 1)
        assert (line["verb"], line["number"], line["who"]) == ("cancel", 300, "ada")
        assert line["subject"] == "jobs in queue unread"


async def test_a_purge_has_to_be_typed_and_a_filter_without_conditions_too(populated: Populated) -> None:
    async with site(populated.place, settings=populated.settings) as client:
        assert "Type mail to confirm" in read((await client.get("/bulk?verb=purge&queue=mail")).text).text
        assert "type the name of the queue" in await act(client, "purge", on="queue", name="mail", back="/queues")
        done = await client.post("/do/purge", data={"on": "queue", "name": "mail", "typed": "mail"})
        assert done.headers["location"].startswith("/bulk/")
        refused = await client.post("/do/cancel", data={"on": "filter"})
        assert refused.status_code == 400 and "this is about every job" in refused.text
        assert await wait_for(populated.app, populated.ids["pending"], "CANCELLED")
        assert (await client.get("/bulk?verb=pause")).status_code == 404
        assert (await client.get("/bulk/unknown")).status_code == 404


async def test_a_bulk_action_may_be_stopped_and_begun_again(own_server: Any, app_name: str) -> None:
    shop = Shop(own_server.url, app_name)
    async with shop.app:
        for number in range(6000):
            shop.render.apply_async(number)
        await shop.app.flush()
    place = Place(app_name, own_server.url)
    async with site(place) as client:
        answer = await client.post("/do/cancel", data={"on": "filter", "task": "shop:render"})
        progress = answer.headers["location"]
        async with site(place, as_visitor("read")) as reader:
            assert (await reader.post("/do/stop", data={"id": progress.rpartition("/")[2]})).status_code == 404
        stopped = await client.post("/do/stop", data={"id": progress.rpartition("/")[2]})
        assert stopped.headers["location"] == progress
        text = read((await client.get(progress)).text).text
        assert "stopped" in text or "6,000 of 6,000" in text
        line, begun = await read_audit(place, 10)
        assert (begun["ended"], begun["action"]) == ("begun", line["action"])
        left = (await client.get("/bulk?verb=cancel&task=shop:render")).text
        assert f"{6000 - line['number']:,}" in left
        if line["ended"] == "stopped":
            assert line["number"] < 6000
            again = (await client.post("/do/cancel", data={"on": "filter", "task": "shop:render"})).headers["location"]

            async def is_over() -> bool:
                return (
                    f"{6000 - line['number']:,} of {6000 - line['number']:,}"
                    in read((await client.get(again)).text).text
                )

            await wait_until_async(is_over, description="the rest is cancelled")


async def test_dead_letters_that_match_are_replayed_together(own_server: Any, app_name: str) -> None:
    shop = Shop(own_server.url, app_name)
    async with shop.app:
        for number in range(120):
            shop.render.apply_async(number)
        await shop.app.flush()
        await give_up(shop, 120)
        place = Place(app_name, own_server.url)
        async with site(place) as client:
            page = read((await client.get("/bulk?verb=discard&error=WorkerLost")).text)
            assert "120 match now" in page.text and "Type delete to confirm" in page.text
            answer = await client.post(
                "/do/replay", data={"on": "filter", "task": "shop:render", "error": "WorkerLost"}
            )
            progress = answer.headers["location"]

            async def is_over() -> bool:
                return "120 of 120" in read((await client.get(progress)).text).text

            await wait_until_async(is_over, description="all are replayed")
            assert "120" in read((await client.get("/jobs?status=pending")).text).text


async def test_an_action_on_all_that_match_is_about_what_was_asked_and_no_more(own_server: Any, app_name: str) -> None:
    shop = Shop(own_server.url, app_name)
    async with shop.app, site(Place(app_name, own_server.url)) as client:
        ours = [shop.render.apply_async(number, text="acme") for number in range(2)]
        others = [shop.render.apply_async(number, text="other") for number in range(2)]
        await shop.app.flush()
        # A condition that is too long is no condition that is left out.
        for name in ("q", "task", "prefix"):
            answer = await client.post("/do/cancel", data={"on": "filter", "queue": "tiles", name: "x" * 301})
            assert answer.status_code == 400 and f"Nothing was done: {name} has 301 characters" in answer.text
        assert [str(await each.status()) for each in (*ours, *others)] == ["PENDING"] * 4
        # A purge ends what its page has counted.
        page = read((await client.get("/bulk?verb=purge&queue=tiles&q=acme")).text)
        assert "2 match now" in page.text
        fields = {tag["name"]: tag["value"] for name, tag in page.tags if name == "input" and "value" in tag}
        assert (await client.post("/do/purge", data={**fields, "typed": "tiles"})).status_code == 303
        for each in ours:
            assert await wait_for(shop.app, each.id, "CANCELLED")
        assert [str(await each.status()) for each in others] == ["PENDING"] * 2
        # Letters are sent again by their error.
        await give_up(shop, 2)
        for error, number in (("no such error", 0), ("workerlost", 2)):
            assert f"{number} match now" in read((await client.get(f"/bulk?verb=resend&error={error}")).text).text
        assert (await client.post("/do/resend", data={"on": "filter", "error": "workerlost"})).status_code == 303

        async def are_there() -> bool:
            async with shop.app.inspector() as inspector:
                return len(await inspector.jobs(limit=10)) == 2

        await wait_until_async(are_there, description="both were sent again")


async def test_all_ended_jobs_that_match_are_sent_again(populated: Populated) -> None:
    async with site(populated.place, settings=populated.settings) as client:

        async def confirm(path: str) -> Reader:
            [link] = re.findall(r'href="(/bulk[?]verb=resend[^"]*)"', (await client.get(path)).text)
            return read((await client.get(link.replace("&amp;", "&"))).text)

        for path, subject in (
            ("/jobs?status=success&task=shop:add", "jobs of the history with status SUCCESS, of task shop:add"),
            ("/history?q=leek&since=1d", "jobs of the history containing leek, since "),
        ):
            page = await confirm(path)
            assert f"Send again {subject}" in page.text and "1 match now" in page.text, page.text
            fields = {tag["name"]: tag["value"] for name, tag in page.tags if name == "input" and "value" in tag}
            progress = (await client.post("/do/resend", data=fields)).headers["location"]

            async def is_over(progress: str = progress) -> bool:
                return "1 of 1" in read((await client.get(progress)).text).text

            await wait_until_async(is_over, description="it is sent again")
        page = await confirm("/history")
        assert "Send again all jobs of the history" in page.text and "Type all to confirm" in page.text
        for typed in ("", "al"):
            answer = await client.post("/do/resend", data={"on": "filter", "of": "history", "typed": typed})
            assert answer.status_code == 400 and "without a filter this is about every job" in answer.text


@pytest.mark.parametrize("verb", ["cancel", "purge", "run_now", "resend", "replay", "discard"])
async def test_who_may_not_sees_no_count_either(populated: Populated, verb: str) -> None:
    settings = Settings(allow=frozenset(set(Verb) - {Verb(verb)}), result_db=populated.settings.result_db)
    async with site(populated.place, as_visitor("act"), settings) as client:
        answer = await client.get("/bulk", params={"verb": verb, "queue": "mail", "task": "shop:fail"})
        assert answer.status_code == 403


async def test_hosts_are_drained_and_resumed(populated: Populated) -> None:
    async with site(populated.place, settings=populated.settings) as client:
        [host] = [each["host"] for each in await read_hosts(populated.place) if each["age"] is not None]
        assert 'action="/do/drain"' in (await client.get(f"/workers/{host}")).text
        said = await act(client, "drain", on="host", name=host, back="/workers")
        assert f"Drained: host {host}." in said and "drained" in said.split("Hosts")[-1]
        page = (await client.get(f"/workers/{host}")).text
        assert "by ada" in page and 'action="/do/resume"' in page
        assert f"Resumed: host {host}." in await act(client, "resume", on="host", name=host, back="/workers")
        assert "Not done: host" in await act(client, "recycle", on="host", name=host, back=f"/workers/{host}")
        unknown = await client.post("/do/drain", data={"on": "host", "name": "nowhere"})
        assert unknown.status_code == 400 and "no live host is called" in unknown.text
    async with site(populated.place, access=as_visitor("read"), settings=populated.settings) as client:
        assert 'action="/do/drain"' not in (await client.get(f"/workers/{host}")).text
        assert (await client.post("/do/drain", data={"on": "host", "name": host})).status_code == 403


async def test_jobs_are_moved_to_another_queue(populated: Populated) -> None:
    app, ids = populated.app, populated.ids
    async with site(populated.place, settings=populated.settings) as client:
        page = (await client.get("/queues/mail")).text
        assert 'name="verb" value="move"' in page and "<option>sums</option>" in page
        said = await act(client, "move", on="job", id=[ids["scheduled"], ids["running"]], to="slow", back="/jobs")
        assert "Moved: 1 job. Skipped 1; the first one: is RUNNING" in said
        asked = (await client.get("/bulk", params={"verb": "move", "queue": "mail", "to": "slow"})).text
        assert "Move jobs in queue mail to queue slow" in read(asked).text
        answer = await client.post("/do/move", data={"on": "filter", "queue": "mail", "to": "slow", "back": "/queues"})
        assert answer.status_code == 303, answer.text[:500]

        async def moved() -> bool:
            async with app.inspector() as inspector:
                return any(each.name == "slow" and each.pending == 1 for each in await inspector.queues(max_age=0.0))

        await wait_until_async(moved, description="the pending one is moved")
        wrong = await client.post("/do/move", data={"on": "job", "id": ids["pending"], "to": "a b"})
        assert wrong.status_code == 400 and "cannot name a queue" in wrong.text
