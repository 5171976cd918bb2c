"""aiotask queues and aiotask jobs: what waits on a real server."""

from __future__ import annotations

import json

from ..server import PrivateServer
from .command import invoke, run
from .shop import Shop


def test_queues_counts_what_waits(own_server: PrivateServer, shop: Shop) -> None:
    (found,) = json.loads(invoke("queues", "--url", own_server.url, "--json").output)

    assert found["app"] == shop.app.name
    (tiles,) = [queue for queue in found["queues"] if queue["name"] == "tiles"]
    assert (tiles["pending"], tiles["running"]) == (2, 0)
    assert sum(queue["scheduled"] for queue in found["queues"]) == 1
    assert found["workers"] == []


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
    assert ids("--status", "pending", "--limit", "1", "--offset", "1") == pending[1:]
    assert len(ids("--status", "scheduled")) == 1
    assert ids("--status", "running") == []
    assert len(ids()) == 3
    assert ids("--queue", "another") == []


def test_jobs_for_people_names_the_next_page(own_server: PrivateServer, shop: Shop) -> None:
    said = invoke("jobs", "--url", own_server.url, "--limit", "2")

    assert "shop:render" in said.output
    assert "--offset 2" in said.output


def test_one_job_is_shown_with_all_that_is_known(own_server: PrivateServer, shop: Shop) -> None:
    (scheduled,) = json.loads(invoke("jobs", "--url", own_server.url, "--json", "-s", "scheduled").output)

    job = json.loads(invoke("jobs", scheduled["id"], "--url", own_server.url, "--json").output)
    said = invoke("jobs", scheduled["id"], "--url", own_server.url).output

    assert (job["status"], job["task"], job["queue"], job["attempt"]) == ("SCHEDULED", "shop:render", "tiles", 1)
    assert job["due_at"] > job["sent_at"] + 3500
    assert "[bold]no markup[/bold]" in said
    assert "in 59 min" in said or "in 1 h" in said


def test_a_job_sealed_with_another_secret_is_listed_as_such(own_server: PrivateServer, shop: Shop) -> None:
    said = invoke("jobs", "--url", own_server.url, env={"AIOTASK_SECRET": "another"})

    assert said.exit_code == 0
    assert "sealed with another secret" in said.output
    assert "shop:render" not in said.output


def test_an_unknown_job_says_where_else_to_look(own_server: PrivateServer, shop: Shop) -> None:
    done = run("jobs", "no-such-job", "--url", own_server.url)

    assert done.returncode == 1
    assert done.stderr.startswith('error: No job "no-such-job"')
    assert "No history file was found" in done.stderr and "--db FILE" in done.stderr
