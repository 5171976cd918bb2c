"""A transaction that began before all rows is open while they run: claims do not become slower with every row."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import sqlalchemy as sa

from ..arena import Arena
from ..report import Report
from ..rows import RowScene, no_postgres, over_databases
from ..trial import Tier, trial

#: Rows that a transaction inserts.
_AT_ONCE = 1_000


@trial(
    27,
    summary="a REPEATABLE READ transaction (on SQLite one that reads) is open while all rows run",
    passes=(
        "each row is final, and was changed by one run; the reader sees what it saw first",
        "PostgreSQL reads at most 300 index entries for a row, those of rows that have ended included",
        "the last fifth of the rows takes at most twice as long as the second fifth",
    ),
    # Once a second, claims look through the entries of a minute: their number grows with that of the rows.
    short={"rows": {"postgresql": 2_000}, "slack": 20.0, "databases": ("postgresql",), "patience": 60.0, "reads": 60},
    full={
        "rows": {"postgresql": 200_000, "sqlite": 20_000},
        "slack": 1.0,
        "databases": ("sqlite", "postgresql"),
        "patience": 60.0,
        "reads": 300,
    },
    module="tests.chaos.apps.rows",
    lacks=no_postgres,
    limits=(120.0, 900.0),
)
async def rows_snapshot(arena: Arena, tier: Tier, rng: Random) -> Report:
    async def play(scene: RowScene) -> None:
        count = tier.rows[scene.kind]
        await scene.insert([("", 0.0)] * 10)
        with scene.app.database.open().engine.connect() as reader:
            if scene.kind == "postgresql":
                reader = reader.execution_options(isolation_level="REPEATABLE READ")
            first = _count(scene, reader)
            for start in range(0, count, _AT_ONCE):
                await scene.insert([("", 0.0)] * min(_AT_ONCE, count - start))
                arena.tell(f"{scene.kind}: rows are inserted", start, count)
            await arena.start_host(2)
            await scene.all_ended(tier.patience)
            if _count(scene, reader) != first:
                scene.failures.append(f"{scene.kind}: the reader did not keep its snapshot")
            reader.rollback()

    def finished(scene: RowScene) -> None:
        _judge_pace(scene, tier)
        if scene.kind == "postgresql":
            _judge_reads(scene, tier.reads)

    return await over_databases(arena, tier, play, finished=finished)


def _count(scene: RowScene, reader: sa.Connection) -> int:
    models = (scene.module.Plain, scene.module.Async)
    return sum(reader.execute(sa.select(sa.func.count()).select_from(model)).scalar_one() for model in models)


def _judge_pace(scene: RowScene, tier: Tier) -> None:
    """The rows of each fifth took about as long as those of the others. The first one pays for the start."""
    starts = sorted(run.start for run in scene.arena.ledger().attempts.values() if run.id in scene.inserted)
    fifths = [starts[len(starts) * n // 5 - (n == 5)] for n in range(6)]
    took = [after - before for before, after in pairwise(fifths)]
    scene.facts["seconds by fifths of the rows"] = " ".join(f"{each:.2f}" for each in took)
    if took[-1] > 2.0 * tier.slack * took[1]:
        scene.failures.append(f"{scene.kind}: the last fifth took {took[-1]:.2f} s, the second one {took[1]:.2f} s")


def _judge_reads(scene: RowScene, most: int) -> None:
    """Entries of the index of rows that are ready, as the server has counted them since its workers have ended."""
    statement = "SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE indexrelname LIKE '%ready%'"
    with scene.app.database.open().reading() as connection:
        read = int(connection.execute(sa.text(statement)).scalar_one())
    a_row = read / len(scene.inserted)
    scene.facts["index entries read for a row"] = f"{a_row:.1f}"
    if not 1.0 <= a_row <= most:
        scene.failures.append(f"{a_row:.1f} index entries were read for a row, not 1 to {most}")
