"""aiotask limits: limits are listed, shown with who waits and why, and given other numbers."""

from __future__ import annotations

import importlib
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from aiotask import App

from ..commands import run_command
from ..helpers import wait_until
from ..workers import Workers

SHOP = """
import asyncio
import os
from pathlib import Path

from aiotask import App, Limit

app = App(os.environ["TEST_APP"])
FOLDER = Path(os.environ["TEST_FOLDER"])


@app.task(limit=Limit("mail", by="tenant", max_running=1))
async def send(tenant: str) -> str:
    while not (FOLDER / "gate").exists():
        await asyncio.sleep(0.05)
    return tenant


@app.task(rate="1/h")
async def hourly() -> None: ...


@app.task(limit=Limit(by="tenant", max_running_each=1))
async def render(tenant: str) -> str:
    return await send(tenant)
"""


@pytest.fixture
def shop(app_name: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> App:
    monkeypatch.setenv("AIOTASK_URL", redis_url)
    monkeypatch.setenv("AIOTASK_NAME", app_name)
    monkeypatch.setenv("TEST_APP", app_name)
    monkeypatch.setenv("TEST_FOLDER", str(tmp_path))
    (tmp_path / "shop_of_limits.py").write_text(SHOP)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "shop_of_limits", raising=False)
    app: App = importlib.import_module("shop_of_limits").app
    return app


def said(*arguments: str, code: int = 0) -> str:
    """What the command prints, all of it."""
    done = run_command(*arguments)
    assert done.returncode == code, f"{arguments} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def asked(*arguments: str) -> Any:
    return json.loads(run_command(*arguments, "--json").stdout)


def test_limits_are_listed_shown_and_set(shop: App, workers: Workers, app_name: str, tmp_path: Path) -> None:
    workers.start("shop_of_limits", app_dir=tmp_path, env={"TEST_APP": app_name, "TEST_FOLDER": str(tmp_path)})
    sent = [shop.s("shop_of_limits:send", tenant).apply_async() for tenant in ("acme", "acme", "bolt")]
    for result in sent:
        result.blocking.sent()
    wait_until(lambda: asked("limits", "show", "mail")["jobs"] == [sent[0].id], description="one runs")

    shown = asked("limits", "show", "mail")
    mail, own, _ = sorted(asked("limits"), key=lambda limit: limit["task"])
    assert (mail["name"], mail["allows"], mail["running"], mail["declared"]) == ("mail", "1 at once", 1, None)
    assert (mail["waiting"], own["waiting"], shown["waiting"]) == (2, 0, 2)
    assert (own["task"], own["allows"]) == ("shop_of_limits:hourly", "1/h, burst 1")
    assert shown["keys"] == [
        {"key": "acme", "running": 1, "waiting": 1},
        {"key": "bolt", "running": 0, "waiting": 1},
    ]
    assert shown["why"] == "It is full: 1 of 1 run."
    hourly_shown = asked("limits", "show", "shop_of_limits:hourly")
    assert (hourly_shown["name"], hourly_shown["oldest"]) == (own["name"], None) and 0 < shown["oldest"] < 120
    mail_said = said("limits", "show", "mail")
    assert all(text in mail_said for text in ("mail of app", "It is full", "acme", "bolt", sent[0].id)), mail_said
    listed = said("limits")
    assert "shop_of_limits:hourly" in listed
    assert re.search(r"running +waiting", listed) and re.search(r"mail +1 +2 ", listed), listed
    assert re.search(r"^waiting +2, the oldest for \S+", mail_said, re.MULTILINE)
    assert [limit["task"] or limit["name"] for limit in asked("limits")] == [
        "mail",
        "shop_of_limits:hourly",
        "shop_of_limits:render",
    ]
    assert asked("limits", "show", "shop_of_limits:send")["name"] == "mail"
    assert 'Did you mean "shop_of_limits:hourly"?' in said("limits", "show", "hourl", code=1)

    waiting = asked("jobs", sent[1].id)
    assert (waiting["status"], waiting["limit"], waiting["ahead"]) == ("PENDING", '"mail", key "acme"', 0)
    assert "0 jobs of its limit and key" in said("jobs", sent[1].id)
    assert asked("job", sent[1].id)["why"] == "its limit is full: 1 of 1 run"

    assert "mail allows from now on: 2 at once." in said("limits", "set", "mail", "max_running=2")
    wait_until(lambda: len(asked("limits", "show", "mail")["jobs"]) == 2, description="two run")
    assert asked("limits", "show", "mail")["declared"] == "1 at once"
    reset = asked("limits", "reset", "mail")
    assert (reset["allows"], reset["done"]) == ("1 at once", True)
    again = said("limits", "reset", "mail", code=1)
    assert "Nothing was reset: mail has the numbers that its tasks give: 1 at once." in again
    assert asked("limits", "reset", "mail")["done"] is False
    for number in ("max_running_each=2", "rate_each=1/s", "burst_each=3"):
        refused = said("limits", "set", "shop_of_limits:hourly", number, code=2)
        assert "have none, since it has no by=" in refused and 'by="tenant"' in refused
    assert asked("limits", "show", "shop_of_limits:hourly")["declared"] is None
    (tmp_path / "gate").touch()
    assert [result.get(timeout=30) for result in sent] == ["acme", "acme", "bolt"]
    assert asked("limits", "show", "mail")["why"] == ""


def test_what_a_rate_or_a_key_holds_back_says_so(shop: App, workers: Workers, app_name: str, tmp_path: Path) -> None:
    workers.start("shop_of_limits", app_dir=tmp_path, env={"TEST_APP": app_name, "TEST_FOLDER": str(tmp_path)})
    first, second = (shop.s("shop_of_limits:hourly").apply_async() for _ in range(2))
    first.get(timeout=30)
    wait_until(lambda: "next start in 59 min" in asked("job", second.id).get("why", ""), description="the rate is told")
    assert "next start in 59 min" in asked("limits", "show", "shop_of_limits:hourly")["why"]

    pages = [shop.s("shop_of_limits:render", "acme").apply_async() for _ in range(2)]
    wait_until(lambda: asked("jobs", pages[0].id)["status"] == "RUNNING", description="one of the key runs")
    told = "1 of its key run, as many as its limit allows"
    wait_until(lambda: asked("job", pages[1].id)["why"] == told, description="the full key is told")
    (tmp_path / "gate").touch()
    assert [page.get(timeout=30) for page in pages] == ["acme"] * 2


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("show", "mial"), 1, 'No limit "mial" is known'),
        (("set", "mail"), 2, "NUMBER=VALUE"),
        (("set", "mail", "max_runing=2"), 2, 'Did you mean "max_running"?'),
        (("set", "mail", "rate=often"), 2, "is not a rate"),
        (("set", "mail", "rate"), 2, '"rate" lacks its value. Write rate=10/s'),
        (("set", "mail", "max_running=-1"), 2, "give a whole number"),
        (("set", "mail", "max_running=2"), 1, 'No limit "mail" is known'),
    ],
)
def test_what_cannot_be_done_says_why(shop: App, arguments: tuple[str, ...], code: int, text: str) -> None:
    shop.s("shop_of_limits:plain").apply_async().blocking.sent()
    assert text in said("limits", *arguments, code=code)


def test_a_server_without_limits_says_how_one_is_made(shop: App) -> None:
    assert "@app.task(max_running=1)" in said("limits")
