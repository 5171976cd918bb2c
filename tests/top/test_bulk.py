"""Actions on all that a filter finds, by text, error and key too, and on rows that are selected."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from aiotask import App, Status
from aiotask.inspector import JobFilter, JobInfo

from ..cli.shop import Shop, give_up
from ..helpers import wait_until_async
from ..server import PrivateServer
from ..web.site import Populated, deploy
from .screen import Screen, screen
from .test_acts import is_noted, status


async def found(app: App, wanted: JobFilter) -> list[JobInfo]:
    async with app.inspector() as inspector:
        return (await inspector.page(wanted, "", 500)).jobs


async def filter_by(top: Screen, *values: str) -> None:
    """Fill in a filter, blank by blank; an empty text leaves one as it is."""
    await top.press("f")
    await top.shows("Filter")
    for number, value in enumerate(values):
        if number:
            await top.press("down")
        await top.type(value)
    await top.press("enter")


async def send_mail(app: App, *names: str, delay: float = 0.0) -> list[str]:
    mail = app.named("shop:mail", queue="mail").options(delay=delay)
    sent = [mail.apply_async(name, number) for number, name in enumerate(names)]
    for each in sent:
        await each.sent()
    return [each.id for each in sent]


async def test_all_with_a_text_are_cancelled_and_no_other(populated: Populated) -> None:
    app = populated.app
    ours = await send_mail(app, *["acme"] * 60)
    others = await send_mail(app, *["nobody"] * 3)
    async with screen(populated.place, populated.settings, (100, 30)) as top:
        await top.go("j", "Jobs")
        await filter_by(top, "", "shop:mail", "", "", "", "", "acme")
        await top.shows("Only: task shop:mail, q acme")
        await top.press("*")
        await top.shows("All unfinished jobs that match are selected", "C cancel", "M move", "* none")
        await top.press("C")
        await top.shows("Cancel jobs of task shop:mail, containing acme?", "60 match now.")
        await top.press("y")
        await top.shows("■ done", "60 of 60")
        assert {await status(app, id) for id in ours} == {"CANCELLED"}
        assert {await status(app, id) for id in others} == {"PENDING"}
        assert await is_noted(populated, "cancel", 60, "jobs of task shop:mail, containing acme")


async def test_all_with_a_text_are_moved_and_run_now(populated: Populated) -> None:
    app = populated.app
    await send_mail(app, "zenith", "zenith", "other", delay=600.0)
    async with screen(populated.place, populated.settings, (100, 30)) as top:
        await top.go("j", "Jobs")
        await filter_by(top, "", "", "", "", "", "", "zenith")
        await top.shows("Only: q zenith")
        await top.press("*", "M")
        await top.shows("Move all that match", "To queue")
        await top.type("late")
        await top.press("enter")
        await top.shows("Move jobs containing zenith to queue late?", "match now")
        await top.press("y")
        await top.shows("■ done")
        assert len(await found(app, JobFilter(Status.SCHEDULED, queue="late"))) == 2
        assert len(await found(app, JobFilter(Status.SCHEDULED, queue="mail", text="other"))) == 1
        await top.press("escape")
        await top.shows("Only: q zenith")
        await top.press("*", "N")
        await top.shows("Run now jobs containing zenith?", "2 match now.")
        await top.press("y")
        await top.shows("■ done", "2 of 2")
        assert len(await found(app, JobFilter(Status.PENDING, queue="late"))) == 2


async def test_a_key_acts_on_the_selected_rows_that_it_is_for(populated: Populated) -> None:
    app, ids = populated.app, populated.ids
    async with screen(populated.place, populated.settings, (120, 40)) as top:
        await top.go("j", ids["scheduled"])
        await top.to_row(ids["scheduled"])
        await top.press("x")
        # What is at the cursor is no scheduled job, and is not meant.
        await top.to_row(ids["running"])
        await top.press("N")
        await top.shows(f"Run now job {ids['scheduled']}?")
        await top.press("y")
        await top.shows("runs as soon as a worker takes it")

    async def is_due() -> bool:
        return await status(app, ids["scheduled"]) != "SCHEDULED"

    await wait_until_async(is_due, description="it is due")


async def test_jobs_are_filtered_by_their_key(populated: Populated) -> None:
    app = populated.app
    invoice = app.register_task(_invoice, name="shop:invoice", queue="mail", key="{order}")
    kept = invoice.apply_async("7")
    await kept.sent()
    await invoice.apply_async("8").sent()
    async with screen(populated.place, populated.settings, (120, 40)) as top:
        await top.go("j", "Jobs")
        await filter_by(top, "", "", "7")
        await top.shows("name the task, too")
        await filter_by(top, "", "shop:invoice")
        text = await top.shows("Only: key 7, task shop:invoice", "shop:invoice")
        assert [row.name for line in top.top.page.lines if (row := line.row) is not None] == [kept.id], text
        await top.press("*")
        await top.shows("x selects each of them")
        await filter_by(top, "", "", "", "", "1h")
        await top.shows("A key goes with the task alone")


def _invoice(order: str) -> None: ...


@pytest.fixture
async def shop(own_server: PrivateServer, app_name: str) -> AsyncIterator[Shop]:
    made = Shop(own_server.url, app_name)
    async with made.app:
        yield made


async def test_dead_letters_are_chosen_by_their_error(shop: Shop, own_server: PrivateServer) -> None:
    from aiotask.ops.audit import read_audit
    from aiotask.ops.connection import Place

    place = Place(shop.app.name, own_server.url)
    for number in range(3):
        await shop.render.apply_async(number).sent()
    lost = await give_up(shop, 3)
    async with screen(place, size=(100, 30)) as top:
        await top.go("d", *lost)
        await filter_by(top, "", "", "no such error")
        await top.shows("No dead letter matches.")
        await top.press("*")
        for key in ("S", "D"):
            await top.press(key)
            await top.shows("Nothing matches: dead letters whose error contains no such error.")
        await top.press("escape")
        await top.shows(*lost)
        await filter_by(top, "", "", "workerlost")
        await top.shows("Only: error workerlost")
        await top.press("*", "S")
        await top.shows("Send again dead letters whose error contains workerlost?", "3 match now.")
        await top.press("y")
        await top.shows("■ done", "3 of 3")
        assert len(await found(shop.app, JobFilter(Status.PENDING))) == 3
        await top.press("escape")
        await top.shows("Only: error workerlost")
        await top.press("*", "D")
        await top.shows("Delete dead letters whose error contains workerlost?", "3 match now.", "Type delete")
        await top.type("delete")
        await top.press("enter")
        await top.shows("■ done", "3 of 3")

    async def is_empty() -> bool:
        return not await found(shop.app, JobFilter(Status.FAILED))

    await wait_until_async(is_empty, description="the letters are gone")
    ended = [each for each in await read_audit(place, 10) if each["ended"] != "begun"]
    lines = [(each["verb"], each["number"], each["subject"]) for each in ended]
    assert lines[:2] == [
        ("discard", 3, "dead letters whose error contains workerlost"),
        ("resend", 3, "dead letters whose error contains workerlost"),
    ]


async def test_all_ended_jobs_that_match_are_sent_again(populated: Populated) -> None:
    async with screen(populated.place, populated.settings, (120, 40)) as top:
        await top.go("h", "shop:fail")
        await filter_by(top, "", "shop:fail")
        await top.shows("Only: task shop:fail")
        await top.press("*")
        text = await top.shows("All jobs that have ended that match are selected", "S send again", "* none")
        assert "C cancel" not in text and "M move" not in text
        await top.press("S")
        await top.shows("Send again jobs of the history of task shop:fail?", "1 match now.")
        await top.press("y")
        await top.shows("■ done", "1 of 1")
        await top.go("j", "Jobs")
        await filter_by(top, "", "shop:login", "", "", "1d")
        await top.shows("Only: ", "since 1d")
        await top.press("*", "S")
        await top.shows("Send again jobs of the history of task shop:login, since ", "1 match now.")
        await top.press("escape")
    assert await is_noted(populated, "resend", 1, "jobs of the history of task shop:fail")


async def test_a_task_is_compared_before_and_after_a_deploy(populated: Populated) -> None:
    await deploy(populated.app, "shop:add", "v<2>")
    async with screen(populated.place, populated.settings, (80, 60)) as top:
        await top.go("t", "shop:add")
        await top.to_row("shop:add")
        await top.press("enter")
        text = await top.shows("Before and after a deploy", "release v<2>", "since then")
        for word in ("before", "since then"):
            [line] = [line for line in text.split("\n") if line.strip().startswith(f"{word} ")]
            assert "0.52 s   0.54 s   0.55 s" in line and "0 %" in line, line


async def test_a_list_of_jobs_is_turned_round(populated: Populated) -> None:
    first, *_, last = await send_mail(populated.app, "one", "two", "three")
    async with screen(populated.place, populated.settings, (120, 40)) as top:
        await top.go("j", "Order: as they are claimed, then by due time", "o newest")
        await top.press("right")
        text = await top.shows("pending", "o newest", first, last)
        assert text.index(first) < text.index(last)
        await top.press("o")
        text = await top.shows("Order: newest first.", "o oldest", first, last)
        assert text.index(last) < text.index(first)
        await top.press("right", "o")
        await top.shows("Order: by due time", "This list has one order.")
