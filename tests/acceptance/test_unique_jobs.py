"""T11 and T12: unique jobs and debounced ones, sent by several processes and run by real workers."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiotask import AsyncResult, JobCancelled, JobExpired, WorkerLost, gather
from aiotask.brokers import connect

from ..commands import run_command
from ..helpers import wait_until_async
from ..workers import ROOT, Workers
from .ledger import most_at_once
from .stage import Stage, staged

SENDERS, CALLS = 2, 40


@pytest.fixture
def uniques(workers: Workers, tmp_path: Path) -> Iterator[Stage]:
    with staged("uniques", workers, tmp_path / "ledger") as stage:
        yield stage


def send_from_processes(stage: Stage) -> list[dict[str, list[str]]]:
    """What each of several processes was told of the same calls, sent at the same time."""
    running = [
        subprocess.Popen(
            [sys.executable, "-m", stage.name, str(n * CALLS), str(CALLS)],
            cwd=ROOT,
            env={**os.environ, **stage.env, "AIOTASK_URL": stage.url},
            stdout=subprocess.PIPE,
        )
        for n in range(SENDERS)
    ]
    return [json.loads(process.communicate(timeout=120)[0]) for process in running]


async def settled(stage: Stage) -> None:
    async def is_idle() -> bool:
        broker = connect(stage.url, stage.app.name)
        try:
            return (await broker.promote())[1] is None and all(run.end for run in stage.ledger.runs())
        finally:
            await broker.close()

    await wait_until_async(is_idle, description="all jobs have ended")


async def test_t11_handles_agree_with_the_ledger_whoever_sends(uniques: Stage) -> None:
    uniques.start(2)
    said = await asyncio.to_thread(send_from_processes, uniques)
    ids = {id.rpartition(" ")[2] for each in said for told in each.values() for id in told}
    async with uniques.app:
        results = {id: uniques.app.result(id) for id in ids}
        await gather(results.values())
    ran: defaultdict[str, set[str]] = defaultdict(set)
    for run in uniques.ledger.runs():
        ran[run.label.partition(" ")[0]].add(run.id)
    for key in said[0]:
        told = [id for each in said for id in each[key]]
        # Every handle is on a job that ran, and every job that ran has a handle. A replaced one leads to such a job.
        assert {results[id.rpartition(" ")[2]].id for id in told} == ran[key], key
        assert any(id.startswith("refused") for id in told) == key.endswith("error")
        if not key.startswith("pending"):
            runs = [run for run in uniques.ledger.runs() if run.label.partition(" ")[0] == key]
            assert most_at_once(runs) == 1, key
        if key.startswith(("kept", "600")):
            assert len(ran[key]) == 1, key


async def test_t11_a_job_that_is_sent_while_one_runs_runs_after_it(uniques: Stage) -> None:
    uniques.start(1)
    task = uniques.work.options(unique="pending")
    async with uniques.app:
        first = task.apply_async("a", 1, 1.0)
        await wait_until_async(lambda: is_status(first, "RUNNING"), description="the first one runs")
        second, third = task.apply_async("a", 2), task.apply_async("a", 3)
        assert await gather([first, second, third]) == [1, 2, 2]


async def is_status(result: AsyncResult[int], status: str) -> bool:
    return await result.status() == status


async def test_t11_the_key_is_free_after_every_end(uniques: Stage) -> None:
    uniques.start(2)
    task = uniques.hard
    async with uniques.app:
        for how, error in (("", None), ("fail", ValueError), ("die", WorkerLost)):
            first, same = task.apply_async("k", 1, how), task.apply_async("k", 2, how)
            for result in (first, same):
                if error is not None:
                    with pytest.raises(error):
                        await result.wait(60)
                else:
                    assert await result.wait(60) == 1
            assert await task.apply_async("k", 3).wait(60) == 3
        for options, gone in (({"delay": 3600}, JobCancelled), ({"delay": 3600, "expires": 3601}, JobCancelled)):
            waiting = task.options(**options).apply_async("k", 4)
            await waiting.cancel()
            with pytest.raises(gone):
                await waiting.wait(60)
            assert await task.apply_async("k", 5).wait(60) == 5
        expired = task.options(queue="nowhere", expires=0.2).apply_async("k", 6)
        with pytest.raises(JobExpired):
            await expired.wait(60)
        assert await task.apply_async("k", 7).wait(60) == 7
        purged = task.options(queue="nowhere").apply_async("k", 8)
        await purged.sent()
        await asyncio.to_thread(run, uniques, "queues", "purge", "nowhere", "--yes")
        with pytest.raises(JobCancelled):
            await purged.wait(60)
        assert await task.apply_async("k", 9).wait(60) == 9


def run(stage: Stage, *arguments: str) -> None:
    """Run `aiotask` for this app to its good end."""
    ended = run_command(*arguments, "--url", stage.url, "--name", stage.app.name)
    assert ended.returncode == 0, ended.stdout + ended.stderr


async def test_t12_a_hundred_calls_are_one_run_with_the_last_arguments(uniques: Stage) -> None:
    uniques.start(1)
    task = uniques.work.options(delay=2, unique="pending", on_conflict="replace", max_wait=600)
    async with uniques.app:
        results = []
        for n in range(100):
            results.append(task.apply_async("doc", n))
            await results[-1].sent()
        last = time.monotonic()
        assert await asyncio.wait_for(gather(results), 60) == [99] * 100
    [run] = uniques.ledger.runs()
    assert run.start >= last + 1.5


async def test_t12_a_steady_stream_of_calls_runs_every_max_wait(uniques: Stage) -> None:
    uniques.start(1)
    wide = uniques.work.options(delay=0.5, unique="pending", on_conflict="replace", max_wait=1)
    async with uniques.app:
        results: list[AsyncResult[int]] = []

        async def has_run_three_times() -> bool:
            results.append(wide.apply_async("doc", len(results)))
            await results[-1].sent()
            return len(uniques.ledger.runs()) >= 3

        await wait_until_async(has_run_three_times, description="the calls never pause, and run all the same")
        values = await asyncio.wait_for(gather(results), 60)
    assert values == sorted(values)
    assert len(uniques.ledger.runs()) < len(results)


async def test_t11_of_a_key_one_job_runs_while_worker_processes_are_killed(uniques: Stage) -> None:
    uniques.start(3)
    drawn = random.Random(7)
    task = uniques.work.options(unique="unfinished")
    results: list[AsyncResult[int]] = []
    async with uniques.app:
        for turn in range(40):
            results += [task.apply_async(f"k{drawn.randrange(5)}", n, 0.03) for n in range(10)]
            await gather_sent(results[-10:])
            running = [run.pid for run in uniques.ledger.runs() if run.end is None]
            if turn % 8 == 4 and running:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(drawn.choice(running), signal.SIGKILL)
        assert await asyncio.wait_for(gather(results), 120)
    ids = {result.id for result in results}
    spans: defaultdict[str, dict[str, list[float]]] = defaultdict(dict)
    for run in uniques.ledger.runs():
        assert run.id in ids
        span = spans[run.label.partition(" ")[0]].setdefault(run.id, [run.start, run.end or run.start])
        span[1] = max(span[1], run.end or run.start)
    for of_key in spans.values():
        ordered = sorted(of_key.values())
        assert all(later[0] >= earlier[1] for earlier, later in itertools.pairwise(ordered))
    assert {run.id for run in uniques.ledger.runs()} == ids


async def gather_sent(results: list[AsyncResult[int]]) -> None:
    for result in results:
        await result.sent()
