"""Hosts are stopped and killed while jobs wait for jobs that they have sent: no child is lost, and none is doubled."""

from __future__ import annotations

import asyncio
import time
from random import Random

from ..arena import Arena
from ..checker import examine
from ..report import Report
from ..trial import Tier, trial

#: Seconds that a host which is stopped would wait for a parent.
_GRACE = 25.0


@trial(
    15,
    summary="grandparents, parents and children on hosts that are stopped (TERM), lose workers, are killed, replaced",
    passes=(
        "each parent has as many children as it sent, under one id each, however often it ran",
        "a child runs again only where its process died",
        "a stop waits for no parent",
    ),
    short={"families": 3, "parents": 2, "children": 12, "blows": 4},
    full={"families": 16, "parents": 5, "children": 40, "blows": 40},
    module="tests.chaos.apps.parents",
    limits=(110.0, 600.0),
)
async def parents(arena: Arena, tier: Tier, rng: Random) -> Report:
    producer = arena.producer()
    host = await arena.start_host(2, "--grace", str(_GRACE))
    families = [producer.send(arena.tasks.grandparent, tier.parents, tier.children) for _ in range(tier.families)]
    stops: list[float] = []
    # A job that stands beside three processes that are killed is given up, as it should be: so two of them are.
    blows = ["term", "worker", "host", "worker", *rng.choices(("term", "host"), k=tier.blows)][: tier.blows]
    rng.shuffle(blows)
    for number, blow in enumerate(blows):
        arena.tell(f"{blow}", number, len(blows))
        await asyncio.sleep(rng.uniform(0.5, 1.5))
        if blow == "worker":
            host.kill_worker(rng)
            continue
        if blow == "term":
            arena.fault("term")
            began = time.monotonic()
            await asyncio.to_thread(host.supervisor.stop)
            stops.append(time.monotonic() - began)
            host.killed = True
        else:
            host.kill_all()
        host = await arena.start_host(2, "--grace", str(_GRACE))
    # Whatever the blows have left undone: a quarter of the children hold a process for 0.15 s each, and what the last
    # host before had claimed comes back after the lease.
    await producer.done(_GRACE + 200.0)
    # All that came of them, of which the producer has not heard.
    expected = tier.parents * (1 + tier.children)
    short = [family.id for family in families if not family.value or len(set(family.value[1])) != expected]
    for run in list(arena.ledger().by_job):
        if run not in producer.sent:
            producer.know(arena.app.result(run))
    report = await examine(arena)
    report.require(not short, f"{len(short)} families have not {expected} members: {short[:3]}")
    report.require(
        report.jobs == tier.families * (1 + expected), f"{report.jobs} jobs ran, not {tier.families * (1 + expected)}"
    )
    again = [found for found in report.undue_runs if "child" in found]
    report.require(not again, f"{len(again)} children ran again though no process died with them: {again[:3]}")
    report.require(
        max(stops, default=0.0) < _GRACE, f"a stop took {max(stops, default=0.0):.1f} s: it waited for a parent"
    )
    report.facts["stops"] = ", ".join(f"{took:.1f} s" for took in stops)
    return report
