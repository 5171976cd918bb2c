"""aiotask dead: dead letters are listed, shown, replayed and deleted."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from typing import Any

import pytest

from aiotask import App, Status

from ..commands import run_command
from ..server import PrivateServer
from .command import invoke
from .shop import Shop, give_up


async def test_dead_letters_are_listed_with_their_error(own_server: PrivateServer, shop: Shop) -> None:
    dead = await give_up(shop, 2)

    def listed(*arguments: str) -> list[dict[str, Any]]:
        output = run_command("jobs", "--url", own_server.url, "--json", "--status", "dead", *arguments).stdout
        found: list[dict[str, Any]] = json.loads(output)
        return found

    assert {job["id"] for job in listed()} == set(dead)
    assert listed()[0]["error"] == "aiotask.errors.WorkerLost: 3 processes died"
    assert listed()[0]["traceback"] == "File shop.py, line 7"
    assert [job["id"] for job in listed("--queue", "tiles", "--after", listed("--limit", "1")[0]["after"])] == [
        listed()[1]["id"]
    ]
    assert listed("--queue", "another") == []


def test_dead_letters_are_found_and_shown_without_loading_them(own_server: PrivateServer, shop: Shop) -> None:
    dead = asyncio.run(give_up(shop, 2))

    def listed(*arguments: str) -> list[str]:
        found = invoke("dead", "list", "--url", own_server.url, "--json", *arguments)
        assert found.exit_code == 0, found.output
        return [letter["id"] for letter in json.loads(found.output)]

    assert sorted(listed()) == sorted(dead)
    first = invoke("dead", "list", "--url", own_server.url, "--json", "--limit", "1")
    assert listed("--limit", "1", "--after", json.loads(first.output)[0]["after"]) == listed()[1:]
    for fits in (["--task", "shop:render"], ["--queue", "tiles"], ["--error", "WORKERLOST"], ["--since", "1h"]):
        assert len(listed(*fits)) == 2, fits
    for fits in (["--task", "shop:sell"], ["--queue", "x"], ["--error", "KeyError"], ["--since", "0s"]):
        assert listed(*fits) == [], fits
    assert listed("--until", "1h") == [] and len(listed("--until", "0s", "--error", "3 processes")) == 2
    letter = json.loads(invoke("dead", "show", dead[0], "--url", own_server.url, "--json").output)
    assert (letter["task"], letter["queue"], letter["status"]) == ("shop:render", "tiles", "FAILED")
    assert (letter["arguments"], letter["traceback"]) == ([[7], {}], "File shop.py, line 7")
    said = invoke("dead", "show", dead[0], "--url", own_server.url).output
    assert "WorkerLost: 3 processes died" in said and "arguments    7" in said
    said = invoke("dead", "list", "--url", own_server.url).output
    assert dead[0] in said and "aiotask dead replay ID" in said
    done = run_command("dead", "show", "no-such-job", "--url", own_server.url)
    assert done.returncode == 1 and done.stderr.startswith('error: There is no dead letter "no-such-job" (any more)')


def test_dead_letters_are_replayed_and_deleted_once(own_server: PrivateServer, shop: Shop) -> None:
    one, two = asyncio.run(give_up(shop, 2))

    def did(verb: str, *arguments: str, code: int = 0) -> dict[str, Any]:
        done = invoke("dead", verb, "--url", own_server.url, "--json", *arguments)
        assert done.exit_code == code, done.output
        found: dict[str, Any] = json.loads(done.output)
        return found

    async def status(id: str) -> Status | None:
        return await shop.app.result(id).status()

    assert did("replay", one) == {"replayed": [one], "missing": [], "outdated": [], "of_graphs": {}}
    assert did("replay", one) == {"replayed": [], "missing": [one], "outdated": [], "of_graphs": {}}
    assert asyncio.run(status(one)) == "PENDING"
    said = invoke("dead", "replay", one, "--url", own_server.url)
    assert "Replayed 0 dead letters." in said.output and f"aiotask jobs {one}" in said.output
    assert did("replay", "no-such-job", code=1)["missing"] == ["no-such-job"]
    assert did("delete", one, two, two) == {"deleted": [two], "missing": [one], "of_graphs": {}}
    assert did("delete", two) == {"deleted": [], "missing": [two], "of_graphs": {}}
    assert asyncio.run(status(two)) == "FAILED"
    # The one that was replayed runs, and nothing else of them is left.
    jobs = json.loads(invoke("jobs", "--url", own_server.url, "--json", "--status", "pending").output)
    assert [(job["id"], job["attempt"]) for job in jobs] == [(one, 1)]
    assert json.loads(invoke("dead", "list", "--url", own_server.url, "--json").output) == []


async def test_a_dead_letter_and_its_job_are_shown_with_their_earlier_attempts(
    own_server: PrivateServer, app_name: str
) -> None:
    app = App(app_name, url=own_server.url)

    @app.task(name="shop:fail", retries=1, backoff=lambda failures: 0.01)
    async def fail(order: str) -> None:
        raise ValueError(f"no leek for {order}")

    async with app, app.worker():
        sent = fail.apply_async("ada")
        with pytest.raises(ValueError, match="no leek"):
            await sent.wait(timeout=120)

    for command in (("dead", "show"), ("job",)):
        done = await asyncio.to_thread(run_command, *command, sent.id, "--url", own_server.url, "--json")
        [[_, worker, how, error]] = json.loads(done.stdout)["trail"]
        assert (how, error) == ("retried", "ValueError: no leek for ada") and worker
        done = await asyncio.to_thread(run_command, *command, sent.id, "--url", own_server.url)
        assert re.search(r"^trail +\S.* retried \S+: ValueError: no leek for ada$", done.stdout, re.MULTILINE), (
            done.stdout
        )


def test_many_dead_letters_are_not_moved_without_asking(own_server: PrivateServer, shop: Shop) -> None:
    asyncio.run(give_up(shop, 2))
    here = ("--url", own_server.url)

    for arguments, reason in [
        ((), "no jobs were named"),
        (("an-id", "--all"), "IDs cannot be combined with --all or filters"),
        (("--all",), "this would replay 2 dead letters, and there is no terminal to ask for confirmation"),
        (("--task", "shop:render"), "then add --yes."),
    ]:
        done = run_command("dead", "replay", *arguments, *here)
        assert done.returncode == 2 and reason in done.stderr, done

    def asked(answer: bytes) -> subprocess.CompletedProcess[bytes]:
        ours, theirs = os.openpty()
        try:
            os.write(ours, answer)
            command = [sys.executable, "-m", "aiotask_cli", "dead", "delete", "--all", *here]
            return subprocess.run(command, stdin=theirs, capture_output=True, timeout=60)
        finally:
            os.close(ours)
            os.close(theirs)

    no = asked(b"n\n")
    assert no.returncode == 1 and b"Delete 2 dead letters? [y/N]" in no.stderr
    assert len(json.loads(invoke("dead", "list", *here, "--json").output)) == 2
    assert invoke("dead", "replay", "--task", "shop:sell", *here).output == "Replayed 0 dead letters.\n"
    assert asked(b"y\n").stdout == b"Deleted 2 dead letters.\n"
    assert invoke("dead", "delete", "--all", "--yes", *here).output == "Deleted 0 dead letters.\n"
