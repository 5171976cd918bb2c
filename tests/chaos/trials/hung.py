"""Jobs that never end of themselves, each with a limit, among innocent ones on the same workers."""

from __future__ import annotations

import asyncio
import os
import time
from random import Random

import psutil

from aiotask.errors import JobTimeout

from ..arena import Arena
from ..checker import examine
from ..features import send_features
from ..producer import Sent
from ..report import Report, percentile
from ..trial import Tier, trial

#: Seconds beyond its limit in which a hung job is gone.
_GONE = 2.0


@trial(
    8,
    summary="jobs that loop, swallow every exception, hold the GIL in the main thread or in the loop, block the loop, "
    "or breed processes, each with a limit of 1 s, among naps and no-ops",
    passes=(
        "each is gone, and its caller told, within its limit + 2 s",
        "what it started is killed, its slot is used again",
        "neighbours run again without a strike or an attempt counted",
    ),
    short={"rounds": 1, "aside": 1, "slack": 3.0},
    full={"rounds": 12, "aside": 2, "slack": 0.0},
    module="tests.chaos.apps.hung",
    limits=(60.0, 300.0),
)
async def hung(arena: Arena, tier: Tier, rng: Random) -> Report:
    await arena.start_host(2)
    producer = arena.producer()
    stop = asyncio.Event()
    streaming = asyncio.create_task(_neighbours(arena, rng, stop))
    hung_ones: list[Sent] = []
    for turn in range(tier.rounds):
        tasks = list(arena.tasks.HUNG)
        rng.shuffle(tasks)
        while tasks:
            arena.tell(f"round {turn + 1}", turn, tier.rounds)
            some = [producer.send(tasks.pop(), expect=JobTimeout) for _ in range(min(tier.aside, len(tasks)))]
            hung_ones += some
            await _ended(some, 30.0)
    stop.set()
    await streaming
    await producer.done(30.0)
    # A run whose process loses the GIL to a hung job begins when that is gone.
    report = await examine(arena, begin=arena.tasks.LIMIT + _GONE + tier.slack)
    runs = arena.ledger().by_job
    late = []
    for job in hung_ones:
        if job.ended_at and (mine := runs.get(job.id)):
            late.append(job.ended_at - mine[-1].start - arena.tasks.LIMIT)
    report.require(len(late) == len(hung_ones), f"of {len(hung_ones)} hung jobs {len(late)} were seen to end")
    report.require(
        percentile(late, 1.0) <= _GONE + tier.slack,
        f"a hung job was gone {percentile(late, 1.0):.2f} s after its limit, not {_GONE:g} s",
    )
    report.facts["gone after the limit"] = f"p50 {percentile(late, 0.5):.2f} s, max {percentile(late, 1.0):.2f} s"
    hung_ids = {job.id for job in hung_ones}
    strikes = [run for run in arena.ledger().attempts.values() if run.number != 1]
    report.require(not strikes, f"an attempt was counted for {len(strikes)} runs: {strikes[:3]}")
    twice = [id for id in hung_ids if len(runs.get(id, ())) > 1]
    # One that sat beside another hung one in a process that had to go is a neighbour too.
    report.facts["neighbours that ran again"] = report.extra_runs - len(twice)
    report.failures += _bred(arena)
    return report


async def _neighbours(arena: Arena, rng: Random, stop: asyncio.Event) -> None:
    """Some naps and no-ops are always about."""
    producer, tasks = arena.producers[0], arena.tasks
    while not stop.is_set():
        if producer.on_their_way < 200:
            producer.send(tasks.nap, rng.uniform(0.05, 0.5))
            producer.send(tasks.noop)
            producer.send(tasks.sync_noop)
            send_features(producer, tasks, rng)
        await asyncio.sleep(0.05)


async def _ended(jobs: list[Sent], timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while not all(job.ended for job in jobs) and time.monotonic() < deadline:
        await asyncio.sleep(0.02)


def _bred(arena: Arena) -> list[str]:
    """Processes that hung jobs had started and that live."""
    groups = {note["group"] for note in arena.ledger().notes if "group" in note}
    found = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) in groups and process.status() != psutil.STATUS_ZOMBIE:
                found.append(f"orphan: pid {process.pid} of a hung job's group lives")
        except (psutil.Error, OSError):
            continue
    return found if groups else ["no job told of the processes that it bred, so nothing was shown"]
