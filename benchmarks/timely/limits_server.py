"""What limited jobs cost the server, through the seam: push, claim and finish over those of plain jobs; and memory."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Sequence
from typing import cast

import msgspec

from aiotask.broker import BATCH_JOBS, Finish, Push, Special
from aiotask.brokers import connect
from aiotask.brokers.graphs import BATCH_SPECIAL, Graphs
from aiotask.brokers.limits import Limits
from aiotask.job import RELEASE, Job, More, Status, encode_job
from aiotask.values.limit import LimitSpec
from aiotask.wire.seal import Sealer

from ..figure import Figure
from ..plan import Plan
from ..tasks import NAME

__all__ = ["measure"]

#: Jobs of a repetition of each kind, and bytes of an argument.
_JOBS, _ARGUMENT = 10_000, 155
_PASSES = 3
_WORKER = "bench.1"
#: Times what a plain job takes.
_ONE_KEY, _BY_KEY = 3.0, 5.0
#: Bytes of a job in a line, beside its payload.
_MEMORY = 350.0

KINDS = {
    "plain": 0,
    "one key": 1,
    "100 keys": 100,
    "10,000 keys": 10_000,
    "100 keys, each limited": 100,
    "100 keys, each with a rate": 100,
}
_SPECS = [
    LimitSpec("l1", max_running=100_000),
    LimitSpec("l2"),
    LimitSpec("l3"),
    LimitSpec("l4", max_running_each=1_000),
    LimitSpec("l5", rate_each=1e6, burst_each=100_000),
]
_seal = Sealer(["bench"], "job").seal
_numbers = itertools.count(1)


def _jobs(kind: int, keys: int, count: int) -> list[Push]:
    made = []
    for n in range(count):
        id, body = f"{kind}.{next(_numbers):x}", os.urandom(_ARGUMENT)
        limit = f"l{kind}:k{n % keys}" if keys else ""
        more = More(limit=limit) if limit else None
        job = Job(RELEASE if limit else 1, id, "bench:noop", "default", body, 5, more=more)
        made.append(Push(id, "default", 5, _seal(encode_job(job)), special=Special(limit=limit) if limit else None))
    return made


async def _sent(broker: Limits, jobs: Sequence[Push]) -> None:
    client = f"client {next(_numbers)}"
    for start in range(0, len(jobs), BATCH_JOBS):
        await broker.push(client, start // BATCH_JOBS + 1, jobs[start : start + BATCH_JOBS])


async def _run(broker: Limits, kind: int, keys: int, count: int) -> None:
    """Send, claim and finish so many jobs."""
    await _sent(broker, _jobs(kind, keys, count))
    left = count
    while left:
        claim = await broker.claim(_WORKER, ["default"], [], BATCH_JOBS)
        ends = [Finish(each, b"outcome", Status.SUCCESS, 60.0) for each in claim.deliveries]
        step = BATCH_SPECIAL if keys else BATCH_JOBS
        for start in range(0, len(ends), step):
            if keys:
                await cast(Graphs, broker).finish_special(_WORKER, ends[start : start + step])
            else:
                await broker.finish(_WORKER, ends[start : start + step])
        left -= len(ends)


async def measure(plan: Plan) -> list[Figure]:
    plan.bar.expect(plan.reps)
    server, count = plan.server, _JOBS
    ratios: dict[str, list[float]] = {name: [] for name in KINDS}
    memory: dict[str, list[float]] = {"one key": [], "100 keys": []}
    for _ in plan.rounds():
        server.clear()
        broker = cast(Limits, connect(server.url, NAME))
        try:
            await broker.enlist(_WORKER, "bench", msgspec.msgpack.encode({"host": "bench", "release": RELEASE}))
            await broker.declare_limits(1.0, "bench:app", _SPECS)
            least = dict.fromkeys(KINDS, math.inf)
            # The least of some that alternate: with other processes on its core a server takes longer.
            for _ in range(_PASSES):
                for kind, (name, keys) in enumerate(KINDS.items()):
                    before = server.cpu()
                    await _run(broker, kind, keys, count)
                    least[name] = min(least[name], server.cpu() - before)
            for name, spent in least.items():
                ratios[name].append(spent / least["plain"])
            for name, kind in (("one key", 1), ("100 keys", 2)):
                jobs = _jobs(kind, KINDS[name], count)
                before = server.used_memory()
                await _sent(broker, jobs)
                each = sum(len(job.sealed) for job in jobs) / count
                memory[name].append((server.used_memory() - before) / count - each)
        finally:
            await broker.close()
    figures = []
    for name, keys in list(KINDS.items())[1:]:
        goal = _ONE_KEY if keys == 1 else _BY_KEY
        label = f"{name}: CPU time of the server over that of plain jobs"
        figures.append(Figure("limits_server", label, "x", ratios[name], goal, more=False))
    for name, values in memory.items():
        label = f"{name}: memory of a job in a line, without its envelope"
        figures.append(Figure("limits_server", label, "bytes", values, _MEMORY, more=False))
    return figures
