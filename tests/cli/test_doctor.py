"""aiotask doctor: what it finds, and the fix that it names."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiotask.ops import durability as durability_of_the_cli
from aiotask.ops import views
from aiotask.ops.actions import Actions
from aiotask.ops.checks import State, check_all
from aiotask.ops.connection import Place
from aiotask.ops.connections import Connections
from aiotask.ops.views.look import Choices, Look
from aiotask.ops.visitors import ACTS, Visitor
from aiotask.parts.pausing import pause_named

from ..commands import run_command
from ..server import PrivateServer
from .command import invoke
from .shop import Shop, give_up


async def test_doctor_points_at_dead_letters(own_server: PrivateServer, shop: Shop) -> None:
    await give_up(shop, 1)

    report = json.loads(run_command("doctor", "--url", own_server.url, "--json").stdout)

    (found,) = [check for check in report["checks"] if check["name"] == f"{shop.app.name}: dead letters"]
    assert found["state"] == "warn"
    assert "aiotask dead list" in found["fix"]


def checks(*arguments: str, env: Mapping[str, str] | None = None) -> tuple[int, dict[str, dict[str, str]]]:
    said = invoke("doctor", "--json", *arguments, env=env)
    report = json.loads(said.output)
    assert report["ok"] == (said.exit_code == 0)
    return said.exit_code, {check["name"]: check for check in report["checks"]}


def test_doctor_of_a_server_in_memory_warns_and_is_ready(own_server: PrivateServer, shop: Shop) -> None:
    code, found = checks("--url", own_server.url)

    assert code == 0
    assert found["server"]["state"] == "ok"
    assert found["version"]["state"] == "ok"
    assert found["eviction"]["state"] == "ok"
    assert found["clock"]["state"] == "ok"
    assert found["durability"]["state"] == "warn"
    assert "appendonly" in found["durability"]["fix"]
    assert found[f"{shop.app.name}: workers"]["state"] == "warn"


def test_doctor_names_the_row_of_the_durability_table_that_the_server_is_in(own_server: PrivateServer) -> None:
    own_server.call("ACL", "SETUSER", "limited", "on", ">word", "~*", "&*", "+@all", "-config")
    limited = own_server.url.replace("unix://", "unix://limited:word@")

    def found(url: str, *setting: str) -> tuple[str, str]:
        for name, value in zip(setting[::2], setting[1::2], strict=True):
            own_server.call("CONFIG", "SET", name, value)
        durability = checks("--url", url)[1]["durability"]
        assert bool(durability.get("fix")) == (durability["state"] == "warn")
        name, _, detail = durability["detail"].partition(": ")
        assert name in durability_of_the_cli.ROWS and detail
        return name, detail

    assert found(own_server.url)[0] == "memory"
    assert found(limited)[0] == "no appendonly"
    name, detail = found(own_server.url, "save", "3600 1")
    assert name == "snapshots" and "everything since the last snapshot is lost" in detail
    for fsync in ("always", "everysec", "no"):
        assert found(own_server.url, "appendonly", "yes", "appendfsync", fsync)[0] == f"appendonly {fsync}"
    name, detail = found(limited)
    assert name == "appendonly" and "unknown" in detail
    memory = checks("--url", own_server.url)[1]["memory"]
    assert memory["state"] == "ok" and "outcomes kept until their TTL: 0" in memory["detail"]


def test_doctor_fails_a_server_that_would_evict_jobs(own_server: PrivateServer) -> None:
    own_server.call("CONFIG", "SET", "maxmemory", "100mb")
    own_server.call("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")

    code, found = checks("--url", own_server.url)

    assert code == 1
    assert found["eviction"]["state"] == "fail"
    assert "noeviction" in found["eviction"]["fix"]


def test_doctor_fails_without_a_server_and_says_how_to_get_one() -> None:
    code, found = checks()

    assert code == 1
    assert "aiotask server start" in found["settings"]["detail"]


def test_doctor_fails_when_the_server_does_not_answer(own_server: PrivateServer) -> None:
    own_server.stop()

    code, found = checks("--url", own_server.url)

    assert code == 1
    assert found["server"]["state"] == "fail"
    # The error of every other command sends its reader to this one.
    assert "aiotask doctor" not in found["server"]["detail"]
    assert found["server"]["fix"] == "Is it running, and is --url (AIOTASK_URL) right?"


def test_doctor_of_a_server_that_refuses_the_password_does_not_ask_whether_it_runs(own_server: PrivateServer) -> None:
    superfluous = own_server.url.replace("unix://", "unix://:word@")
    _, found = checks("--url", superfluous)
    assert "it has none). Leave it out of the URL" in found["server"]["detail"]

    own_server.call("CONFIG", "SET", "requirepass", "hunter2")
    code, found = checks("--url", own_server.url)

    assert code == 1
    assert "rejected the user or password" in found["server"]["detail"]
    assert not found["server"]["fix"]


def test_doctor_of_a_server_that_loads_its_data_says_to_wait(own_server: PrivateServer) -> None:
    own_server.call("CONFIG", "SET", "rdbcompression", "no")
    own_server.call("EVAL", "for i = 1, 3000 do redis.call('SET', i, string.rep('x', 2000)) end", 0)
    own_server.call("SAVE")
    own_server.kill()
    # It takes a minute, and a look at its connections after each key.
    own_server.options = ("--key-load-delay", "20000", "--loading-process-events-interval-bytes", "1024")
    own_server.start(loading=True)

    code, found = checks("--url", own_server.url)

    assert code == 1
    assert "is not ready" in found["server"]["detail"]
    assert found["server"]["fix"] == "Wait until it is, or look into its log."


def test_doctor_knows_nothing_of_workers_where_the_url_is_none(tmp_path: Path) -> None:
    checked = asyncio.run(check_all(Place(url="http://127.0.0.1"), None, lambda: ["4711"]))
    assert [check.name for check in checked if check.state is not State.OK] == ["settings"]

    checked = asyncio.run(check_all(Place(), None, lambda: ["4711"]))
    assert "pid 4711" in {check.name: check.detail for check in checked}["workers"]


def test_doctor_wants_a_secret_for_a_server_on_the_network() -> None:
    code, found = checks("--url", "redis://192.0.2.1:6379", "--name", "shop")

    assert code == 1
    assert "AIOTASK_SECRET" in found["settings"]["detail"]


def test_doctor_finds_a_state_directory_that_others_can_read(own_server: PrivateServer, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o755)

    code, found = checks("--url", own_server.url)

    assert code == 1
    assert found["state directory"]["fix"] == f"chmod 700 {home}"
    home.chmod(0o700)
    assert checks("--url", own_server.url)[0] == 0


def test_doctor_reads_the_history(own_server: PrivateServer, tmp_path: Path) -> None:
    missing, broken = tmp_path / "missing.db", tmp_path / "broken.db"
    broken.write_bytes(b"this is no database" * 100)

    assert checks("--url", own_server.url, "--result-db", str(missing))[1]["result db"]["state"] == "warn"
    code, found = checks("--url", own_server.url, "--result-db", str(broken))

    assert code == 1
    assert found["result db"]["state"] == "fail"


def test_doctor_for_people_shows_the_fix_below(own_server: PrivateServer) -> None:
    said = invoke("doctor", "--url", own_server.url)

    assert said.exit_code == 0
    assert "CONFIG SET appendonly yes" in said.output
    assert "0 failed" in said.output


async def test_doctor_says_what_the_overview_says(own_server: PrivateServer, shop: Shop) -> None:
    await give_up(shop, 2)
    place = Place(shop.app.name, own_server.url)
    shop.app.named("shop:sell", queue="unread").apply_async(1)
    await shop.app.flush()
    await Actions(place, Visitor("ada", ACTS)).pause(pause_named(queue="mail", why="it moves"))

    def read() -> tuple[list[dict[str, str]], dict[str, Any]]:
        report = json.loads(run_command("doctor", "--url", own_server.url, "--json").stdout)
        connections = Connections(place)

        async def overview() -> dict[str, Any]:
            try:
                connection = await connections.named("")
                connections.forget(connection)  # what the server has counted is 2 s old at most, else
                look = Look(connections, connection, Visitor("ada", ACTS), Choices())
                return await views.overview(look)
            finally:
                await connections.close()

        return report["checks"], asyncio.run(overview())

    checked, overview = await asyncio.to_thread(read)
    said = [each for each in overview["attention"] if each.kind != "server"]
    assert [each for each in said if each.verb] and {each.kind for each in said} >= {"queue", "dead"}
    # Ages go on between the two.
    pattern = [re.sub(r"\d+(\.\d+)? (ms|s|min)", "T", f"{each.what} {each.rest}|{each.fix}") for each in said]
    found = [re.sub(r"\d+(\.\d+)? (ms|s|min)", "T", f"{each['detail']}|{each['fix']}") for each in checked]
    assert [each for each in pattern if each not in found] == []
