"""Workers, keepers, supervisors and hosts are killed while rows run: each row ends once, changed by one run."""

from __future__ import annotations

import asyncio
import time
from random import Random

from ..arena import Arena
from ..faults.kills import keepers_die, supervisors_die, workers_die
from ..report import Report
from ..rows import RowScene, over_databases, unlucky
from ..trial import Tier, trial


@trial(
    23,
    summary="SIGKILL to a random worker, keeper, supervisor or host every 0.3 s, while sync and async rows run, some "
    "of which write through their session or fail once",
    passes=(
        "each row is final and its columns were changed by one run",
        "what a run wrote through its session is there once, and only with its row's success",
        "no row runs again without a death; integrity_check is ok",
    ),
    short={
        "rows": 600,
        "seconds": 3.0,
        "workers": (0.2, 0.5),
        "keepers": (0.8, 1.5),
        "supervisors": (1.0, 1.5),
        "kinds": ("supervisor",),
        "databases": ("sqlite",),
        "patience": 60.0,
    },
    full={
        "rows": 20_000,
        "seconds": 60.0,
        "workers": (0.25, 0.55),
        "keepers": (1.5, 3.0),
        "supervisors": (4.0, 6.0),
        "kinds": ("supervisor", "service", "host"),
        "databases": ("sqlite", "postgresql"),
        "patience": 60.0,
    },
    module="tests.chaos.apps.rows",
    limits=(120.0, 600.0),
)
async def rows_kill(arena: Arena, tier: Tier, rng: Random) -> Report:
    async def play(scene: RowScene) -> None:
        await asyncio.gather(arena.start_host(2), arena.start_host(2))
        until = time.monotonic() + tier.seconds
        await asyncio.gather(
            scene.stream(tier.rows, tier.seconds, rng),
            workers_die(arena, rng, tier.workers, until),
            keepers_die(arena, rng, tier.keepers, until),
            supervisors_die(arena, rng, tier.supervisors, until, workers=2, kinds=tier.kinds),
        )

    report = await over_databases(arena, tier, play)
    report.forgive("wrong", "three processes died with it, so it was given up", unlucky(arena))
    return report
