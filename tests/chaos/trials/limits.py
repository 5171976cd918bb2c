"""Limits under fire: never more jobs at once than a limit allows, and no slot is lost, whoever dies."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections import defaultdict
from dataclasses import dataclass, field
from random import Random

from aiotask.errors import AiotaskError
from aiotask.keeper.lease import LEASE
from aiotask.values.limit import burst_of

from ..arena import Arena
from ..checker import examine, forgive_the_unlucky
from ..faults.kills import keepers_die, supervisors_die, workers_die
from ..ledger import Attempt, Ledger
from ..limits import excess_of_rate, most_at_once, spans_of, too_many
from ..producer import ANYTHING, Producer
from ..report import Report
from ..trial import Tier, trial

_TICK = 0.05
#: Parts of the jobs that fail once or twice, are cancelled, and have a rate instead.
_FAIL, _CANCEL, _RATED = 0.1, 0.02, 0.1
#: Seconds in which the rules hold again after keys of limits were deleted.
_HEAL = 2.0
#: What is deleted by hand, or lost, in turn. Without slots or ``admitted``, too many may be admitted, once.
_DAMAGES = ("scripts", "open", "ring:*", "slots:*", "admitted")
_SAYS = "of the jobs that their limits have admitted had no record"


@trial(
    28,
    summary="100 keys, 2 jobs of each and 60 in all at once, a rate beside it, 10 % retries, 2 % cancels: SIGKILL to "
    "workers, keepers, supervisors and hosts, TERM to workers, and keys of limits deleted by hand",
    passes=(
        "clean; no slot, line or turn is left",
        "never more jobs at once in living processes than the limit allows, of a key and in all",
        "in any T seconds at most rate * T + burst jobs start, and what may start late",
        "after keys were deleted by hand it goes on within 2 s; without `admitted` too many start at most once, and "
        "the log says so",
    ),
    short={
        "jobs": 1_500,
        "keys": 30,
        "in_all": 20,
        "seconds": 5.0,
        "workers": (0.5, 1.0),
        "terms": (0.7, 1.2),
        "keepers": (1.0, 2.0),
        "supervisors": (1.5, 2.5),
        "kinds": ("service", "supervisor"),
        "late": 2.0,
        "damages": (),
        "patience": 40.0,
        "slack": 15.0,
    },
    full={
        "jobs": 40_000,
        "keys": 100,
        "in_all": 60,
        "seconds": 130.0,
        "workers": (0.3, 1.0),
        "terms": (1.0, 3.0),
        "keepers": (8.0, 15.0),
        "supervisors": (12.0, 16.0),
        "kinds": ("host", "supervisor", "service"),
        "late": 1.0,
        "damages": _DAMAGES * 2,
        "patience": 90.0,
        "slack": 2.0,
    },
    module="tests.chaos.apps.limits",
    limits=(120.0, 600.0),
)
async def limits(arena: Arena, tier: Tier, rng: Random) -> Report:
    arena.variables["CHAOS_IN_ALL"] = str(tier.in_all)
    await asyncio.gather(arena.start_host(2), arena.start_host(2))
    traffic = _Traffic(arena, arena.producer(), tier, rng)
    until = time.monotonic() + tier.seconds
    await asyncio.gather(
        traffic.flow(tier.jobs, tier.seconds),
        workers_die(arena, rng, tier.workers, until),
        workers_die(arena, rng, tier.terms, until, signal.SIGTERM),
        keepers_die(arena, rng, tier.keepers, until),
        supervisors_die(arena, rng, tier.supervisors, until, workers=2, kinds=tier.kinds),
    )
    arena.tell("waiting for the last jobs")
    await traffic.producer.done(tier.patience)
    for damage in tier.damages:
        await traffic.survive(damage)
    report = await examine(arena, settle=tier.patience)
    forgive_the_unlucky(arena, report)
    _judge(arena, tier, traffic, report)
    report.require_recovery("worker", 1.0 * tier.slack)
    report.require_recovery("host", LEASE + 2.0)
    return report


@dataclass
class _Traffic:
    """Sends limited jobs, and damages what the server knows of limits."""

    arena: Arena
    producer: Producer
    tier: Tier
    rng: Random
    #: Each damage: what, and when (monotonic).
    damages: list[tuple[str, float]] = field(default_factory=list)

    async def flow(self, jobs: int, seconds: float) -> None:
        """So many jobs, evenly."""
        began, count, cancels = time.monotonic(), 0, set[asyncio.Task[None]]()
        while count < jobs:
            due = min(jobs, int((time.monotonic() - began) / seconds * jobs) + 1)
            while count < due:
                count += 1
                if cancel := self._send():
                    cancels.add(cancel)
            self.arena.tell(f"{len(self.arena.faults):,} faults, {count:,} jobs", count, jobs)
            await self.producer.pace(3_000)
            await asyncio.sleep(_TICK)
        await asyncio.gather(*cancels)

    def _send(self, seconds: float = 0.0) -> asyncio.Task[None] | None:
        tasks, rng = self.arena.tasks, self.rng
        if rng.random() < _RATED:
            self.producer.send(tasks.call)
            return None
        key = f"key {rng.randrange(self.tier.keys)}"
        fails = rng.choice((1, 2)) if rng.random() < _FAIL else 0
        # Async ones, of which a process runs many at once, reach the numbers of the limit.
        task = tasks.sync_render if rng.random() < 0.1 else tasks.render
        call = (key, seconds or rng.uniform(0.005, 0.06), fails)
        if rng.random() > _CANCEL:
            self.producer.send(task, *call)
            return None
        result = task.apply_async(*call)
        self.producer.know(result, expect=ANYTHING, awaited=True)
        return asyncio.ensure_future(_cancel(result, rng.uniform(0.0, 0.5)))

    async def survive(self, damage: str) -> None:
        """Delete something while jobs run and wait, and wait for what comes of it."""
        self.arena.tell(f"without {damage}")
        for _ in range(400):
            self._send(self.rng.uniform(0.3, 0.6))
        while self.arena.server.call("SCARD", f"{self.arena.prefix}slots:shared") < self.tier.in_all / 2:
            await asyncio.sleep(_TICK)
        self.damages.append((damage, self.arena.fault(f"lost {damage}").at))
        self._lose(damage)
        await self.producer.done(self.tier.patience)

    def _lose(self, damage: str) -> None:
        call, prefix = self.arena.server.call, self.arena.prefix
        if damage == "scripts":
            call("SCRIPT", "FLUSH")
        elif damage.endswith("*"):
            pattern = (prefix + damage).replace("{", r"\{").replace("}", r"\}")
            if keys := call("KEYS", pattern):
                call("DEL", *keys)
        else:
            call("DEL", prefix + damage)


async def _cancel(result: object, after: float) -> None:
    await asyncio.sleep(after)
    with contextlib.suppress(AiotaskError):
        await result.cancel()  # type: ignore[attr-defined]


def _judge(arena: Arena, tier: Tier, traffic: _Traffic, report: Report) -> None:
    ledger = arena.ledger()
    by_key: dict[str, list[Attempt]] = defaultdict(list)
    for run in ledger.attempts.values():
        if run.task.endswith("render"):
            by_key[run.key].append(run)
    every = [run for runs in by_key.values() for run in runs]
    each = arena.tasks.EACH
    unwatched = [at for damage, at in traffic.damages if damage in ("slots:*", "admitted")]
    for what, runs, most in (*((key, runs, each) for key, runs in by_key.items()), ("all keys", every, tier.in_all)):
        moments = too_many(spans_of(arena, runs), most)
        bad = [moment for moment in moments if not any(at <= moment <= at + _HEAL for at in unwatched)]
        report.require(not bad, f"{what}: more than {most} at once, at {bad[:3]}")
    of_keys = [most_at_once(spans_of(arena, runs)) for runs in by_key.values()]
    report.facts["most at once, of a key and in all"] = f"{max(of_keys)}, {most_at_once(spans_of(arena, every))}"
    _judge_rate(arena, ledger, tier, report)
    starts = sorted(run.start for run in every)
    for damage, at in traffic.damages:
        took = next(start for start in starts if start > at) - at
        report.require(took <= _HEAL, f"without {damage} nothing started for {took:.1f} s, not {_HEAL:g} s")
    if "admitted" in tier.damages:
        report.require(_SAYS in arena.logs(), "no log says that `admitted` was lost")


def _judge_rate(arena: Arena, ledger: Ledger, tier: Tier, report: Report) -> None:
    """What runs again after a death takes no token."""
    starts = [runs[0].start for runs in ledger.by_job.values() if runs[0].task.endswith(":call")]
    rate = arena.tasks.RATE
    excess = excess_of_rate(starts, rate, burst_of(rate), tier.late)
    report.facts["starts below what the rate allows"] = f"{-excess:.1f} of {len(starts)}"
    report.require(excess <= 0, f"in a time {excess:.1f} more jobs started than {rate}/s allows")
