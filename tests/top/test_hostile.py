"""Text of others is shown as it is: nothing in it moves the cursor, colours a line, or makes a link."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from rich.text import Text

from aiotask import App
from aiotask.errors import AiotaskError
from aiotask.ops.actions import Actions
from aiotask.ops.connection import Place
from aiotask.ops.views.look import Choices
from aiotask.ops.visitors import ACTS, Visitor
from aiotask.parts.pausing import pause_named
from aiotask_cli.top.once import once
from aiotask_cli.top.page import cell, paragraph
from aiotask_cli.top.session import Session
from aiotask_cli.top.views import VIEWS

from ..helpers import wait_until_async
from ..hostile import ORDINARY, PAYLOADS, payloads, spoil
from ..server import PrivateServer
from .screen import Screen, screen

MARKUP = {
    "colour": "[red]red[/red]",
    "action": "[@click=app.quit()]quit[/]",
    "unclosed": "[bold",
    "closing": "[/]",
    "clipboard": "\x1b]52;c;aGk=\x07",
    "title": "\x1b]0;owned\x07",
    "cursor": "\x1b[2J\x1b[H",
    "hyperlink": "\x1b]8;;https://evil.example\x07here\x1b]8;;\x07",
}


@pytest.mark.parametrize("payload", payloads(*PAYLOADS, *MARKUP, ordinary=[*ORDINARY, "action", "cursor"]))
async def test_payloads_are_inert_in_every_view(
    own_server: PrivateServer, app_name: str, tmp_path: Path, payload: str
) -> None:
    text = {**PAYLOADS, **MARKUP}[payload]
    app = App(app_name, url=own_server.url)
    async with app:
        await app.s("shop:render").apply_async().sent()
    await spoil(app, text)
    place = Place(app_name, own_server.url)
    actions = Actions(place, Visitor(text[:60], ACTS, text[:60]))
    for pause in ({"queue": "tiles", "why": text[:900]}, {"task": text[:100], "queue": ""}):
        try:
            await actions.pause(pause_named(**pause))
        except AiotaskError:
            assert payload in ("control", "long", "header", "direction", "clipboard", "title", "cursor", "hyperlink")

    async with screen(place, Choices(result_db=str(tmp_path / "none.db")), interval=5.0) as top:
        for view in VIEWS.values():
            await top.go(view.key)
            await _arrived(top)
            _is_inert(top)
            rows = [line.row for line in top.top.page.lines if line.row is not None and line.row.to is not None]
            for to in list(dict.fromkeys(str(row.to) for row in rows))[:3]:
                top.top.go(next(row.to for row in rows if row.to is not None and str(row.to) == to))
                await _arrived(top)
                _is_inert(top)
        await top.go("j")
        await _arrived(top)
        await top.to_row(text[:150])
        await top.press("C")
        await top.shows("Cancel job", "y or enter: yes")
        _is_inert(top)
        await top.press("escape", "/")
        await top.shows("Find")
        assert top.top.is_running

    session = Session(place, Choices(result_db=str(tmp_path / "none.db")))
    shown = await asyncio.to_thread(once, session, 100)
    assert shown.replace("\n", "").isprintable() and all(len(line) <= 100 for line in shown.split("\n"))


async def _arrived(top: Screen) -> None:
    await wait_until_async(lambda: top.top._shown is top.top.where, description="the page has arrived")
    assert "ended with an error" not in top.text, top.text


def _is_inert(top: Screen) -> None:
    for strip in top.top.screen._compositor.render_strips():
        for segment in strip:
            assert segment.text.isprintable(), repr(segment.text)
            style = segment.style
            assert style is None or not style.link, f"a link: {segment}"
            assert style is None or "@click" not in style.meta, f"an action: {segment}"


@pytest.mark.parametrize("payload", MARKUP)
def test_markup_is_text(payload: str) -> None:
    text = MARKUP[payload]
    shown = [cell(text), *paragraph(text, 40)]
    assert all(isinstance(each, Text) and each.plain.isprintable() and not each.spans for each in shown)
    assert shown[0].plain.replace("\\x1b", "\x1b").replace("\\x07", "\x07") == text
