"""Nobody is safe: workers, keepers, supervisors and hosts die at random while jobs stream in."""

from __future__ import annotations

import asyncio
import time
from random import Random

from aiotask.keeper.lease import LEASE

from ..arena import Arena
from ..checker import examine, forgive_the_unlucky
from ..faults.kills import keepers_die, supervisors_die, workers_die
from ..faults.moves import movers_die
from ..features import judge_features, send_features
from ..producer import Producer
from ..report import Report
from ..rows import RowScene, a_database, row_scene, unlucky
from ..trial import Tier, trial

#: Jobs that are on their way at most.
_ABOARD = 2_000
_AT_ONCE = 200
_TICK = 0.05
#: A worker lives for 2.4 s, too short to import SQLAlchemy on a busy machine.
_OPTIONS = ("--preload",)


@trial(
    1,
    summary="SIGKILL to a random worker every 0.2-1 s, to a random keeper now and then, to a supervisor or its whole "
    "host every 10 s, while no-ops, CPU-bound jobs, naps and rows (SQLite or PostgreSQL) stream in, and jobs are moved "
    "to another queue and back by commands that are killed",
    passes=(
        "clean",
        "each row is final, was changed by one run, and ran again only after a death",
        "a dead worker's job starts again within 1 s (p99)",
        "a dead supervisor's within 2 s, a dead host's within the lease + 2 s, within 2 s where another one is on its "
        "machine",
    ),
    short={
        "jobs": 4_000,
        "rows": 400,
        "seconds": 5.0,
        "workers": (0.2, 0.6),
        "keepers": (1.0, 2.0),
        "supervisors": (1.0, 2.0),
        "movers": (0.5, 2.0),
        "kinds": ("service", "supervisor"),
        "patience": 30.0,
        "slack": 15.0,
        "saving": 0.15,
    },
    full={
        "jobs": 100_000,
        "rows": 10_000,
        "seconds": 140.0,
        "workers": (0.2, 1.0),
        "keepers": (8.0, 15.0),
        "supervisors": (9.0, 11.0),
        "movers": (0.5, 3.0),
        "kinds": ("host", "supervisor", "service"),
        "patience": 60.0,
        "slack": 1.0,
        "saving": 0.02,
    },
    module="tests.chaos.apps.both",
    limits=(280.0, 900.0),
)
async def massacre(arena: Arena, tier: Tier, rng: Random) -> Report:
    async with row_scene(arena, a_database(rng)) as scene:
        return await _massacre(arena, tier, rng, scene)


async def _massacre(arena: Arena, tier: Tier, rng: Random, scene: RowScene) -> Report:
    await asyncio.gather(arena.start_host(2, *_OPTIONS), arena.start_host(2, *_OPTIONS))
    producer = arena.producer()
    until = time.monotonic() + tier.seconds
    await asyncio.gather(
        _stream(arena, producer, tier, rng),
        scene.stream(tier.rows, tier.seconds, rng),
        workers_die(arena, rng, tier.workers, until),
        keepers_die(arena, rng, tier.keepers, until),
        supervisors_die(arena, rng, tier.supervisors, until, workers=2, kinds=tier.kinds, options=_OPTIONS),
        movers_die(arena, rng, tier.movers, until),
    )
    arena.tell("waiting for the last jobs")
    await producer.done(tier.patience)
    await scene.settle(tier.patience)
    report = await examine(arena, settle=tier.patience)
    await asyncio.to_thread(scene.take_stock)
    scene.judge(report)
    forgive_the_unlucky(arena, report)
    judge_features(arena, report)
    of_rows = [id for id in unlucky(arena) if id not in producer.sent]
    report.forgive("wrong", "three processes died with it, so it was given up", of_rows)
    report.require_recovery("worker", 1.0 * tier.slack)
    report.require_recovery("supervisor", 2.0 * tier.slack)
    report.require_recovery("service", min(2.0 * tier.slack, LEASE))
    report.require_recovery("host", LEASE + 2.0)
    return report


async def _stream(arena: Arena, producer: Producer, tier: Tier, rng: Random) -> None:
    """So many jobs, evenly: 90 % do nothing, 10 % compute for 5 ms; and naps, which kills are sure to hit."""
    tasks = arena.tasks
    began, count, napping = time.monotonic(), 0, 0
    while count < tier.jobs:
        # After a wait not all that is due at once: that would stand in the way of what arrives.
        due = min(tier.jobs, int((time.monotonic() - began) / tier.seconds * tier.jobs) + 1, count + _AT_ONCE)
        while count < due:
            count += 1
            if count % 10 == 0:
                producer.send(tasks.spin, 0.005)
            else:
                producer.send(tasks.noop if rng.random() < 0.5 else tasks.sync_noop)
        # About four naps are under way at any moment.
        while napping < (time.monotonic() - began) * 20:
            napping += 1
            producer.send(tasks.nap, rng.uniform(0.1, 0.3))
            send_features(producer, tasks, rng, saving=tier.saving)
        arena.tell(f"{len(arena.faults):,} dead, {count:,} jobs", count, tier.jobs)
        await producer.pace(_ABOARD)
        await asyncio.sleep(_TICK)
