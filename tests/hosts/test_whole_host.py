"""A host of which every process is killed at once: people are told, and so are its jobs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from typing import Any

from aiotask.job import LOSS
from aiotask.ops.jobs import read_job

from ..commands import run_command
from ..helpers import wait_until_async
from ..workers import Supervisor
from .operator import Operated


def kill_all(supervisor: Supervisor) -> None:
    """Kill the keeper first, which would give the jobs back, then all others."""
    children = sorted(supervisor.children(), key=lambda each: "keeper" not in " ".join(each.cmdline()))
    for pid in (children[0].pid, supervisor.pid, *(each.pid for each in children[1:])):
        os.kill(pid, signal.SIGKILL)
    supervisor.wait()
    for left in supervisor.session():
        with contextlib.suppress(ProcessLookupError):
            os.kill(left.pid, signal.SIGKILL)


async def test_the_loss_of_a_host_is_told_and_stands_in_the_trail_of_its_jobs(operated: Operated) -> None:
    stage = operated.stage
    hosts: dict[str, Supervisor] = {}
    for release in ("v1", "v2"):
        stage.env["AIOTASK_RELEASE"] = release
        supervisor, name = await operated.start(1)
        hosts[name] = supervisor
    env = {**os.environ, "AIOTASK_URL": stage.url, "AIOTASK_NAME": stage.app.name, "COLUMNS": "250"}

    async def told(*arguments: str) -> str:
        return (await asyncio.to_thread(run_command, *arguments, env=env, input="")).stdout

    shown = await told("workers")
    assert "release" in shown and "v1" in shown and "v2" in shown
    assert "was lost" not in shown
    job = stage.nap.apply_async(600.0, "killed once")

    async def holder() -> Any:
        found = await operated.hosts()
        return next((host for host in found for run in host["running"] if run["id"] == job.id), None)

    victim = await wait_until_async(holder, description="a host reports that it runs", timeout=60)
    kill_all(hosts[victim["host"]])

    async def again() -> Any:
        found = await read_job(job.id, operated.place, None)
        return found if found.get("trail") else None

    found = await wait_until_async(again, description="it was given back", timeout=60)
    [[_, worker, how, why]] = found["trail"]
    assert (worker.rpartition(".")[0], how, why) == (victim["host"], "lost", LOSS)
    assert "deaths" not in found

    shown = await told("workers")
    assert f"({victim['host']}) was lost " in shown and "(1 job was requeued)." in shown
    checks = json.loads(await told("doctor", "--json"))["checks"]
    assert [each["name"] for each in checks if "was lost" in each["detail"]] == [f"{stage.app.name}: hosts"]
    await job.cancel()
