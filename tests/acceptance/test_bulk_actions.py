"""T22: pages, counts and bulk actions over many jobs: no call keeps the server, and an interrupted one is repeated."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aiotask.inspector import JobFilter
from aiotask.job import Status

from ..helpers import wait_until, wait_until_async
from ..server import PrivateServer
from ..workers import running_workers
from .stage import Stage, staged

#: Jobs that wait in the queue that is purged, and in the one that is cancelled; and that are scheduled.
PURGED, CANCELLED, SCHEDULED = 40_000, 20_000, 3_000
#: Microseconds of the server that a call takes at most, as a mean over those of its kind: each takes a bounded step.
MOST = 5_000


@pytest.fixture
def many(own_server: PrivateServer, tmp_path: Path) -> Iterator[Stage]:
    """An app with all these jobs, of which a worker serves one queue."""
    with (
        running_workers(tmp_path / "workers", own_server.url) as workers,
        staged("pairs", workers, tmp_path / "ledger") as stage,
    ):
        stage.start(1, "--queues", "soon")
        yield stage


async def test_t22_bulk_actions_over_many_jobs(many: Stage, own_server: PrivateServer) -> None:
    for queue, count, delay in (("purged", PURGED, 0.0), ("cancelled", CANCELLED, 0.0), ("soon", SCHEDULED, 3600.0)):
        task = many.plain.options(queue=queue, delay=delay, ignore_result=True)
        for n in range(count):
            task.apply_async(str(n))
        await many.app.flush()
    own_server.call("CONFIG", "RESETSTAT")

    async with many.app.inspector() as inspector:
        counts = {
            info.name: (info.pending, info.scheduled) for info in await inspector.queues() if info.name != "default"
        }
        assert counts == {"purged": (PURGED, 0), "cancelled": (CANCELLED, 0), "soon": (0, SCHEDULED)}
        seen, after = 0, ""
        while seen < 5_000:
            page = await inspector.page(JobFilter(Status.PENDING, "purged"), after)
            seen, after = seen + len(page.jobs), page.after
    no_call_kept(own_server)

    # What is interrupted leaves the rest, and goes on as it is repeated.
    lane = f"aiotask1:{{{many.app.name}}}:q:purged:5"
    begun = command(many, "queues", "purge", "purged", "--yes")
    wait_until(lambda: own_server.call("XLEN", lane) < PURGED, description="some jobs are purged")
    begun.send_signal(signal.SIGINT)
    begun.communicate(timeout=60)
    first = PURGED - own_server.call("XLEN", lane)
    assert done(many, "queues", "purge", "purged", "--yes") == PURGED - first
    assert done(many, "cancel", "--queue", "cancelled", "--yes") == CANCELLED
    assert done(many, "jobs", "run-now", "--queue", "soon", "--yes") == SCHEDULED
    no_call_kept(own_server)

    await wait_until_async(
        lambda: len(many.ledger.runs()) == SCHEDULED, description="what was scheduled has run", timeout=60
    )
    assert len({run.label for run in many.ledger.runs()}) == SCHEDULED
    async with many.app.inspector() as inspector:
        assert all(info.pending == info.scheduled == 0 for info in await inspector.queues())


def command(stage: Stage, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "aiotask_cli", *arguments, "--json", "--url", stage.url, "--name", stage.app.name],
        env={**os.environ, **stage.env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def done(stage: Stage, *arguments: str) -> int:
    """How many jobs a bulk action has reached."""
    out, said = (running := command(stage, *arguments)).communicate(timeout=120)
    assert running.returncode == 0, said
    return int(json.loads(out)["done"])


def no_call_kept(server: PrivateServer) -> None:
    """No kind of call has taken the server longer than a bounded step does."""
    stats: dict[str, Any] = server.call("INFO", "commandstats")
    means = {name: each["usec_per_call"] for name, each in stats.items() if name != "cmdstat_info"}
    assert {name: mean for name, mean in means.items() if mean > MOST} == {}
    server.call("CONFIG", "RESETSTAT")
