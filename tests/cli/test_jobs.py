"""aiotask queues and aiotask jobs: what waits on a real server."""

from __future__ import annotations

import asyncio
import json
import os
import re
from datetime import UTC, datetime

import msgspec
import pytest

from aiotask import App
from aiotask.broker import Requeue
from aiotask.brokers import connect
from aiotask.errors import ConfigError

from ..commands import run_command
from ..server import PrivateServer
from .command import invoke
from .shop import Shop


def test_queues_counts_what_waits(own_server: PrivateServer, shop: Shop) -> None:
    (found,) = json.loads(invoke("queues", "--url", own_server.url, "--json").output)

    assert found["app"] == shop.app.name
    (tiles,) = [queue for queue in found["queues"] if queue["name"] == "tiles"]
    assert (tiles["pending"], tiles["running"]) == (2, 0)
    assert sum(queue["scheduled"] for queue in found["queues"]) == 1
    assert found["workers"] == []


def test_a_queue_is_shown_with_what_is_in_it(own_server: PrivateServer, shop: Shop) -> None:
    for _ in range(2):
        shop.app.named("shop:other", queue="tiles").apply_async().blocking.sent()
    invoke("queues", "pause", "tiles", "--why", "it moves", "--url", own_server.url)

    said = invoke("queues", "show", "tiles", "--url", own_server.url)
    assert said.exit_code == 0
    assert f"tiles of {shop.app.name}: 4 pending, 1 scheduled, the oldest for" in said.output
    assert "Paused by" in said.output and "it moves" in said.output and "in it" in said.output
    assert re.search(r"shop:render +2 +50 %", said.output) and re.search(r"shop:other +2 +50 %", said.output)
    [found] = json.loads(invoke("queues", "show", "tiles", "--url", own_server.url, "--json").output)
    assert (found["pending"], found["looked"], found["tasks"]) == (4, 4, {"shop:render": 2, "shop:other": 2})
    wrong = invoke("queues", "show", "tile", "--url", own_server.url)
    assert 'No job has been in a queue "tile". Did you mean "tiles"?' in str(wrong.exception)


def test_queues_for_people_says_what_to_do_without_workers(own_server: PrivateServer, shop: Shop) -> None:
    said = invoke("queues", env={"AIOTASK_URL": own_server.url})

    assert said.exit_code == 0
    assert "tiles" in said.output
    assert "No worker is live" in said.output


def test_an_empty_server_says_the_next_step(own_server: PrivateServer) -> None:
    said = invoke("queues", "--url", own_server.url)

    assert said.exit_code == 0
    assert "aiotask worker" in said.output


def test_jobs_lists_by_status_and_pages(own_server: PrivateServer, shop: Shop) -> None:
    def ids(*arguments: str) -> list[str]:
        listed = json.loads(invoke("jobs", "--url", own_server.url, "--json", *arguments).output)
        return [job["id"] for job in listed]

    pending = ids("--status", "pending")
    assert len(pending) == 2
    assert ids("--status", "pending", "--limit", "1") == pending[:1]
    [first] = json.loads(invoke("jobs", "--url", own_server.url, "--json", "-s", "pending", "--limit", "1").output)
    assert ids("--status", "pending", "--limit", "1", "--after", first["after"]) == pending[1:]
    assert ids("--id", pending[0]) == pending[:1]
    # A search begins with the newest job.
    assert sorted(ids("--task", "shop:render")) == sorted(ids()) and ids("--task", "shop:other") == []
    assert len(ids("--status", "scheduled")) == 1
    assert ids("--status", "running") == []
    assert len(ids()) == 3
    assert ids("--queue", "another") == []


def test_jobs_for_people_names_the_next_page(own_server: PrivateServer, shop: Shop) -> None:
    said = invoke("jobs", "--url", own_server.url, "--limit", "2")

    assert "shop:render" in said.output
    assert "Next page: --after " in said.output


@pytest.mark.parametrize("after", ["zzz", "a", "another-app:lq:tiles:5|1-1"])
def test_a_place_that_no_page_has_named_is_refused(own_server: PrivateServer, shop: Shop, after: str) -> None:
    said = invoke("jobs", "--url", own_server.url, "--after", after)

    assert isinstance(said.exception, ConfigError) and f"after='{after}' is no place" in str(said.exception)


