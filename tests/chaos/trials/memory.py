"""Too much memory: the kernel's limit for a host, a task's own, and processes that grow until they are replaced."""

from __future__ import annotations

import asyncio
from random import Random

from aiotask.errors import JobOutOfMemory, WorkerLost

from ..arena import Arena
from ..checker import examine
from ..faults.cgroup import MemoryCgroup
from ..producer import Sent
from ..report import Report
from ..trial import Tier, trial

MB = 1_000_000


@trial(
    7,
    summary="jobs that take 1 GB on a host of 256 MB, jobs over their own memory limit, and leaks on workers that are "
    "replaced at a size, among naps and no-ops",
    passes=(
        "only the process of the glutton dies; its caller is told that it was likely out of memory",
        "a job over its own limit ends with JobOutOfMemory, its neighbours run again without a strike",
        "replacing processes by size loses nothing",
    ),
    short={"gluttons": 1, "limited": 1, "leaks": 40, "innocents": 200},
    full={"gluttons": 8, "limited": 8, "leaks": 600, "innocents": 4_000},
    module="tests.chaos.apps.gluttons",
    limits=(60.0, 300.0),
)
async def memory(arena: Arena, tier: Tier, rng: Random) -> Report:
    try:
        cgroup = MemoryCgroup(256 * MB)
    except OSError as error:
        cgroup = None
        reason = str(error)
    try:
        host = await arena.start_host(
            2, "--max-memory-per-child", "120MB",
            prepare=None if cgroup is None else lambda supervisor: cgroup.add(supervisor.pid),
        )  # fmt: skip
        producer, tasks = arena.producer(), arena.tasks
        streaming = asyncio.create_task(_innocents(arena, tier, rng))
        keeper, gluttons = host.keeper(), list[Sent]()
        if cgroup is not None:
            for _ in range(tier.gluttons):
                gluttons.append(producer.send(tasks.gorge, 1_000, expect=WorkerLost))
                await _ended(gluttons)
        limited = list[Sent]()
        for _ in range(tier.limited):
            # One at a time: two of them are more than the host has, and then it is the kernel that ends one.
            limited.append(producer.send(tasks.gorge_within_limits, 130, expect=JobOutOfMemory))
            await _ended(limited)
        leaks = [producer.send(tasks.leak, 10) for _ in range(tier.leaks)]
        await _ended(leaks)
        await streaming
        await producer.done(60.0)
        same = host.keeper() == keeper and host.alive
        report = await examine(arena)
    finally:
        if cgroup is not None:
            for host in arena.hosts:
                await asyncio.to_thread(host.supervisor.clear)
            cgroup.remove()
    if cgroup is None:
        report.facts["cgroup"] = f"none can be made here ({reason}): 1 GB on 256 MB was not tried"
    report.require(same, "the keeper or the supervisor died too")
    for job in gluttons:
        report.require("likely out of memory" in str(job.error), f"{job.id}: {job.error!r}")
    runs = arena.ledger().by_job
    pids = {run.pid for job in leaks for run in runs.get(job.id, ())}
    report.facts["processes that leaks went through"] = len(pids)
    report.require(len(pids) > 2 + tier.leaks // 100, f"leaks ran in only {len(pids)} processes")
    dead = {run.pid for job in (*gluttons, *limited) for run in runs.get(job.id, ())}
    report.facts["processes that died of a job"] = len(dead)
    strikes = [job for job in producer.sent.values() if isinstance(job.error, WorkerLost) and job not in gluttons]
    report.require(not strikes, f"{len(strikes)} innocents were given up")
    return report


async def _innocents(arena: Arena, tier: Tier, rng: Random) -> None:
    for count in range(tier.innocents):
        arena.producers[0].send(arena.tasks.nap, rng.uniform(0.0, 0.2))
        if count % 10 == 0:
            arena.tell(f"{count:,} innocents", count, tier.innocents)
            await arena.producers[0].pace(100)
            await asyncio.sleep(0.1)


async def _ended(jobs: list[Sent]) -> None:
    async with asyncio.timeout(60):
        while not all(job.ended for job in jobs):
            await asyncio.sleep(0.02)
