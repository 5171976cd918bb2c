"""``aiotask jobs move``: by id and by filter, and killed in the middle while workers run the jobs."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from aiotask.inspector import JobFilter
from aiotask.ops.actions import Actions
from aiotask.ops.bulk import Action, Done
from aiotask.ops.connection import Place
from aiotask.ops.visitors import operator

from ..acceptance.stage import staged
from ..commands import run_command
from ..helpers import wait_until, wait_until_async
from ..server import PrivateServer
from ..workers import Workers
from .command import invoke
from .shop import Shop

#: Far more than a mover moves before it is killed.
JOBS = 5_000


def asked(*arguments: str, url: str, code: int = 0) -> Any:
    done = run_command(*arguments, "--url", url, "--json")
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def test_jobs_are_moved_by_id_and_by_filter(own_server: PrivateServer, shop: Shop) -> None:
    url = own_server.url
    first, *_ = jobs = json.loads(invoke("jobs", "--url", url, "--json").output)
    later = next(job for job in jobs if job["status"] == "SCHEDULED")

    assert "name the queue to which the jobs go" in str(invoke("jobs", "move", first["id"], "--url", url).exception)
    assert "cannot name a queue" in str(invoke("jobs", "move", first["id"], "--to", "a b", "--url", url).exception)
    said = run_command("jobs", "move", first["id"], "no-such-job", "--to", "slow", "--url", url)
    assert said.returncode == 1
    assert f"{first['id']} is in queue slow now" in said.stdout and "no-such-job unknown" in said.stdout
    assert 'No live worker consumes a queue "slow".' in said.stdout
    [again] = asked("jobs", "move", first["id"], "--to", "slow", url=url, code=1)
    assert (again["did"], again["said"]) == ("skipped", "is in that queue already")

    seen = asked("jobs", "move", "--queue", "tiles", "--to", "slow", "--dry-run", url=url)
    assert (seen["action"], seen["matched"], seen["done"]) == ("move", 2, 0)
    refused = run_command("jobs", "move", "--queue", "tiles", "--to", "slow", "--url", url)
    assert refused.returncode == 2 and "this would move 2 jobs to queue slow" in refused.stderr
    moved = asked("jobs", "move", "--task", "shop:render", "--to", "slow", "--yes", url=url)
    assert (moved["matched"], moved["done"], moved["skipped"]) == (2, 2, {})

    now = {job["id"]: job for job in json.loads(invoke("jobs", "--url", url, "--json").output)}
    assert {job["queue"] for job in now.values()} == {"slow"} and now.keys() == {job["id"] for job in jobs}
    assert now[later["id"]]["status"] == "SCHEDULED" and now[later["id"]]["due_at"] == later["due_at"]
    lines = asked("audit", url=url)
    assert [(line["verb"], line["subject"], line["number"]) for line in lines] == [
        ("move", "jobs of task shop:render to queue slow", 2),
        ("move", f"job {first['id']} to queue slow", 0),
        ("move", f"2 jobs: {first['id']}, no-such-job to queue slow", 1),
    ]


async def test_a_mover_that_is_killed_loses_no_job_and_none_runs_twice(workers: Workers, tmp_path: Path) -> None:
    with staged("hazards", workers, tmp_path / "ledger") as stage:
        results = [stage.nap.options(id=f"job-{n}").apply_async(0, "moved") for n in range(JOBS)]
        await stage.app.flush()
        env = {**os.environ, "AIOTASK_URL": stage.url, "AIOTASK_NAME": stage.app.name}
        command = [sys.executable, "-m", "aiotask_cli", "jobs", "move", "--queue", "default", "--to", "slow", "--yes"]
        async with stage.app.inspector() as inspector:

            async def pending() -> Counter[str]:
                return Counter({each.name: each.pending for each in await inspector.queues(max_age=0.0)})

            async def kill_one() -> None:
                before = (await pending())["slow"]
                mover = await asyncio.to_thread(subprocess.Popen, command, env=env)

                async def has_moved() -> bool:
                    return (await pending())["slow"] != before or mover.poll() is not None

                await wait_until_async(has_moved, description="some jobs are moved")
                mover.kill()
                await asyncio.to_thread(mover.wait)

            for _ in range(2):
                await kill_one()
            counts = await pending()
            assert counts.total() == JOBS and counts["default"] > 0 and counts["slow"] > 0

            # The rest is moved while workers take jobs from both queues.
            stage.start(2, "--queues", "default,slow")
            for _ in range(2):
                await kill_one()
            rest = await asyncio.to_thread(subprocess.run, command, env=env, stdin=subprocess.DEVNULL, check=False)
            assert rest.returncode == 0
            assert set(await asyncio.gather(*results)) == {1}
            assert set(stage.ledger.counts().values()) == {1} and len(stage.ledger.counts()) == JOBS
            assert not (await pending()).total()


async def test_a_unique_job_stays_the_only_one_of_its_key(workers: Workers, tmp_path: Path) -> None:
    with staged("uniques", workers, tmp_path / "ledger") as stage:
        place = Place(stage.app.name, stage.url)
        first = stage.hard.apply_async("ada", 1)
        await first.sent()
        [moved] = await Actions(place, operator()).move([first.id], "slow")
        assert moved["did"] == "done", moved
        second = stage.hard.options(on_conflict="existing").apply_async("ada", 2)
        await second.sent()
        assert second.id == first.id
        stage.start(1, "--queues", "slow")
        assert await second == 1 and len(stage.ledger.runs("ada")) == 1
        # The key is free again.
        third = stage.hard.options(queue="slow").apply_async("ada", 3)
        assert await third == 3


async def test_ready_nodes_of_a_graph_are_moved_and_those_that_wait_stay(workers: Workers, tmp_path: Path) -> None:
    with staged("nodes", workers, tmp_path / "ledger") as stage:
        place = Place(stage.app.name, stage.url)
        total = stage.add.s(stage.give.s(1).cast, stage.give.s(2).cast).apply_async()
        await total.sent()
        async with Actions(place, operator()).matching(Action.MOVE, JobFilter(queue="default"), "slow") as found:
            assert await found.count() == 2
            await found.run(done := Done(), lambda _: None)
        assert (done.done, dict(done.skipped)) == (2, {})
        [waits] = await Actions(place, operator()).move([total.id], "slow")
        assert waits["said"] == "is WAITING: only jobs that wait for a worker or their time are moved"
        assert await stage.app.result(total.id).status() == "WAITING"
        stage.start(1, "--queues", "slow")
        wait_until(lambda: stage.ledger.ended("give") == 2, description="the moved ones have run")
        stage.start(1, "--queues", "default")
        assert await total == 3
        assert set(stage.ledger.counts().values()) == {1}
