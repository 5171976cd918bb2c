"""Commands that act on all jobs that a filter finds."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from typing import Any

from ..commands import run_command
from ..helpers import wait_until
from ..server import PrivateServer
from .command import invoke
from .shop import Shop, give_up


def asked(*arguments: str, url: str) -> Any:
    done = run_command(*arguments, "--url", url, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_cancel_by_filter_ends_every_job_that_matches(own_server: PrivateServer, shop: Shop) -> None:
    for n in range(300):
        shop.render.apply_async(n)
    shop.app.s("shop:other").apply_async().blocking.sent()
    url = own_server.url

    seen = asked("cancel", "--task", "shop:render", "--dry-run", url=url)
    assert (seen["matched"], seen["done"], seen["dry_run"]) == (303, 0, True)
    done = asked("cancel", "--task", "shop:render", "--yes", url=url)
    assert (done["matched"], done["done"], done["asked"], done["skipped"]) == (303, 303, 0, {})
    assert asked("cancel", "--task", "shop:render", "--yes", url=url)["matched"] == 0

    [left] = json.loads(invoke("jobs", "--url", url, "--json").output)
    assert left["task"] == "shop:other"
    assert asked("cancel", "--all", "--yes", url=url)["done"] == 1


def test_a_purge_leaves_scheduled_jobs(own_server: PrivateServer, shop: Shop) -> None:
    assert "Purged 2 jobs" in invoke("queues", "purge", "tiles", "--yes", "--url", own_server.url).output

    [left] = json.loads(invoke("jobs", "--url", own_server.url, "--json").output)
    assert left["status"] == "SCHEDULED"


def test_nothing_is_done_without_confirmation_or_filter(own_server: PrivateServer, shop: Shop) -> None:
    url = own_server.url
    for arguments, said in (
        (["cancel", "--queue", "tiles"], "this would cancel 3 jobs"),
        (["queues", "purge", "tiles"], "this would purge 2 jobs"),
        (["jobs", "run-now", "--queue", "tiles"], "this would run now 1 job"),
        (["cancel"], "no jobs were named"),
        (["cancel", "--all", "--queue", "tiles"], "--all cannot be combined"),
        (["cancel", "an-id", "--queue", "tiles"], "IDs cannot be combined"),
        (["jobs", "run-now", "an-id", "--task", "shop:pack"], "IDs cannot be combined"),
        (["jobs", "resend", "an-id", "--status", "failed"], "IDs cannot be combined"),
        (["jobs", "move", "an-id", "--text", "acme", "--to", "slow"], "IDs cannot be combined"),
    ):
        done = run_command(*arguments, "--url", url)
        assert done.returncode == 2
        assert done.stderr.startswith("error: Nothing was done: ") and said in done.stderr, done.stderr
    assert len(json.loads(invoke("jobs", "--url", url, "--json").output)) == 3


def test_scheduled_jobs_run_now_by_id_and_by_filter(own_server: PrivateServer, shop: Shop) -> None:
    url = own_server.url
    [scheduled] = json.loads(invoke("jobs", "--url", url, "--json", "-s", "scheduled").output)

    said = invoke("jobs", "run-now", scheduled["id"], "no-such-job", "--url", url)
    assert said.exit_code == 1
    assert f"{scheduled['id']} runs as soon as" in said.output and "no-such-job unknown" in said.output
    assert len(json.loads(invoke("jobs", "--url", url, "--json", "-s", "pending").output)) == 3

    shop.render.options(delay=600.0).apply_async(1).blocking.sent()
    assert asked("jobs", "run-now", "--queue", "tiles", "--yes", url=url)["done"] == 1


async def test_dead_letters_are_sent_again_by_id_and_by_filter(own_server: PrivateServer, shop: Shop) -> None:
    url = own_server.url
    [one, two] = await give_up(shop, 2)

    [single] = asked("jobs", "resend", one, url=url)
    done = asked("jobs", "resend", "--task", "shop:render", "--yes", url=url)
    again = asked("jobs", "resend", "--task", "shop:render", "--yes", url=url)

    assert (single["id"], single["did"]) == (one, "done") and single["new_id"] not in (one, two, "")
    assert (done["done"], again["done"], again["skipped"]) == (2, 0, {"was sent again before": 2})
    job = asked("job", single["new_id"], url=url)
    assert (job["status"], job["attempt"], job["task"]) == ("PENDING", 1, "shop:render")
    assert job["why"] == "no live worker consumes the queue tiles"


def test_a_cancel_that_was_interrupted_is_repeated(own_server: PrivateServer, shop: Shop) -> None:
    for n in range(20_000):
        shop.render.apply_async(n)
    shop.render.apply_async(0).blocking.sent()
    url, lane = own_server.url, f"aiotask1:{{{shop.app.name}}}:q:tiles:5"
    command = [sys.executable, "-m", "aiotask_cli", "cancel", "--queue", "tiles", "--url", url, "--yes"]
    started = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    wait_until(lambda: own_server.call("XLEN", lane) < 20_000, description="some jobs are cancelled")
    started.send_signal(signal.SIGINT)
    _, said = started.communicate(timeout=60)
    left = own_server.call("XLEN", lane)

    assert started.returncode == (130 if left else 0), said
    assert not left or "Repeat the command to go on" in said
    asked("cancel", "--queue", "tiles", "--yes", url=url)
    [app] = asked("queues", url=url)
    [tiles] = app["queues"]
    assert (tiles["pending"], tiles["scheduled"], tiles["ended"]) == (0, 0, {"CANCELLED": 20_004})


def test_a_cancel_whose_server_dies_says_how_far_it_came_and_is_repeated() -> None:
    server = PrivateServer("--appendonly", "yes", "--appendfsync", "always")
    server.start()
    shop = Shop(server.url, "shop")
    try:
        for n in range(8_000):
            shop.render.apply_async(n)
        shop.render.apply_async(0).blocking.sent()
        lane = f"aiotask1:{{{shop.app.name}}}:q:tiles:5"
        command = [sys.executable, "-m", "aiotask_cli", "cancel", "--queue", "tiles", "--url", server.url, "--yes"]
        started = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        wait_until(lambda: server.call("XLEN", lane) < 7_000, description="some jobs are cancelled")
        server.kill()
        _, said = started.communicate(timeout=100)
        server.start()
        left = server.call("XLEN", lane)

        assert 0 < left < 7_000 and started.returncode == 1, said
        assert "No answer from the broker" in said and "Repeat the command to go on" in said
        [seen] = re.findall(r"Broken off after ([0-9,]+) jobs", said)
        # At most one call was under way whose answer is lost.
        assert 0 <= 8_001 - left - int(seen.replace(",", "")) <= 50
        assert asked("cancel", "--queue", "tiles", "--yes", url=server.url)["done"] == left
        [app] = asked("queues", url=server.url)
        [tiles] = app["queues"]
        assert (tiles["pending"], tiles["ended"]) == (0, {"CANCELLED": 8_001})
        # The first command could not write its end.
        line, *begun = asked("audit", url=server.url)
        assert (line["verb"], line["number"], line["ended"]) == ("cancel", left, "done")
        assert [(each["ended"], each["action"] == line["action"]) for each in begun] == [
            ("begun", True),
            ("begun", False),
        ]
    finally:
        server.remove()


def test_the_apps_of_a_server_are_in_a_set(own_server: PrivateServer, shop: Shop) -> None:
    assert own_server.call("SMEMBERS", "aiotask1:apps") == {shop.app.name.encode()}
    own_server.call("SADD", "aiotask1:{of-an-older-release}:queues", "default")
    named = "of-an-older-release"

    assert named in invoke("queues", "--all", "--url", own_server.url).output
    assert own_server.call("SMEMBERS", "aiotask1:apps") == {b".", named.encode(), shop.app.name.encode()}
    own_server.call("DEL", "aiotask1:{of-an-older-release}:queues")
    assert named not in invoke("queues", "--all", "--url", own_server.url).output
    own_server.call("DEL", "aiotask1:apps")
    assert "tiles" in invoke("queues", "--url", own_server.url).output


async def test_a_text_and_an_error_choose_what_is_acted_on(own_server: PrivateServer, shop: Shop) -> None:
    url = own_server.url
    for text, delay in (("acme", 0.0), ("acme", 0.0), ("other", 0.0), ("acme", 600.0), ("other", 600.0)):
        await shop.render.options(delay=delay).apply_async(1, text=text).sent()

    assert asked("jobs", "run-now", "--text", "acme", "--yes", url=url)["done"] == 1
    assert asked("cancel", "--text", "acme", "--dry-run", url=url)["matched"] == 3
    assert asked("cancel", "--text", "acme", "--yes", url=url)["done"] == 3
    assert asked("cancel", "--text", "acme", "--yes", url=url)["matched"] == 0

    letters = await give_up(shop, 3)
    assert len(letters) == 3
    assert asked("jobs", "resend", "--error", "no such error", "--yes", url=url)["matched"] == 0
    said = run_command("jobs", "resend", "--error", "no such error", "--yes", "--url", url).stdout
    assert "a task without retries leaves none" in said and "aiotask jobs resend --status failed" in said
    assert asked("jobs", "resend", "--error", "workerlost", "--text", "other", "--yes", url=url)["done"] == 1
    assert asked("jobs", "resend", "--error", "workerlost", "--yes", url=url)["done"] == 2
