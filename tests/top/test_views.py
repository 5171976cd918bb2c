"""Each view shows what is there, at 80 x 24 and wider, and one leads to the next."""

from __future__ import annotations

import pytest

from aiotask.ops.views.look import Choices
from aiotask_cli.top.views import VIEWS

from ..helpers import wait_until_async
from ..server import PrivateServer
from ..web.site import Populated
from ..workers import ROOT, Workers
from .screen import Screen, screen

#: What stands on each view, besides its title.
_SHOWN = {
    "overview": ["Queue mail has been paused for", "Ended", "Pending", "Workers", "mail", "‖ paused"],
    "jobs": ["shop:hold", "▸ RUNNING", "scheduled 1", "waiting 1", "shop:mail"],
    "running": ["Running (1)", "shop:hold", "no limit"],
    "queues": ["sums", "▸ consuming", "mail", "‖ paused", "oldest waits"],
    "dead": ["Dead letters (1)", "ValueError", "shop:fail", "no leek for ada"],
    "tasks": ["Tasks (5)", "shop:login", "▸ runs"],
    "workers": ["Workers (1)", "heard of"],
    "schedules": ["every-hour", "every 1 h", "shop:report", "0 3 * * *"],
    "limits": ["stripe", "1 at once for each key", "running  waiting"],
    "graphs": ["shop:add", "▸ runs", "0 of 2"],
    "history": ["shop:add", "■ SUCCESS", "× FAILED", "shop:fail", "From the history file"],  # noqa: RUF001
    "audit": ["ada", "pause", "■ done", 'queue "mail"', "10.0.0.7"],
}


async def test_each_view_shows_what_is_there(populated: Populated) -> None:
    async with screen(populated.place, populated.settings, (160, 60)) as top:
        await top.shows("Overview")
        for name, words in _SHOWN.items():
            text = await top.go(name[0], name.capitalize()[:4], *words)
            assert "ended with an error" not in text
    assert set(_SHOWN) == set(VIEWS)


async def test_a_small_terminal_cuts_no_word_of_the_program(populated: Populated) -> None:
    async with screen(populated.place, populated.settings, (80, 24)) as top:
        for name, view in VIEWS.items():
            text = await top.go(name[0], view.word.capitalize()[:4])
            lines = text.split("\n")
            assert len(lines) == 24 and all(len(line) <= 80 for line in lines)
            assert "● live, every 0.5 s" in lines[0] and lines[-1].endswith(" q quit")
            # Names are short here, and longer texts of others are alone what is cut.
            cut = [line for line in lines if "…" in line.replace("… WAITING", "")]
            assert name in ("dead", "audit") or not cut, text
        await top.press("?")
        text = await top.shows("next and previous row")
        # A text that goes on does so below itself, and not below the keys.
        lines = text.split("\n")
        (first,) = [line for line in lines if " P  " in line]
        assert lines[lines.index(first) + 1].index("resume a host") == first.index("pause or resume a queue")


async def test_rows_lead_to_their_pages(populated: Populated) -> None:
    ids = populated.ids
    async with screen(populated.place, populated.settings, (120, 50)) as top:
        for letter, row, words in (
            ("j", ids["running"], [f"Job {ids['running']}", "▸ RUNNING", "'acme'", "shop:hold", "stripe"]),
            ("j", ids["scheduled"], ["◷ SCHEDULED", "It has not started: it is not due yet", "until due"]),
            ("d", ids["shop:fail"], ["Dead letter", "until it ran", "no leek for ada", "Traceback", "Attempts"]),
            ("h", ids["shop:add"], ["■ SUCCESS", "Arguments", "Result", "waited", "until it ran"]),
            ("h", ids["login"], ["password=•••", "'ada'"]),
            ("q", "mail", ["Queue mail", "Next", "by ada", "it moves", "100 %  shop:mail"]),
            ("t", "shop:add", ["Task shop:add", "▸ runs", "Ended last", "Not finished"]),
            ("s", "every-hour", ["Schedule every-hour", "Next runs", "calls", "every", "1 h"]),
            ("l", "stripe", ["Limit stripe", "allows", "waiting", "By key", "acme", "Who is in"]),
            ("g", ids["graph"], ["Graph", "… WAITING", "shop:later", "2 not ended"]),
        ):
            await top.go(letter)
            await top.to_row(row)
            await top.press("enter")
            text = await top.shows(*words)
            assert "hunter22" not in text and "ended with an error" not in text
            await top.press("escape")
        await top.go("a", "pause")
        await top.press("enter")
        await top.shows("on what", 'queue "mail"')


