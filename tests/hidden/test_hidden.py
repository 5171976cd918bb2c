"""Arguments with the name of a secret are dots wherever they are shown, also where the app is not imported."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from aiotask import App, ResultDB
from aiotask.brokers import connect, hides_of
from aiotask.errors import ConfigError
from aiotask.ops.connection import Place
from aiotask.values.hidden import DOTS, HIDDEN, Hidden
from aiotask.worker.hiding import tell_hidden

from ..commands import run_command
from ..helpers import wait_until, wait_until_async
from ..server import PrivateServer
from ..web.site import site
from ..workers import ROOT, Workers

#: What is sent in places that are hidden.
SECRETS = ("hunter22", "tk-1", "tk-2", "DE7512", "DE99")


# ---- what is hidden


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"password": "x", "user": "ada"}, {"password": DOTS, "user": "ada"}),
        ({"a": [{"API_KEY": 1}, (2, {"accessToken": [3]})]}, {"a": [{"API_KEY": DOTS}, (2, {"accessToken": DOTS})]}),
        ({"password": None}, {"password": None}),
        ({7: {"secret": b""}}, {7: {"secret": DOTS}}),
        ("password", "password"),
        ([1, "x"], [1, "x"]),
    ],
)
def test_values_under_a_hidden_name_are_dots_wherever_they_stand(value: Any, shown: Any) -> None:
    assert Hidden().value(value) == shown


def test_what_hides_nothing_stays_the_same_object() -> None:
    value = {"a": [{"b": (1, 2)}]}
    assert Hidden().value(value) is value


def test_positional_arguments_are_hidden_by_the_names_of_their_parameters() -> None:
    app = App("hidden", hide=("iban",))

    @app.task(name="vault:pay")
    def pay(user: str, IBAN: str, /, amount: int, *tokens: str, pin_secret: str = "") -> None: ...

    found = app.hidden.call([["ada", "DE75", 7, "a", "b"], {"pin_secret": "c"}], "vault:pay")
    assert found == [["ada", DOTS, 7, DOTS, DOTS], {"pin_secret": DOTS}]
    assert app.hidden.call([["ada", "DE75"], {}], "vault:other") == [["ada", "DE75"], {}]


@pytest.mark.parametrize("hide", ["", " ", ("iban", ""), (7,)])
def test_an_app_refuses_what_is_no_part_of_a_name(hide: Any) -> None:
    with pytest.raises(ConfigError, match="parts of names of arguments"):
        App("hidden", hide=hide)


def test_the_environment_adds_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIOTASK_HIDE", " Passport, iban ,")
    assert App("hidden", hide="pin").hidden.words == (*HIDDEN, "pin", "passport", "iban")


# ---- where it is shown


@pytest.fixture
def told(own_server: PrivateServer, app_name: str, workers: Workers, tmp_path: Path) -> dict[str, str]:
    """Jobs of an app whose workers have run them and stopped: their ids by what they are."""
    env = {"AIOTASK_URL": own_server.url, "TEST_APP": app_name, "AIOTASK_RESULT_DB": str(tmp_path / "history.db")}
    supervisor = workers.start("tests.hidden.vault", env=env, app_dir=ROOT, options=("--log-args",))
    app, ids = App(app_name, url=own_server.url), {}
    sign_in = app.named("vault:sign_in")
    ended = sign_in.apply_async("ada", "hunter22", "tk-1", "tk-2", iban="DE7512")
    ended.get(timeout=60)
    failed = app.named("vault:fail").apply_async({"iban": "DE99"})
    with pytest.raises(ValueError, match="no"):
        failed.get(timeout=60)
    later = sign_in.options(delay=3600.0).apply_async("ada", "hunter22", "tk-1")
    old = app.named("vault:log_in", queue="other").apply_async("ada", "hunter22", iban="DE7512")
    ids |= {"ended": ended.id, "failed": failed.id, "later": later.id, "old": old.id}
    history = ("results", ended.id, "--db", env["AIOTASK_RESULT_DB"])
    wait_until(lambda: run_command(*history).returncode == 0, description="the job is in the history", timeout=60)
    assert supervisor.stop() == 0
    ids |= {"log": supervisor.log, "db": env["AIOTASK_RESULT_DB"]}
    return ids


def test_commands_and_logs_show_dots_without_the_code_of_the_app(
    own_server: PrivateServer, app_name: str, told: dict[str, str]
) -> None:
    assert "('ada', •••, •••, •••, iban=•••)" in told["log"]
    shown = {"log": told["log"]}
    where = ("--name", app_name, "--url", own_server.url)
    for arguments in (
        *(("job", told[each], *where, "--db", told["db"]) for each in ("ended", "failed", "later", "old")),
        ("jobs", *where),
        ("jobs", *where, "--status", "dead"),
        ("dead", "list", *where),
        ("dead", "show", told["failed"], *where),
        ("top", "--once", *where),
    ):
        for more in ((), ("--json",)) if arguments[0] != "top" else ((),):
            shown[" ".join((*arguments, *more))] = run_command(*arguments, *more).stdout
    for output in shown.values():
        assert not [secret for secret in SECRETS if secret in output], output
    job = json.loads(shown[" ".join(("job", told["later"], *where, "--db", told["db"], "--json"))])
    assert job["arguments"] == [["ada", DOTS, DOTS], {}]
    letter = json.loads(shown[" ".join(("dead", "show", told["failed"], *where, "--json"))])
    assert letter["arguments"] == [[{"iban": DOTS}], {}]


def test_the_history_file_alone_is_shown_with_dots(
    own_server: PrivateServer, told: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own_server.kill()
    one = json.loads(run_command("results", told["ended"], "--db", told["db"], "--json").stdout)
    assert one["arguments"] == [["ada", DOTS, DOTS, DOTS], {"iban": DOTS}]
    assert one["result"] == {"user": "ada", "session_secret": DOTS}
    for arguments in (("results",), ("results", "--json"), ("results", told["ended"]), ("results", told["failed"])):
        output = run_command(*arguments, "--db", told["db"]).stdout
        assert not [secret for secret in SECRETS if secret in output], output
    monkeypatch.setenv("AIOTASK_HIDE", "user")
    one = json.loads(run_command("results", told["ended"], "--db", told["db"], "--json").stdout)
    assert one["result"] == {"user": DOTS, "session_secret": DOTS}


async def test_the_dashboard_shows_dots(own_server: PrivateServer, app_name: str, told: dict[str, str]) -> None:
    from aiotask.contrib.web import Settings

    settings = Settings(result_db=told["db"], hide=("user",))
    async with site(Place(app_name, own_server.url), settings=settings) as client:
        for id in (told["ended"], told["failed"], told["later"], told["old"]):
            for path in (f"/jobs/{id}", f"/jobs/{id}/arguments.txt"):
                text = (await client.get(path)).text
                assert DOTS in text and not [secret for secret in SECRETS if secret in text], text
        whole = (await client.get(f"/jobs/{told['ended']}/arguments.txt")).text
        assert f'"user": "{DOTS}"' in whole, whole
        for path in ("/jobs", "/history", "/dead", f"/dead/{told['failed']}"):
            text = (await client.get(path)).text
            assert not [secret for secret in SECRETS if secret in text], text


# ---- what the broker keeps


async def _kept(app: App) -> dict[str, bytes]:
    broker = connect(app.url, app.name)
    try:
        return await hides_of(broker).hidden()
    finally:
        await broker.close()


@pytest.mark.parametrize("kind", ["redis", "memory"])
async def test_a_worker_in_a_loop_adds_what_its_app_hides(own_server: PrivateServer, app_name: str, kind: str) -> None:
    url = own_server.url if kind == "redis" else f"memory://{app_name}"
    for word in ("iban", "passport"):
        app = App(app_name, url=url, hide=word)
        app.register_task(len, name="vault:len")
        async with app, app.worker():
            await wait_until_async(lambda app=app: _kept(app), description="the broker is told")
            await wait_until_async(
                lambda app=app, word=word: _tells(app, word), description="the broker knows the new name"
            )
    tells = [await _tells(app, word) for word in ("iban", "passport")]
    assert tells == [True, True]


async def _tells(app: App, word: str) -> bool:
    return any(word.encode() in packed for packed in (await _kept(app)).values())


async def test_workers_take_back_what_their_code_hides_no_more(own_server: PrivateServer, app_name: str) -> None:
    app = App(app_name, url=own_server.url)
    broker = connect(app.url, app.name)
    try:
        for by, hidden in (("shop", Hidden().with_words(["iban"])), ("mail", Hidden().with_words(["pin"]))):
            telling = asyncio.ensure_future(tell_hidden(hides_of(broker), by, hidden, replaces=True))
            await wait_until_async(lambda by=by: _has(app, by), description="the broker is told")
            telling.cancel()
        await tell_hidden(hides_of(broker), "shop", Hidden(), replaces=True)
        assert set(await _kept(app)) == {"mail"}
    finally:
        await broker.close()


async def _has(app: App, by: str) -> bool:
    return by in await _kept(app)


async def test_a_worker_in_a_loop_keeps_in_its_file_what_is_hidden(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    app = App("kept", url="memory://", hide=("iban",))

    @app.task
    async def pay(iban: str) -> None: ...

    async with app, app.worker(result_db=path):
        job = pay.apply_async("DE7512")
        await job
    # What another release writes is no reason to show less than all else, or nothing.
    connection = sqlite3.connect(path)
    connection.execute("INSERT INTO hidden VALUES ('later', '{\"words\": 7}')")
    connection.commit()
    connection.close()
    async with ResultDB(path) as db:
        assert await db.exists(job.id)
        hidden = await db.hidden()
    assert hidden.call([["DE7512"], {}], pay.name) == [[DOTS], {}]
