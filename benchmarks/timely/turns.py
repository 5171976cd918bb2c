"""Turns: when ten jobs of one tenant run beside very many of another, and what they cost the server there."""

from __future__ import annotations

from typing import cast

import msgspec

from aiotask import gather
from aiotask.broker import Push, Special
from aiotask.brokers import connect
from aiotask.brokers.limits import Limits
from aiotask.job import RELEASE, Job, More, encode_job
from aiotask.values.limit import LimitSpec
from aiotask.wire.seal import Sealer

from ..figure import Figure
from ..fleet import fleet
from ..plan import Plan
from ..server import Server
from ..tasks import NAME
from .handover import MODULE
from .tasks import TimelyTasks

__all__ = ["measure"]

#: Jobs of the largest tenant, of ``--jobs`` 40,000; and other tenants with twenty jobs each.
_MANY, _OTHERS, _EACH = 100_000, 100, 20
#: The same for the cost.
_WAITING = 1_000_000
_TIMES = 20
_CHUNK = 20_000
#: Turns that ten jobs take at most, and what their cost may be over that in an empty queue.
_TURNS, _COST = 11.0, 1.2

_seal = Sealer(["bench"], "job").seal


async def _turns(plan: Plan, tasks: TimelyTasks) -> float:
    """The turn in which the last of ten jobs starts."""
    send = tasks.in_turn.options(ignore_result=True).apply_async
    for n in range(plan.scaled(_MANY, 1_000)):
        send("many", n)
        if n % _CHUNK == 0:
            await tasks.app.flush()
    beside = [tasks.in_turn.apply_async(f"other {k}", n) for k in range(_OTHERS) for n in range(_EACH)]
    ten = [tasks.in_turn.apply_async("ten", n) for n in range(10)]
    await tasks.app.flush()
    with fleet(plan.server, 1, "--max-in-flight", "10", clear=False, module=MODULE):
        last = max(await gather(ten))
        starts = await gather(beside)
    # Each of the others has had as many turns by then.
    return sum(start <= last for start in starts) / _OTHERS


def _limited(id: str, tenant: str) -> Push:
    limit = f"cost:{tenant}"
    job = Job(RELEASE, id, "bench:turn", "default", b"", 5, more=More(limit=limit))
    return Push(id, "default", 5, _seal(encode_job(job)), special=Special(limit=limit))


def _spent(server: Server) -> float:
    stats = server.client.info("commandstats")
    return float(sum(stats[name]["usec"] for name in ("cmdstat_evalsha", "cmdstat_eval") if name in stats))


async def _costs(plan: Plan) -> tuple[float, float]:
    """What the push of ten jobs, and the claim of the first of them, cost the server beside very many over nothing."""
    broker = cast(Limits, connect(plan.server.url, NAME))
    worker, found = "bench.1", []
    await broker.enlist(worker, "bench", msgspec.msgpack.encode({"host": "bench", "release": RELEASE}))
    await broker.declare_limits(1.0, "bench:app", [LimitSpec("cost")])
    try:
        for waiting in (0, plan.scaled(_WAITING, 1_000)):
            for start in range(0, waiting, 250):
                await broker.push("many", start // 250 + 1, [_limited(f"m{start + n}", "many") for n in range(250)])
            pushes, claims = [], []
            for number in range(_TIMES + 1):
                ten = [_limited(f"t{waiting}.{number}.{n}", f"ten {waiting} {number}") for n in range(10)]
                before = _spent(plan.server)
                await broker.push(f"ten {waiting}", number + 1, ten)
                pushes.append((between := _spent(plan.server)) - before)
                # Room for one: the tenant that has waited longest, or the next.
                await broker.claim(worker, ["default"], [], 1)
                claims.append(_spent(plan.server) - between)
            # The first time scripts are loaded and lines made.
            found.append((min(pushes[1:]), min(claims[1:])))
    finally:
        await broker.close()
    return found[1][0] / found[0][0], found[1][1] / found[0][1]


async def measure(plan: Plan) -> list[Figure]:
    plan.bar.expect(plan.reps)
    turns: list[float] = []
    pushes: list[float] = []
    claims: list[float] = []
    for _ in plan.rounds():
        plan.server.clear()
        tasks = TimelyTasks(plan.server.url)
        async with tasks.app:
            turns.append(await _turns(plan, tasks))
        plan.server.clear()
        push, claim = await _costs(plan)
        pushes.append(push)
        claims.append(claim)
    many, waiting = f"{plan.scaled(_MANY, 1_000):,}", f"{plan.scaled(_WAITING, 1_000):,}"
    return [
        Figure("turns", f"ten jobs beside {many} of one tenant: turns of the others", "", turns, _TURNS, more=False),
        Figure(
            "turns", f"push of ten beside {waiting}: server time over that in an empty queue", "x", pushes, _COST, False
        ),
        Figure("turns", "claim of the first, likewise", "x", claims, _COST, False),
    ]
