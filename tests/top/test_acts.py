"""Capital letters act, after a question; each action takes effect and is a line of the audit."""

from __future__ import annotations

from typing import Any

import pytest

from aiotask import App, Status
from aiotask.ops.audit import read_audit
from aiotask.ops.views.look import Choices
from aiotask.ops.visitors import ACTS, Verb

from ..helpers import wait_until_async
from ..web.site import Populated
from .screen import Screen, screen


async def is_noted(populated: Populated, verb: str, number: int, subject: str, ended: str = "done") -> bool:
    lines = await read_audit(populated.place, 1)
    [line] = [(each["verb"], each["number"], each["subject"], each["ended"], each["source"]) for each in lines]
    assert line == (verb, number, subject, ended, "top")
    return True


async def status(app: App, id: str) -> str:
    return str(await app.result(id).status())


async def becomes(app: App, id: str, wanted: str) -> None:
    async def has() -> bool:
        return await status(app, id) == wanted

    await wait_until_async(has, description=f"{id} is {wanted}")


async def test_jobs_are_steered(populated: Populated) -> None:
    app, ids = populated.app, populated.ids
    async with screen(populated.place, populated.settings, (120, 40)) as top:
        await top.go("j", ids["pending"])
        await top.to_row(ids["pending"])
        await top.press("C")
        await top.shows(f"Cancel job {ids['pending']}?", "The job ends as CANCELLED")
        await top.press("n")
        assert await status(app, ids["pending"]) == "PENDING"
        await top.press("C", "y")
        await top.shows(f"Job {ids['pending']}: cancelled")
        await becomes(app, ids["pending"], "CANCELLED")
        assert await is_noted(populated, "cancel", 1, f"job {ids['pending']}")

        await top.to_row(ids["scheduled"])
        await top.press("M")
        await top.shows(f"Move job {ids['scheduled']}?", "To queue")
        await top.type("default")
        await top.press("enter")
        await top.shows(f"Job {ids['scheduled']}:")
        async with app.inspector() as inspector:
            found = await inspector.jobs(status=Status.SCHEDULED, queue="default", limit=10)
        assert [each.id for each in found] == [ids["scheduled"]]
        assert await is_noted(populated, "move", 1, f"job {ids['scheduled']} to queue default")

        await top.to_row(ids["scheduled"])
        await top.press("N", "enter")
        await top.shows("runs as soon as a worker takes it")
        await becomes(app, ids["scheduled"], "SUCCESS")
        assert await is_noted(populated, "run_now", 1, f"job {ids['scheduled']}")

        await top.go("h", ids["shop:add"])
        await top.to_row(ids["shop:add"])
        await top.press("S", "y")
        await top.shows("was sent again as")
        assert await is_noted(populated, "resend", 1, f"job {ids['shop:add']}")


async def test_selected_jobs_are_cancelled_together(populated: Populated) -> None:
    app = populated.app
    mail = app.named("shop:mail", queue="mail")
    ids = [(await _sent(mail.apply_async(number, 1))).id for number in range(3)]
    async with screen(populated.place, populated.settings, (120, 40)) as top:
        await top.go("j", *ids)
        for id in ids[:2]:
            await top.to_row(id)
            await top.press("x")
        await top.shows(f"* shop:mail     {ids[0]}", f"* shop:mail     {ids[1]}", f"  shop:mail     {ids[2]}")
        await top.to_row(ids[2])
        await top.press("C")
        await top.shows(f"Cancel 2 jobs: {ids[0]}, {ids[1]}?")
        await top.press("y")
        await top.shows("Cancelled: 2 jobs.")
    assert [await status(app, id) for id in ids] == ["CANCELLED", "CANCELLED", "PENDING"]
    assert await is_noted(populated, "cancel", 2, f"2 jobs: {ids[0]}, {ids[1]}")


async def _sent(result: Any) -> Any:
    await result.sent()
    return result


