"""What a plain job costs the server in script time, alone and beside every feature in use by other tasks."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from aiotask.broker import BATCH_JOBS, Broker, Finish, Push
from aiotask.brokers import connect
from aiotask.job import RELEASE, Job, Status, encode_job
from aiotask.wire.seal import Sealer

from ..feature_tasks import FeatureTasks
from ..figure import Figure
from ..plan import Plan
from ..server import Server
from ..tasks import NAME

__all__ = ["measure"]

#: Jobs of a pass; each repetition alternates so many passes, of which the least counts.
_JOBS, _PASSES = 10_000, 4
_WORKER, _QUEUE = "bench.plain", "plain"
#: Times what a job takes where no task uses a feature.
_PROMISE = 1.03
_seal = Sealer(["bench"], "job").seal
_numbers = itertools.count(1)


def _job() -> Push:
    id = f"plain.{next(_numbers):x}"
    return Push(id, _QUEUE, 5, _seal(encode_job(Job(1, id, "bench:noop", _QUEUE, b"an argument"))))


async def _run(broker: Broker) -> None:
    """Send, claim and finish the jobs of a pass."""
    client = f"client {next(_numbers)}"
    for number in range(_JOBS // BATCH_JOBS):
        await broker.push(client, number + 1, [_job() for _ in range(BATCH_JOBS)])
    left = _JOBS
    while left:
        claim = await broker.claim(_WORKER, [_QUEUE], [], BATCH_JOBS)
        await broker.finish(_WORKER, [Finish(each, b"outcome", Status.SUCCESS, 60.0) for each in claim.deliveries])
        left -= len(claim.deliveries)


async def _cost(server: Server, broker: Broker) -> float:
    """Microseconds of script time of a job."""
    server.client.config_resetstat()
    await _run(broker)
    stats: dict[str, Any] = server.client.info("commandstats")
    return (
        float(sum(each["usec"] for name, each in stats.items() if name in ("cmdstat_evalsha", "cmdstat_eval"))) / _JOBS
    )


async def _alone(server: Server, broker: Broker) -> float:
    return await _cost(server, broker)


async def _beside(server: Server, broker: Broker) -> float:
    tasks = FeatureTasks(server.url)
    async with tasks.app:
        await tasks.use_features(is_served=False)
        return await _cost(server, broker)


async def measure(plan: Plan) -> list[Figure]:
    plan.bar.expect(plan.reps)
    kinds: dict[str, Callable[[Server, Broker], Coroutine[Any, Any, float]]] = {"alone": _alone, "beside": _beside}
    spent: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in plan.rounds():
        least = dict.fromkeys(kinds, math.inf)
        for _ in range(_PASSES):
            for kind, cost in kinds.items():
                plan.server.clear()
                broker = connect(plan.server.url, NAME)
                try:
                    await broker.enlist(_WORKER, "bench", msgspec.msgpack.encode({"host": "bench", "release": RELEASE}))
                    least[kind] = min(least[kind], await cost(plan.server, broker))
                finally:
                    await broker.close()
        for kind, each in least.items():
            spent[kind].append(each)
    ratios = [beside / alone for alone, beside in zip(spent["alone"], spent["beside"], strict=True)]
    return [
        Figure("plain_cost", "script time of a plain job, push, claim and finish", "µs", spent["alone"], more=False),
        Figure("plain_cost", "the same beside every feature in use, over that", "x", ratios, _PROMISE, more=False),
    ]
