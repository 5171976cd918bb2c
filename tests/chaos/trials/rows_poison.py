"""Rows that end their process, among others: each is FAILED after three deaths, and its neighbours are unharmed."""

from __future__ import annotations

import asyncio
from random import Random

from aiotask.worker.verdict import MAX_DEATHS

from ..arena import Arena
from ..pills import WAYS
from ..report import Report
from ..rows import RowScene, over_databases
from ..trial import Tier, trial


@trial(
    24,
    summary="rows that segfault, abort, overflow the stack, exit or are killed, among others that do not",
    passes=(
        "each of them is FAILED after exactly 3 deaths, with its signal or exit code",
        "each neighbour is SUCCESS, changed by one run",
    ),
    short={"rows": 300, "seconds": 2.0, "sets": 1, "ways": 2, "databases": ("sqlite",), "patience": 60.0},
    full={
        "rows": 10_000,
        "seconds": 45.0,
        "sets": 6,
        "ways": len(WAYS),
        "databases": ("sqlite", "postgresql"),
        "patience": 60.0,
    },
    module="tests.chaos.apps.rows",
    limits=(120.0, 600.0),
)
async def rows_poison(arena: Arena, tier: Tier, rng: Random) -> Report:
    pills: dict[str, str] = {}

    async def swallow(scene: RowScene) -> None:
        for _ in range(tier.sets):
            for how in rng.sample(list(WAYS), tier.ways):
                pills[(await scene.insert([(how, 0.0)]))[0]] = how
                await asyncio.sleep(rng.uniform(0.0, tier.seconds / tier.sets / tier.ways))

    async def play(scene: RowScene) -> None:
        await arena.start_host(3)
        await asyncio.gather(scene.stream(tier.rows, tier.seconds, rng), swallow(scene))
        await scene.all_ended(tier.patience)
        rows = await asyncio.to_thread(scene.read)
        for id in pills.keys() & rows.keys():
            row, said = rows[id], WAYS[pills[id]]
            fine = row.status == "FAILED" and row.deaths == MAX_DEATHS and said in (row.last_error or "")
            if not fine:
                scene.failures.append(f"{id} {pills[id]}: {row.status}, {row.deaths} deaths, {row.last_error}")

    report = await over_databases(arena, tier, play)
    runs = arena.ledger().by_job
    for id, how in pills.items():
        # One death may have come between the mark of its start and its own first line: a neighbour was a pill too.
        known = len(runs.get(id, ())) in (MAX_DEATHS - 1, MAX_DEATHS)
        report.require(known, f"{id} ({how}) ran {len(runs.get(id, ()))} times, not {MAX_DEATHS}")
    report.facts["pills"] = len(pills)
    return report