async def test_all_that_match_are_cancelled(populated: Populated) -> None:
    app = populated.app
    mail = app.named("shop:mail", queue="mail")
    ids = [(await _sent(mail.apply_async(number, 1))).id for number in range(60)]
    async with screen(populated.place, populated.settings) as top:
        await top.go("j", "Jobs")
        await top.press("f")
        await top.shows("Filter jobs")
        await top.type("mail")
        await top.press("enter")
        await top.shows("Only: queue mail")
        await top.press("*")
        await top.shows("All unfinished jobs that match are selected")
        await top.press("C")
        await top.shows("Cancel jobs in queue mail?", "61 match now.")
        await top.press("y")
        await top.shows("All that match", "■ done", "61 of 61")
        for id in [*ids, populated.ids["pending"]]:
            assert await status(app, id) == "CANCELLED"
        assert await is_noted(populated, "cancel", 61, "jobs in queue mail")
        # Without a filter it is about every job, and that has to be typed.
        await top.go("j", "Jobs")
        await top.press("*", "C")
        await top.shows("Cancel all jobs?", "Type all to confirm")
        await top.press("enter")
        await top.shows("Type all first.")
        await top.press("escape")
        assert await status(app, populated.ids["running"]) == "RUNNING"


async def test_queues_and_everything_are_paused_resumed_and_purged(populated: Populated) -> None:
    app = populated.app
    async with screen(populated.place, populated.settings, (100, 30)) as top:
        await top.go("q", "sums", "mail")
        await top.to_row("sums")
        await top.press("P")
        await top.shows("Pause queue sums?", "No further job of this queue starts", "Why")
        await top.type("wrong sums")
        await top.press("enter")
        await top.shows('Paused: queue "sums"')
        assert {(pause.queue, pause.why) for pause in await app.pauses()} == {
            ("mail", "it moves"),
            ("sums", "wrong sums"),
        }
        assert await is_noted(populated, "pause", 1, 'queue "sums"')
        await top.shows("P resume")
        await top.press("P", "y")
        await top.shows('Resumed: queue "sums"')
        assert [pause.queue for pause in await app.pauses()] == ["mail"]
        assert await is_noted(populated, "resume", 1, 'queue "sums"')

        await top.press("A", "enter")
        await top.shows("Everything is paused.", "A resume all")
        assert any(not pause.queue and not pause.task for pause in await app.pauses())
        await top.press("A", "y")
        await top.shows("Resumed: everything")

        await top.to_row("mail")
        await top.press("X")
        await top.shows("Purge queue mail?", "Type mail to confirm")
        await top.type("sums")
        await top.press("enter")
        await top.shows("Type mail first.")
        assert await status(app, populated.ids["pending"]) == "PENDING"
        await top.press(*["backspace"] * 4)
        await top.type("mail")
        await top.press("enter")
        await top.shows("■ done", "1 of 1")
        await becomes(app, populated.ids["pending"], "CANCELLED")
        assert await is_noted(populated, "purge", 1, "jobs in queue mail")


async def test_tasks_schedules_and_limits_are_steered(populated: Populated) -> None:
    app = populated.app
    async with screen(populated.place, populated.settings, (100, 30)) as top:
        await top.go("t", "shop:add")
        await top.to_row("shop:add")
        await top.press("P")
        await top.shows("Pause task shop:add?", "Only where")
        await top.type("left == 1")
        await top.press("down")
        await top.type("odd")
        await top.press("enter")
        await top.shows("some calls paused")
        assert [(each.task, each.where, each.why) for each in await app.pauses() if each.task] == [
            ("shop:add", "left == 1", "odd")
        ]

        await top.go("s", "every-hour")
        await top.to_row("every-hour")
        await top.press("P", "enter")
        await top.shows('Schedule "every-hour" is paused.', "‖ paused")
        await top.press("P", "y")
        await top.shows('Schedule "every-hour" goes on.')
        await top.press("N", "y")
        await top.shows("Sent as job")
        assert await is_noted(populated, "run_now", 1, "schedule every-hour")
        await top.press("D")
        await top.shows("Remove schedule every-hour?", "Type every-hour to confirm")
        await top.type("every-hour")
        await top.press("enter")
        await top.shows('Schedule "every-hour" is removed.')
        assert [each.name async for each in app.schedules.list()] == ["shop:report"]

        await top.go("l", "stripe")
        await top.press("S")
        await top.shows("Set limit stripe?", "Numbers")
        await top.type("max_running=x")
        await top.press("enter")
        await top.shows("give a whole number")
        await top.press("S")
        await top.type("max_running=7")
        await top.press("enter")
        await top.shows("allows from now on: 7", "± by hand")
        await top.press("R", "y")
        await top.shows("allows from now on: 1 at once for each key")
        assert await is_noted(populated, "reset_limit", 1, "limit stripe")


