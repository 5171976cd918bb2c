"""A server that is gone is said, and what was known stays on the screen, greyed; it comes back by itself."""

from __future__ import annotations

from pathlib import Path

from aiotask import App
from aiotask.ops.connection import Place
from aiotask.ops.views.look import Choices

from ..server import PrivateServer
from .screen import screen


async def test_a_lost_server_is_said_and_comes_back(own_server: PrivateServer, app_name: str, tmp_path: Path) -> None:
    choices = Choices(result_db=str(tmp_path / "none.db"))
    async with App(app_name, url=own_server.url) as app:
        await app.named("shop:render", queue="tiles").apply_async(1).sent()
    async with screen(Place(app_name, own_server.url), choices) as top:
        await top.shows("tiles", "● live", "No worker is live")
        own_server.kill()
        await top.shows("no answer for", "The server cannot be reached", "This page comes back by itself.")
        # What was known is still there, and known to be old.
        assert "tiles" in top.text and top.top.view.is_old
        await top.press("g", "j")
        await top.shows("no answer for")
        own_server.start()
        async with App(app_name, url=own_server.url) as app:
            await app.named("shop:render", queue="tiles").apply_async(2).sent()
        await top.shows("● live", "Jobs", "shop:render", timeout=40)
        assert not top.top.view.is_old and "cannot be reached" not in top.text


async def test_no_app_is_said_until_there_is_one(own_server: PrivateServer, app_name: str, tmp_path: Path) -> None:
    choices = Choices(result_db=str(tmp_path / "none.db"))
    async with screen(Place(None, own_server.url), choices) as top:
        await top.shows("No app has used this server yet.")
        async with App(app_name, url=own_server.url) as app:
            await app.named("shop:render", queue="tiles").apply_async(1).sent()
        await top.shows(app_name, "tiles", timeout=40)


async def test_several_apps_are_shown_one_after_the_other(own_server: PrivateServer, tmp_path: Path) -> None:
    choices = Choices(result_db=str(tmp_path / "none.db"))
    for name in ("left", "right"):
        async with App(name, url=own_server.url) as app:
            await app.named("shop:render", queue=f"{name}-queue").apply_async(1).sent()
    async with screen(Place(None, own_server.url), choices) as top:
        await top.shows("left (1 of 2, tab)", "left-queue")
        await top.press("tab")
        await top.shows("right (2 of 2, tab)", "right-queue")
        assert "left-queue" not in top.text