async def test_arguments_are_hidden_where_that_is_asked_for(populated: Populated) -> None:
    choices = Choices(hide_arguments=True, result_db=populated.settings.result_db)
    async with screen(populated.place, choices) as top:
        await top.press("/")
        await top.type(populated.ids["running"])
        await top.press("enter")
        text = await top.shows("Arguments and results are not shown here.")
        assert "'acme'" not in text


async def test_find_leads_to_a_job_a_task_a_queue_or_a_search(populated: Populated) -> None:
    async with screen(populated.place, populated.settings) as top:
        for text, words in (
            (populated.ids["running"], "▸ RUNNING"),
            ("login", "Task shop:login"),
            ("mail", "Queue mail"),
            ("no leek", "Only: q no leek"),
        ):
            await top.press("/")
            await top.shows("Find")
            await top.type(text)
            await top.press("enter")
            await top.shows(words)


async def test_lists_are_filtered_and_leafed_through(populated: Populated) -> None:
    app = populated.app
    mail = app.named("shop:mail", queue="mail")
    sent = [mail.apply_async(number, 1) for number in range(120)]
    for each in sent:
        await each.sent()
    async with screen(populated.place, populated.settings, (120, 70)) as top:
        await top.go("j", "pending 122")
        await top.press("f")
        await top.shows("Filter jobs")
        await top.type("mail")
        await top.press("enter")
        await top.shows("Only: queue mail")
        seen: set[str] = set()
        for _ in range(3):
            seen |= {line.row.name for line in top.top.page.lines if line.row is not None}
            await top.press(">")
            await wait_until_async(lambda: top.top.row is not None, description="the page has arrived")
        assert {each.id for each in sent} <= seen
        await top.press(">")
        await top.shows("This is the last page.")
        await top.press("<", "<")
        await top.shows("Only: queue mail")
        await top.press("right", "right")
        await top.shows("No job matches.")
        assert top.top.where.given == {"queue": "mail", "status": "scheduled"}
        await top.press("f", "x", "enter")
        await top.shows("Only: queue mailx")


async def test_the_last_line_says_what_keys_do_here(populated: Populated) -> None:
    async with screen(populated.place, populated.settings, (120, 40)) as top:
        await top.go("j")
        for row, keys, other in (
            ("running", ["C cancel", "T stack"], "N run now"),
            ("scheduled", ["C cancel", "N run now", "S send again"], "T stack"),
        ):
            await top.to_row(populated.ids[row])
            line = top.lines[-1]
            assert all(key in line for key in keys) and other not in line, line
        await top.press("?")
        await top.shows("Keys", "select all that match")
        await top.press("escape")
        await top.press("p")
        await top.shows("held, p goes on")


async def test_what_runs_in_worker_processes_is_seen(
    own_server: PrivateServer, app_name: str, workers: Workers
) -> None:
    from aiotask import App
    from aiotask.ops.connection import Place

    env = {"AIOTASK_URL": own_server.url, "TEST_APP": app_name}
    supervisor = workers.start("tests.top.shop", concurrency=1, env=env, app_dir=ROOT)
    app = App(app_name, url=own_server.url)
    wait = app.named("shop:wait")
    async with app, screen(Place(app_name, own_server.url), size=(120, 50)) as top:
        job = wait.apply_async(60.0)
        await top.go("r", "shop:wait", "▸ runs", "no limit")
        await top.to_row(job.id)
        await top.press("T", "y")
        await top.shows("Stacks", "in wait", job.id)
        await top.go("w", "1 of 1", "worker", "running")
        await top.press("P")
        await top.shows("for those who find it drained")
        await top.type("a new kernel")
        await top.press("enter")
        await top.shows("Drained: host", "‖ drained", "P resume")
        await top.press("P", "y")
        await top.shows("Resumed: host", "P drain")
        await top.press("enter")
        await top.shows("Host", "Worker processes", "shop:wait", "broker answers in")
        await top.go("r", job.id)
        await top.press("C", "y")
        await top.shows(f"Job {job.id}")
        await wait_until_async(lambda: _is(job, "CANCELLED"), description="it is cancelled")
        await top.shows("No job runs now.")
    assert supervisor.exit_code is None


async def _is(job: object, status: str) -> bool:
    return str(await job.status()) == status  # type: ignore[attr-defined]


@pytest.mark.parametrize("size", [(40, 12), (200, 60)])
async def test_terminals_of_any_size_show_it(populated: Populated, size: tuple[int, int]) -> None:
    async with screen(populated.place, populated.settings, size) as top:
        for name in VIEWS:
            await top.go(name[0])
            await _settled(top)
            assert len(top.lines) == size[1] and all(len(line) <= size[0] for line in top.lines)
            assert "error" not in top.top.page.title


async def _settled(top: Screen) -> None:
    await wait_until_async(lambda: top.top.page.lines, description="the page is there")