async def test_dead_letters_are_replayed_and_deleted(populated: Populated) -> None:
    app, id = populated.app, populated.ids["shop:fail"]
    async with screen(populated.place, populated.settings, (120, 40)) as top:
        await top.go("d", id)
        await top.to_row(id)
        await top.press("R", "y")
        await top.shows("Replayed: 1 dead letter.")
        assert await is_noted(populated, "replay", 1, f"dead letter {id}")
        # It fails again.
        await top.shows("Dead letters (1)", id, timeout=60)
        await top.to_row(id)
        await top.press("D")
        await top.shows(f"Delete dead letter {id}?", "Type delete to confirm")
        await top.type("delete")
        await top.press("enter")
        await top.shows("Deleted: 1 dead letter.", "No job was given up.")
        assert await is_noted(populated, "discard", 1, f"dead letter {id}")
    async with app.inspector() as inspector:
        assert await inspector.dead_letter(id) is None


async def test_a_graph_is_cancelled(populated: Populated) -> None:
    async with screen(populated.place, populated.settings, (120, 40)) as top:
        await top.go("g", populated.ids["graph"])
        await top.press("C")
        await top.shows(f"Cancel graph {populated.ids['graph']}?", "Every job of this graph that has not ended")
        await top.press("y")
        await becomes(populated.app, populated.ids["graph"], "CANCELLED")


async def test_read_only_changes_nothing(populated: Populated) -> None:
    choices = Choices(frozenset(), result_db=populated.settings.result_db)
    before = await read_audit(populated.place, 100)
    async with screen(populated.place, choices, (120, 40)) as top:
        await top.go("j", "read only", populated.ids["pending"])
        await top.to_row(populated.ids["pending"])
        for key in ("C", "S"):
            await top.press(key)
            await top.shows("this top only looks")
        assert "cancel" not in top.lines[-1]
        await top.go("q", "mail")
        await top.press("P")
        await top.shows("this top only looks")
    assert await status(populated.app, populated.ids["pending"]) == "PENDING"
    assert await read_audit(populated.place, 100) == before


@pytest.mark.parametrize("verb", [Verb.CANCEL, Verb.RESEND])
async def test_a_verb_that_is_not_allowed_is_refused_with_a_line(populated: Populated, verb: Verb) -> None:
    id, key = populated.ids["pending"], {Verb.CANCEL: "C", Verb.RESEND: "S"}[verb]
    choices = Choices(ACTS - {verb}, result_db=populated.settings.result_db)
    async with screen(populated.place, choices, (120, 40)) as top:
        await top.go("j", id)
        await top.to_row(id)
        assert f" {key} " not in top.lines[-1]
        await top.press(key, "y")
        await top.shows("Nothing was done", f"may not {verb}")
    assert await status(populated.app, id) == "PENDING"
    assert await is_noted(populated, verb, 0, f"job {id}", "refused")


async def test_a_key_that_does_nothing_says_so(populated: Populated) -> None:
    async with screen(populated.place, populated.settings) as top:
        await top.go("a", "pause")
        for key, words in (("C", "C does nothing here"), ("x", "Jobs and dead letters"), ("f", "Filter audit")):
            await top.press(key)
            await top.shows(words)
        await top.press("escape")
        await top.go("w", "Workers")
        await _says(top, "f", "This page has no filter.")
        await _says(top, "*", "selects all that match in the lists")


async def _says(top: Screen, key: str, words: str) -> None:
    await top.press(key)
    await top.shows(words)
