"""PostgreSQL crashes and ends connections while rows run: no row is lost, and the workers go on by themselves."""

from __future__ import annotations

import asyncio
import signal
import time
from random import Random

import sqlalchemy as sa

from ..arena import Arena
from ..report import Report, percentile
from ..rows import RowScene, no_postgres, over_databases
from ..trial import Tier, trial

#: Seconds from the first answer of the server to the first run.
_SOON = 5.0
#: Ends all connections but the one that it came by.
_TERMINATE = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


@trial(
    25,
    summary="PostgreSQL ends immediately and is started again, and between these crashes all connections are ended, "
    "while rows stream in and run",
    passes=(
        "each row whose insertion was committed is final, and was changed by one run",
        "rows run again 5 s after the server answers",
        "no process dies; only rows that use their session, or fail, run again where its connection has broken",
    ),
    short={"rows": 500, "seconds": 3.0, "faults": 2, "databases": ("postgresql",), "patience": 60.0, "slack": 6.0},
    full={"rows": 20_000, "seconds": 60.0, "faults": 24, "databases": ("postgresql",), "patience": 60.0, "slack": 1.0},
    module="tests.chaos.apps.rows",
    lacks=no_postgres,
    limits=(120.0, 600.0),
)
async def rows_server(arena: Arena, tier: Tier, rng: Random) -> Report:
    #: When the database answered again, by the kind of fault.
    back: list[tuple[str, float]] = []

    async def harm(scene: RowScene) -> None:
        for number in range(tier.faults):
            await asyncio.sleep(rng.uniform(0.5, 1.5) * tier.seconds / tier.faults / 1.5)
            if number % 2:
                arena.fault("connections")
                await asyncio.to_thread(_end_connections, scene)
                back.append(("connections", time.monotonic()))
            else:
                arena.fault("restart")
                await asyncio.to_thread(_restart, scene)
                back.append(("restart", time.monotonic()))

    async def play(scene: RowScene) -> None:
        host = await arena.start_host(3)
        before = set(host.processes())
        await asyncio.gather(scene.stream(tier.rows, tier.seconds, rng), harm(scene))
        # There is something to run after the last one, too.
        await scene.insert([("", 0.0)] * 20)
        await scene.all_ended(tier.patience)
        if set(host.processes()) != before:
            scene.failures.append(f"processes were replaced: {before} became {host.processes()}")

    report = await over_databases(arena, tier, play, repeated=("leave", "fail"))
    starts = sorted(run.start for run in arena.ledger().attempts.values())
    for kind in ("connections", "restart"):
        took = [next((at - moment for at in starts if at > moment), 99.0) for name, moment in back if name == kind]
        report.facts[f"{kind}: until the first run"] = f"p50 {percentile(took, 0.5):.2f} s, max {max(took):.2f} s"
        report.require(max(took) <= _SOON * tier.slack, f"{kind}: the first run came after {max(took):.2f} s")
    return report


def _restart(scene: RowScene) -> None:
    """As ``pg_ctl restart -m immediate``."""
    assert scene.server is not None
    scene.server.stop(signal.SIGQUIT)
    scene.server.start()


def _end_connections(scene: RowScene) -> None:
    with scene.app.database.open().reading() as connection:
        connection.execute(sa.text(_TERMINATE))
