"""T22: pages, counts and bulk actions over many jobs: no call keeps the server, and an interrupted one is repeated."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from aiotask.brokers import connect
from aiotask.brokers.redis.connection import Wire
from aiotask.client.bulk import Action, BulkAction
from aiotask.inspector import JobFilter
from aiotask.job import RESULT_TTL, Status

from ..helpers import wait_until, wait_until_async
from ..server import PrivateServer
from ..workers import running_workers
from .stage import Stage, staged

#: Jobs that wait in the queue that is purged, and in the one that is cancelled; and that are scheduled.
SHORT, FULL = (16_000, 8_000, 1_500), (1_000_000, 100_000, 100_000)
#: Milliseconds of the server's time that a call takes at most.
MOST = 5.0


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


@pytest.fixture
def calls_of_actions(own_server: PrivateServer, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Milliseconds that the server works while each call of this process lasts. A keeper and a worker, which go on
    beside it, add what their small calls take."""
    took: list[float] = []
    ask = Wire._ask

    async def measured(wire: Wire, *arguments: Any, **options: Any) -> Any:
        before = own_server.cpu_time()
        try:
            return await ask(wire, *arguments, **options)
        finally:
            took.append(own_server.cpu_time() - before)

    monkeypatch.setattr(Wire, "_ask", measured)
    return took


async def test_t22_bulk_actions_over_many_jobs(
    many: Stage,
    own_server: PrivateServer,
    counts_of_jobs: tuple[int, int, int],
    calls_of_actions: list[float],
    is_full: bool,
) -> None:
    purged, cancelled, scheduled = counts_of_jobs
    for queue, count, delay in (("purged", purged, 0.0), ("cancelled", cancelled, 0.0), ("soon", scheduled, 3600.0)):
        task = many.plain.options(queue=queue, delay=delay, ignore_result=True)
        for n in range(count):
            task.apply_async(str(n))
            if n % 20_000 == 0:
                await many.app.flush()
        await many.app.flush()
    own_server.call("CONFIG", "RESETSTAT")

    async with many.app.inspector() as inspector:
        counts = {
            info.name: (info.pending, info.scheduled) for info in await inspector.queues() if info.name != "default"
        }
        assert counts == {"purged": (purged, 0), "cancelled": (cancelled, 0), "soon": (0, scheduled)}
        seen, after = 0, ""
        while seen < 5_000:
            page = await inspector.page(JobFilter(Status.PENDING, "purged"), after)
            seen, after = seen + len(page.jobs), page.after
    no_call_kept(own_server, is_full)

    purged -= await half(many, calls_of_actions, Action.PURGE, "purged", purged)
    most = [max(calls_of_actions)]
    cancelled -= await half(many, calls_of_actions, Action.CANCEL, "cancelled", cancelled)
    most.append(max(calls_of_actions))
    waiting = scheduled - await half(many, calls_of_actions, Action.RUN_NOW, "soon", scheduled)
    most.append(max(calls_of_actions))
    # A run of full sizes has the machine to itself.
    assert not is_full or max(most) <= MOST

    # What is interrupted leaves the rest, and goes on as it is repeated.
    lane = f"aiotask1:{{{many.app.name}}}:q:purged:5"
    begun = command(many, "queues", "purge", "purged", "--yes")
    wait_until(lambda: own_server.call("XLEN", lane) < purged, description="some jobs are purged", timeout=60)
    begun.send_signal(signal.SIGINT)
    begun.communicate(timeout=60)
    first = purged - own_server.call("XLEN", lane)
    assert done(many, "queues", "purge", "purged", "--yes") == purged - first
    assert done(many, "cancel", "--queue", "cancelled", "--yes") == cancelled
    assert done(many, "jobs", "run-now", "--queue", "soon", "--yes") == waiting
    no_call_kept(own_server, is_full)

    await wait_until_async(
        lambda: many.ledger.ended() == scheduled, description="what was scheduled has run", timeout=900
    )
    assert len({run.label for run in many.ledger.runs()}) == scheduled
    async with many.app.inspector() as inspector:
        assert all(info.pending == info.scheduled == 0 for info in await inspector.queues())


async def half(stage: Stage, took: list[float], action: Action, queue: str, count: int) -> int:
    """Do a bulk action with half of so many jobs, in this process; with how many it was done."""
    broker = connect(stage.url, stage.app.name)
    took.clear()
    try:
        async with aclosing(
            BulkAction(action, JobFilter(queue=queue), broker, stage.app.secrets, RESULT_TTL).run()
        ) as running:
            async for done in running:
                if done.done >= count // 2:
                    break
    finally:
        await broker.close()
    print(f"{action}: {len(took)} calls, {statistics.median(took):.2f} ms of the server each, {max(took):.2f} at most")
    return done.done


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


def no_call_kept(server: PrivateServer, is_full: bool) -> None:
    """No kind of call has taken the server long, as a mean over the calls of that kind. A script is loaded (EVAL) only
    a few times, so the mean of that counts in a run without other tests alone."""
    stats: dict[str, Any] = server.call("INFO", "commandstats")
    means = {
        name: each["usec_per_call"]
        for name, each in stats.items()
        if name != "cmdstat_info" and (is_full or name != "cmdstat_eval")
    }
    assert {name: mean for name, mean in means.items() if mean > 1_000 * MOST} == {}
    server.call("CONFIG", "RESETSTAT")
