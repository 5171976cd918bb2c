"""Connections are cut all the time, of workers, keepers and the caller, while every job is awaited."""

from __future__ import annotations

import asyncio
import time
from random import Random

from aiotask.errors import JobExpired

from ..arena import Arena
from ..checker import examine, forgive_the_unlucky
from ..faults.kills import workers_die
from ..faults.storm import Storm
from ..features import send_features
from ..producer import Producer
from ..report import Report, percentile
from ..trial import Tier, trial

#: Jobs that are on their way at most.
_ABOARD = 2_000
_AT_ONCE = 200
_TICK = 0.02
#: Connections beyond one per cut one: what each process opens for the first time meanwhile, and a new worker.
_MORE, _PER_WORKER = 40, 8
#: Bytes of a result that is too large to be told: it is looked up.
_LARGE = 40_000


@trial(
    3,
    summary="CLIENT KILL every 50 ms, in turn to all normal clients, to all subscribers and to one by its id, while "
    "jobs are sent and awaited; now and then a worker dies too",
    passes=(
        "clean, and no job runs twice but after a death",
        "one queue entry per job, though sends were repeated",
        "a missed PUBLISH is made up within 1 s",
        "one new connection per cut one",
    ),
    short={"jobs": 2_000, "seconds": 5.0, "every": 0.05, "patience": 30.0, "slack": 20.0, "workers": (1.5, 2.5)},
    full={"jobs": 20_000, "seconds": 60.0, "every": 0.05, "patience": 60.0, "slack": 1.0, "workers": (3.0, 6.0)},
)
async def client_kill(arena: Arena, tier: Tier, rng: Random) -> Report:
    await asyncio.gather(arena.start_host(2), arena.start_host(2))
    producer = arena.producer()
    await producer.app.client.session().broker.open()
    storm = Storm(arena, rng, tier.every)
    until = time.monotonic() + tier.seconds
    await asyncio.gather(
        _stream(arena, producer, tier, rng), storm.rage(until), workers_die(arena, rng, tier.workers, until)
    )
    arena.tell("waiting for the last jobs")
    await producer.done(tier.patience)
    reconnects, entries = storm.reconnects, _entries(arena)
    report = await examine(arena, settle=tier.patience, undue=True)
    forgive_the_unlucky(arena, report)
    cut = storm.cut.total()
    report.facts["connections cut"] = f"{cut:,} {dict(storm.cut)}, opened again {reconnects:,}"
    # Calls that are one job have one entry. One whose connection was cut may come after its time, and then has none.
    jobs = len({sent.job for sent in producer.sent.values() if sent.verdict == "accepted"})
    expired = sum(isinstance(sent.error, JobExpired) for sent in producer.sent.values())
    report.facts["queue entries"] = f"{entries:,} for {jobs:,} accepted jobs"
    report.require(cut > storm.open, f"only {cut} connections were cut")
    allowed = cut + _MORE + _PER_WORKER * report.faults["worker"]
    report.require(reconnects <= allowed, f"{reconnects:,} connections were opened for {cut:,} that were cut")
    # A doubled entry is a doubled run, which is looked for above. Here a few may be more: a worker whose sync jobs take
    # longer than they did puts what it has claimed too much of behind the others.
    most = (jobs + report.ambiguous) * 1.01
    report.require(jobs - expired <= entries <= most, f"{entries:,} queue entries for {jobs:,} jobs")
    slowest = percentile(report.told, 1.0)
    # The callers hear nothing while their loop stands still.
    report.require(slowest <= 1.0 * tier.slack + max(arena.lags), f"an outcome was heard of only after {slowest:.2f} s")
    return report


async def _stream(arena: Arena, producer: Producer, tier: Tier, rng: Random) -> None:
    """So many jobs, evenly over the time."""
    tasks = arena.tasks
    began, count = time.monotonic(), 0
    while count < tier.jobs:
        # After a wait not all that is due at once: that would stand in the way of what arrives.
        due = min(tier.jobs, int((time.monotonic() - began) / tier.seconds * tier.jobs) + 1, count + _AT_ONCE)
        while count < due:
            count += 1
            chance = rng.random()
            if chance < 0.05:
                producer.send(tasks.blob, _LARGE)
            elif chance < 0.10:
                producer.send(tasks.nap, rng.uniform(0.0, 0.1))
            else:
                producer.send(tasks.noop if chance < 0.6 else tasks.sync_noop)
        send_features(producer, tasks, rng)
        arena.tell(f"{len(arena.faults):,} times, {count:,} jobs", count, tier.jobs)
        await producer.pace(_ABOARD)
        await asyncio.sleep(_TICK)


def _entries(arena: Arena) -> int:
    """Entries that were ever put into the lanes of fresh jobs, and of those that limits have admitted."""
    call = arena.server.call
    lanes = [f"{arena.prefix}q:default:{priority}" for priority in (*range(10), "g")]
    return sum(call("XINFO STREAM", lane)["entries-added"] for lane in lanes if call("EXISTS", lane))