def test_one_job_is_shown_with_all_that_is_known(own_server: PrivateServer, shop: Shop) -> None:
    (scheduled,) = json.loads(invoke("jobs", "--url", own_server.url, "--json", "-s", "scheduled").output)

    job = json.loads(invoke("jobs", scheduled["id"], "--url", own_server.url, "--json").output)
    said = invoke("jobs", scheduled["id"], "--url", own_server.url).output

    assert (job["status"], job["task"], job["queue"], job["attempt"]) == ("SCHEDULED", "shop:render", "tiles", 1)
    assert job["due_at"] > job["sent_at"] + 3500
    assert "[bold]no markup[/bold]" in said
    assert "in 59 min" in said or "in 1 h" in said


async def park(app: App, need: str) -> str:
    """Claim a job as a worker does, park it, and return its id."""
    broker = connect(app.url, app.name)
    await broker.enlist("host-1.1", "host-1", msgspec.msgpack.encode({"pid": 1}))
    [delivery] = (await broker.claim("host-1.1", ["tiles"], [], 1)).deliveries
    await broker.requeue("host-1.1", [Requeue(delivery, "tiles", delivery.meta, need=need)])
    await broker.close()
    return delivery.id


def test_a_parked_job_is_listed_with_what_it_needs(own_server: PrivateServer, shop: Shop) -> None:
    parked = asyncio.run(park(shop.app, "release:9"))

    assert "needs release:9" in invoke("jobs", "--url", own_server.url, "--status", "parked").output
    job = json.loads(invoke("jobs", parked, "--url", own_server.url, "--json").output)
    assert (job["status"], job["needs"]) == ("PARKED", "release:9")
    [found] = [
        check
        for check in json.loads(invoke("doctor", "--json", "--url", own_server.url).output)["checks"]
        if check["name"] == f"{shop.app.name}: parked"
    ]
    assert found["fix"] == "Start a worker with this code; what each needs: aiotask jobs --status parked"


def test_a_job_that_expires_is_shown_with_its_moment(own_server: PrivateServer, shop: Shop) -> None:
    end = datetime.max.replace(tzinfo=UTC)
    for id, expires in (("soon", datetime(2030, 1, 2, tzinfo=UTC)), ("at-the-end", end)):
        shop.render.options(id=id, expires=expires).apply_async(1).blocking.sent()

    job = json.loads(invoke("jobs", "soon", "--url", own_server.url, "--json").output)
    assert job["expires_at"] == datetime(2030, 1, 2, tzinfo=UTC).timestamp()
    assert re.search(r"^expires +2030-01-0", invoke("jobs", "soon", "--url", own_server.url).output, re.MULTILINE)
    # Such a moment is in the year 10000 east of Greenwich, which a datetime does not have.
    said = run_command("jobs", "at-the-end", "--url", own_server.url, env={**os.environ, "TZ": "Asia/Tokyo"})
    assert said.returncode == 0 and "expires" in said.stdout, said.stderr


def test_a_job_sealed_with_another_secret_is_listed_as_such(own_server: PrivateServer, shop: Shop) -> None:
    said = invoke("jobs", "--url", own_server.url, env={"AIOTASK_SECRET": "another"})

    assert said.exit_code == 0
    assert "sealed with another secret" in said.output
    assert "shop:render" not in said.output


def test_an_unknown_job_says_where_else_to_look(own_server: PrivateServer, shop: Shop) -> None:
    done = run_command("jobs", "no-such-job", "--url", own_server.url)

    assert done.returncode == 1
    assert done.stderr.startswith('error: No job "no-such-job"')
    assert "No history file was found" in done.stderr and "--db FILE" in done.stderr


def test_when_a_job_is_due_is_shown_whole_at_80_columns(own_server: PrivateServer, shop: Shop) -> None:
    _ = shop
    app = App("bakery", url=own_server.url)
    for _ in range(2):
        app.named("bakery.ovens.of_the_old_town:bake_all_the_bread", delay=3599).apply_async().blocking.sent()

    seen = run_command("jobs", "--url", own_server.url, env=os.environ | {"FORCE_COLOR": "1", "COLUMNS": "80"}).stdout

    lines = [line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", seen).splitlines() if "_the_bread" in line]
    assert len(lines) == 2 and all(re.search(r"due in 59 min \d+ s$", line) for line in lines), seen
    assert max(map(len, lines)) <= 80
