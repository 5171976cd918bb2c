"""The disk of an SQLite file is full for a while: rows wait, none is lost, and none runs twice."""

from __future__ import annotations

import asyncio
from random import Random

from ..arena import Arena
from ..faults.disk import Disk, no_disk
from ..report import Report
from ..rows import RowScene, over_databases
from ..trial import Tier, trial


@trial(
    26,
    summary="the disk of 8 MB that has the SQLite file is full again and again, while rows stream in and run",
    passes=(
        "each row whose insertion was committed is final, and was changed by one run",
        "no process dies; only rows that use their session, which could not be committed, run again",
        "integrity_check is ok",
    ),
    short={"rows": 300, "seconds": 2.0, "times": 2, "full": 0.7, "databases": ("sqlite",), "patience": 60.0},
    full={"rows": 6_000, "seconds": 60.0, "times": 20, "full": 2.5, "databases": ("sqlite",), "patience": 60.0},
    module="tests.chaos.apps.rows",
    lacks=no_disk,
    limits=(120.0, 600.0),
)
async def rows_disk(arena: Arena, tier: Tier, rng: Random) -> Report:
    disk = Disk(arena.directory / "disk")

    async def fill(scene: RowScene) -> None:
        for _ in range(tier.times):
            await asyncio.sleep(rng.uniform(0.0, tier.seconds / tier.times))
            arena.fault("full disk")
            with disk.full():
                await asyncio.sleep(tier.full)

    async def play(scene: RowScene) -> None:
        host = await arena.start_host(2)
        before = set(host.processes())
        await asyncio.gather(scene.stream(tier.rows, tier.seconds, rng), fill(scene))
        await scene.all_ended(tier.patience)
        if set(host.processes()) != before:
            scene.failures.append(f"processes were replaced: {before} became {host.processes()}")

    try:
        return await over_databases(arena, tier, play, folder=disk.directory, repeated=("leave",))
    finally:
        disk.remove()
