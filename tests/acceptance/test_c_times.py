"""C5 and C6: jobs that start at a moment, and jobs that may take so long and no longer."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from aiotask import AsyncResult, JobTimeout, Status

from ..chaos.faults.clock import Clock, build
from ..helpers import wait_until_async
from ..workers import ROOT
from .ledger import Entry
from .stage import Put, Stage

TIMEOUT = 60


async def the_run(life: Stage, label: str) -> Entry:
    runs = await wait_until_async(lambda: life.ledger.runs(label), description=f"{label} runs", timeout=TIMEOUT)
    assert len(runs) == 1
    return runs[0]


# ---- C5


async def test_c5_a_delay_and_a_moment_are_kept(stage: Put) -> None:
    life = stage("life")
    await asyncio.to_thread(life.start, 2)
    began, now = time.monotonic(), datetime.now(UTC)
    late = life.work.options(delay=1.0).apply_async("late")
    at = life.work.options(eta=now + timedelta(seconds=1.5)).apply_async("at")
    await asyncio.gather(late.sent(), at.sent())
    assert [await each.status() for each in (late, at)] == [Status.SCHEDULED] * 2

    assert await asyncio.wait_for(asyncio.gather(late, at), TIMEOUT) == ["late", "at"]
    assert (await the_run(life, "late")).start >= began + 1.0
    assert (await the_run(life, "at")).start >= began + 1.5 - 0.01


async def test_c5_what_is_due_while_no_worker_is_there_runs_with_the_first_one_in_order(stage: Put) -> None:
    life = stage("life")
    results = [life.work.options(delay=0.6 - n / 10).apply_async(f"{n}") for n in range(3)]
    await life.app.flush()
    over = time.monotonic() + 0.7
    await wait_until_async(lambda: time.monotonic() > over, description="all of them are due")
    assert {await each.status() for each in results} == {Status.SCHEDULED}
    await asyncio.to_thread(life.start, 1)

    assert await asyncio.wait_for(asyncio.gather(*results), TIMEOUT) == ["0", "1", "2"]
    assert [run.label for run in life.ledger.runs()] == ["2", "1", "0"]


@pytest.mark.parametrize("ahead", [3600, -3600])
async def test_c5_clocks_of_client_and_worker_may_differ(stage: Put, tmp_path: Path, ahead: int) -> None:
    library = build(tmp_path)
    if library is None:
        pytest.skip("a wrong clock needs Linux and a C compiler")
    life = stage("life")
    await asyncio.to_thread(life.start, 1)
    # A client by whose clock it is an hour earlier or later sends a job that is due in a second.
    wrong = Clock(library, tmp_path / "clock", ahead)
    code = (
        f"import time, {life.name} as life\n"
        "print(time.time(), flush=True)\n"
        "result = life.work.options(delay=1.0).apply_async('delayed')\n"
        "print(result.get(timeout=60))"
    )
    began = time.monotonic()
    environment = {**life.env, **wrong.environment, "AIOTASK_URL": life.url, "PATH": ""}
    sent = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )

    assert sent.returncode == 0, sent.stderr
    clock, value = sent.stdout.split()
    assert float(clock) == pytest.approx(time.time() + ahead, abs=120)
    assert value == "delayed"
    assert (await the_run(life, "delayed")).start >= began + 1.0


# ---- C6


async def test_c6_a_run_ends_at_its_limit_whatever_it_does_and_attempts_never_overlap(stage: Put) -> None:
    hazards = stage("hazards")
    await asyncio.to_thread(hazards.start, 1)
    # One that is cancelled, one that is interrupted, and one whose process has to be killed.
    calls: dict[str, Callable[[Any], AsyncResult[Any]]] = {
        "anap": lambda task: task.apply_async(100.0, "anap"),
        "nap": lambda task: task.apply_async(100.0, "nap"),
        "hold_the_gil": lambda task: task.apply_async(),
    }
    for name, call in calls.items():
        result = call(getattr(hazards, name).options(timeout=0.2, retries=2))
        with pytest.raises(JobTimeout, match=r"ran longer than its (limit of 0\.2 s|time limit)"):
            await result.wait(TIMEOUT)

        runs = hazards.ledger.runs(name)
        assert [run.attempt for run in runs] == [1, 2, 3], name
        assert {run.id for run in runs} == {result.id}
        for before, after in pairwise(runs):
            # A killed process has written no end; nothing of it lives when the next attempt starts.
            assert before.end <= after.start if before.end is not None else before.pid != after.pid
    # Others are served by a process that was not killed, or by the one in its place.
    assert await hazards.echo.apply_async(7).wait(TIMEOUT) == 7
