"""Pills among innocents: every pill is given up after three deaths, no innocent is, and the queue keeps draining."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from random import Random

from aiotask.errors import SerializationError, WorkerLost
from aiotask.worker.verdict import MAX_DEATHS

from ..arena import Arena
from ..checker import examine
from ..features import send_features
from ..producer import Producer, Sent
from ..report import Report, percentile
from ..trial import Tier, trial

#: Seconds without the end of a single innocent job that count as a stop.
_STOP = 5.0


@trial(
    6,
    summary="jobs that segfault, abort, overflow the stack, exit or are killed, in user code or while their arguments "
    "are read, items of batches, and some jobs that merely cannot be read, among innocent ones",
    passes=(
        "every pill is a dead letter after exactly 3 deaths, with its signal or exit code and where in the code",
        "no innocent is given up",
        "innocent jobs end all the time: no pause of 5 s",
    ),
    short={"innocents": 600, "sets": 1, "pause": 0.3},
    full={"innocents": 10_000, "sets": 6, "pause": 2.0},
    module="tests.chaos.apps.poison",
    limits=(60.0, 400.0),
)
async def poison(arena: Arena, tier: Tier, rng: Random) -> Report:
    await arena.start_host(2, env={"CHAOS_ARMED": "1"})
    producer, tasks = arena.producer(), arena.tasks
    pills: dict[str, tuple[Sent, str]] = {}
    innocent = asyncio.create_task(_innocents(arena, producer, tier, rng))
    for _ in range(tier.sets):
        hows = list(tasks.PILLS)
        rng.shuffle(hows)
        for how in hows:
            job = producer.send(tasks.pill, how, expect=WorkerLost)
            pills[job.id] = job, tasks.PILLS[how]
            await asyncio.sleep(rng.uniform(0, tier.pause))
        for name in ("batched", "sync_batched"):
            # Among items that are innocent.
            job = producer.send(arena.app.named(f"tests.chaos.app:{name}"), "segfault", expect=WorkerLost)
            pills[job.id] = job, tasks.PILLS["segfault"]
        for how, text in (("segfault", "SIGSEGV"), ("exit", "exit code 9")):
            job = producer.send(tasks.swallow, tasks.Bomb(how), expect=WorkerLost)
            pills[job.id] = job, text
        producer.send(tasks.swallow, tasks.Bomb("raise"), expect=SerializationError)
    await innocent
    await producer.done(tier.limit / 2)
    async with arena.app.inspector() as inspector:
        dead = {letter.id for letter in await inspector.dead(limit=10_000)}
    report = await examine(arena)
    _judge_pills(arena, pills, dead, report)
    ends = sorted(job.ended_at for job in producer.sent.values() if job.ended_at and job.id not in pills)
    longest = max((after - before for before, after in pairwise(ends)), default=0.0)
    report.facts["longest time without the end of an innocent job"] = f"{longest:.2f} s"
    report.require(longest < _STOP, f"no innocent job ended for {longest:.2f} s")
    waits = [job.ended_at - job.accepted_at for job in producer.sent.values() if job.ended_at and job.id not in pills]
    report.facts["innocent jobs, accepted to told"] = f"p50 {percentile(waits, 0.5):.2f} s, max {max(waits):.2f} s"
    return report


async def _innocents(arena: Arena, producer: Producer, tier: Tier, rng: Random) -> None:
    tasks, began = arena.tasks, time.monotonic()
    for count in range(tier.innocents):
        kind = rng.random()
        if kind < 0.05:
            producer.send(tasks.nap, rng.uniform(0.01, 0.3))
        else:
            producer.send(tasks.noop if kind < 0.5 else tasks.sync_noop)
        if count % 20 == 0:
            send_features(producer, tasks, rng)
            arena.tell(f"{count:,} innocents, {time.monotonic() - began:.0f} s", count, tier.innocents)
            # Some 150 a second, so that there are always some beside the pills.
            await asyncio.sleep(0.13)
            await producer.pace(1_000)


def _judge_pills(arena: Arena, pills: dict[str, tuple[Sent, str]], dead: set[str], report: Report) -> None:
    runs = arena.ledger().by_job
    missing = pills.keys() - dead
    report.require(not missing, f"{len(missing)} of {len(pills)} pills are no dead letters: {sorted(missing)[:3]}")
    innocent = dead - pills.keys()
    report.require(not innocent, f"{len(innocent)} innocents are dead letters: {sorted(innocent)[:3]}")
    for id, (job, how) in pills.items():
        said, mine = str(job.error), runs.get(id, [])
        if job.task.endswith((":pill", "batched")):
            # One death may have come between the mark of its start and its own first line: a neighbour was a pill too.
            known = len(mine) in (MAX_DEATHS - 1, MAX_DEATHS)
            report.require(known, f"{id} ({how}) ran {len(mine)} times, not {MAX_DEATHS}: {said}")
        report.require(f"{MAX_DEATHS} processes died" in said and how in said, f"{id}: {how} is not in {said!r}")
        if how in ("SIGSEGV", "SIGABRT"):
            report.require(".py:" in said, f"{id} ({how}): where in the code is not in {said!r}")
    report.facts["pills"] = len(pills)
