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
SHORT, FULL = (40_000, 20_000, 3_000), (1_000_000, 100_000, 100_000)
#: Microseconds of the server that a call takes at most, as a mean over those of its kind: each takes a bounded step.
MOST = 5_000


@pytest.fixture
def counts_of_jobs(is_full: bool) -> tuple[int, int, int]:
    return FULL if is_full else SHORT


@pytest.fixture
def many(own_server: PrivateServer, tmp_path: Path) -> Iterator[Stage]:
    """An app with all these jobs, of which a worker serves one queue."""
    with (
        running_workers(tmp_path / "workers", own_server.url) as workers,
        staged("pairs", workers, tmp_path / "ledger") as stage,
    ):
        stage.start(1, "--queues", "soon")
        yield stage


async def test_t22_bulk_actions_over_many_jobs(
    many: Stage, own_server: PrivateServer, counts_of_jobs: tuple[int, int, int]
) -> None:
    purged, cancelled, scheduled = counts_of_jobs
    for queue, count, delay in (("purged", purged, 0.0), ("cancelled", cancelled, 0.0), ("soon", scheduled, 3600.0)):
        task = many.plain.options(queue=queue, delay=delay, ignore_result=True)
        for n in range(count):
            task.apply_async(str(n))
            if n % 20_000 == 0:
                await many.app.flush()
        await many.app.flush()
    is_undisturbed = own_server.put_first()
    own_server.call("CONFIG", "SET", "slowlog-log-slower-than", MOST)
    own_server.call("CONFIG", "RESETSTAT")
    own_server.call("SLOWLOG", "RESET")

    async with many.app.inspector() as inspector:
        counts = {
            info.name: (info.pending, info.scheduled) for info in await inspector.queues() if info.name != "default"
        }
        assert counts == {"purged": (purged, 0), "cancelled": (cancelled, 0), "soon": (0, scheduled)}
        seen, after = 0, ""
        while seen < 5_000:
            page = await inspector.page(JobFilter(Status.PENDING, "purged"), after)
            seen, after = seen + len(page.jobs), page.after
    no_call_kept(own_server)

    # What is interrupted leaves the rest, and goes on as it is repeated.
    lane = f"aiotask1:{{{many.app.name}}}:q:purged:5"
    begun = command(many, "queues", "purge", "purged", "--yes")
    wait_until(lambda: own_server.call("XLEN", lane) < purged, description="some jobs are purged", timeout=60)
    begun.send_signal(signal.SIGINT)
    begun.communicate(timeout=60)
    first = purged - own_server.call("XLEN", lane)
    assert done(many, "queues", "purge", "purged", "--yes") == purged - first
    assert done(many, "cancel", "--queue", "cancelled", "--yes") == cancelled
    assert done(many, "jobs", "run-now", "--queue", "soon", "--yes") == scheduled
    no_call_kept(own_server)
    slow = [(each[2], each[3][:3]) for each in own_server.call("SLOWLOG", "GET", 100)]
    print(f"server first: {is_undisturbed}; calls of more than 5 ms, in microseconds: {slow}")
    # A server that others interrupt is slow for their sake, and a virtual machine is interrupted as a whole.
    assert len(slow) <= 1 or not (counts_of_jobs == FULL and is_undisturbed)

    await wait_until_async(
        lambda: many.ledger.ended() == scheduled, description="what was scheduled has run", timeout=900
    )
    assert len({run.label for run in many.ledger.runs()}) == scheduled
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
    out, said = (running := command(stage, *arguments)).communicate(timeout=900)
    assert running.returncode == 0, said
    return int(json.loads(out)["done"])


def no_call_kept(server: PrivateServer) -> None:
    """No kind of call has taken the server longer than a bounded step does."""
    stats: dict[str, Any] = server.call("INFO", "commandstats")
    means = {name: each["usec_per_call"] for name, each in stats.items() if name != "cmdstat_info"}
    assert {name: mean for name, mean in means.items() if mean > MOST} == {}
    server.call("CONFIG", "RESETSTAT")
