"""Readers, workers, connections and the server die in turn, and a reader gets each item once and in order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

from aiotask import Stream
from aiotask.errors import AiotaskError, WorkerLost
from aiotask.job import Status

from ..arena import Arena
from ..checker import examine
from ..faults.kills import keepers_die, supervisors_die, workers_die
from ..ledger import Ledger
from ..producer import ANYTHING, TOKEN, Producer, Sent
from ..report import Report, percentile
from ..trial import Tier, trial

#: Deaths with which a job is given up.
_GIVEN_UP = 3


@trial(
    29,
    summary="streams of sync and async generators and progress beside them, while connections are cut, workers, "
    "keepers, supervisors and reading processes are killed, readers leave, and the server is killed (append-only file: "
    "always)",
    passes=(
        "clean; no progress and no address of a reader is left, and each stream has a time to live",
        "a reader gets 1..N, each once and in order, also where other processes go on",
        "progress ends with the last report",
        "a generator that its reader has left ends within 1 s, and its job is CANCELLED",
    ),
    short={
        "seconds": 5.0,
        "readers": 10,
        "items": 700,
        "cuts": (0.2, 0.5),
        "workers": (0.8, 1.5),
        "keepers": (1.5, 2.5),
        "supervisors": (2.0, 3.0),
        "kinds": ("service",),
        "processes": 1,
        "server": 0,
        "patience": 40.0,
        "slack": 15.0,
    },
    full={
        "seconds": 130.0,
        "readers": 24,
        "items": 3_000,
        "cuts": (0.05, 1.0),
        "workers": (0.5, 2.0),
        "keepers": (8.0, 15.0),
        "supervisors": (15.0, 25.0),
        "kinds": ("service", "supervisor"),
        "processes": 3,
        "server": 3,
        "patience": 90.0,
        "slack": 4.0,
    },
    module="tests.chaos.apps.streams",
    server=("--appendonly", "yes", "--appendfsync", "always"),
    limits=(120.0, 600.0),
)
async def streams(arena: Arena, tier: Tier, rng: Random) -> Report:
    await asyncio.gather(arena.start_host(2), arena.start_host(2))
    library = _Library(arena, tier, rng)
    until = time.monotonic() + tier.seconds
    await asyncio.gather(
        *(library.read_on(until) for _ in range(tier.readers)),
        *(library.read_in_processes(until) for _ in range(tier.processes)),
        _cut(arena, rng, tier, until),
        workers_die(arena, rng, tier.workers, until),
        keepers_die(arena, rng, tier.keepers, until),
        supervisors_die(arena, rng, tier.supervisors, until, workers=2, kinds=tier.kinds),
        _server_dies(arena, rng, tier),
    )
    arena.tell("waiting for the last jobs")
    await library.close(tier.patience)
    report = await examine(arena, settle=tier.patience)
    library.judge(report)
    return report


class _Library:
    """Streams, and those who read them in their different ways."""

    def __init__(self, arena: Arena, tier: Tier, rng: Random) -> None:
        self.arena, self.tier, self.rng = arena, tier, rng
        self.producer: Producer = arena.producer()
        #: Another client, which goes on where the first one has stopped.
        self.other = arena.load()
        self.failures: list[str] = []
        #: By id: streams that ended before their last item, as those do with which too many processes died.
        self.short: dict[str, str] = {}
        self.counts: dict[str, int] = {}
        #: Ids of streams that were left, by when (monotonic).
        self.left: dict[str, float] = {}

    def _make(self, expect: Any = TOKEN) -> tuple[Stream[int], int]:
        """A stream and how many items it has."""
        tasks, items = self.arena.tasks, self.rng.randrange(1, self.tier.items)
        task = (tasks.count, tasks.sync_count)[self.rng.random() < 0.5]
        stream = task.apply_async(items, self.rng.choice((0.0, 0.0, 0.001)))
        # Awaited by its reader.
        self.producer.know(stream, expect=expect)
        return stream, items

    async def read_on(self, until: float) -> None:
        """Read one stream after the other, each in some way."""
        ways: tuple[Callable[[], Awaitable[None]], ...] = (
            *(self.iterate, self.gather, self.hand_over, self.leave, self.follow_progress),
        )
        while time.monotonic() < until:
            way = self.rng.choice(ways)
            self.counts[way.__name__] = self.counts.get(way.__name__, 0) + 1
            self.arena.tell(f"{len(self.arena.faults):,} faults, {sum(self.counts.values()):,} streams")
            with contextlib.suppress(AiotaskError):
                await way()

    def _compare(self, stream: Stream[int], items: int, seen: list[int]) -> None:
        if seen == list(range(1, len(seen) + 1)) and len(seen) < items:
            self.short[stream.id] = f"{stream.id}: only {len(seen)} of {items} items arrived"
        elif seen != list(range(1, items + 1)):
            wrong = next((n for n, item in enumerate(seen, 1) if n != item), len(seen) + 1)
            self.failures.append(f"{stream.id}: {len(seen)} of {items} items arrived, and number {wrong} is wrong")

    async def iterate(self) -> None:
        stream, items = self._make()
        is_slow = self.rng.random() < 0.2
        seen = []
        async for item in self._whole(stream, stream):
            seen.append(item)
            if is_slow and item % 100 == 0:
                await asyncio.sleep(0.05)
        self._compare(stream, items, seen)

    async def gather(self) -> None:
        stream, items = self._make()
        async with self._given_up(stream):
            self._compare(stream, items, await stream)

    async def hand_over(self) -> None:
        """Two clients in turn, each some items, sometimes from further back."""
        stream, items = self._make()
        seen: list[int] = []
        await stream.sent()
        while True:
            app = self.rng.choice((self.arena.tasks, self.other)).app
            stop = len(seen) + self.rng.randrange(1, 400)
            async for number, item in self._whole(stream, app.stream(stream.id).items(after=len(seen))):
                if number != len(seen) + 1:
                    self.failures.append(f"{stream.id}: number {number} came after {len(seen)}")
                seen.append(item)
                if number == stop:
                    break
            else:
                break
        self._compare(stream, items, seen)

    async def leave(self) -> None:
        """The generator is to end."""
        tasks = self.arena.tasks
        task = (tasks.count, tasks.sync_count)[self.rng.random() < 0.5]
        stream = task.apply_async(100_000, 0.0)
        self.producer.know(stream, expect=ANYTHING)
        items, stop = aiter(stream), self.rng.randrange(1, 500)
        try:
            async for item in self._whole(stream, items):
                if item == stop:
                    break
        finally:
            self.left[stream.id] = time.monotonic()
            await items.aclose()

    async def follow_progress(self) -> None:
        steps = self.rng.randrange(50, 400)
        result = self.arena.tasks.steps.apply_async(steps)
        self.producer.know(result, expect=TOKEN)
        async with self._given_up(result):
            last, heard = 0.0, time.monotonic()
            async for progress in result.progress():
                last, heard = progress.current, time.monotonic()
            await result
            # Nothing keeps the last report for a reader that heard of neither it nor the end.
            if last != steps and not self._was_deaf(heard):
                self.failures.append(f"{result.id}: the last progress was {last:g} of {steps}")

    def _was_deaf(self, since: float) -> bool:
        """Whether readers were cut off from what is told in the meantime, or shortly before."""
        return any(
            fault.at > since - 1.0 and fault.kind in ("pubsub connections", "server") for fault in self.arena.faults
        )

    async def _whole(self, stream: Any, items: Any) -> Any:
        """The same, and an error is noted, unless too many processes died with the job."""
        async with self._given_up(stream):
            async for item in items:
                yield item

    @contextlib.asynccontextmanager
    async def _given_up(self, result: Any) -> Any:
        try:
            yield
        except WorkerLost:
            raise
        except AiotaskError as error:
            self.failures.append(f"{result.id}: its reader got {error!r}")
            raise

    async def read_in_processes(self, until: float) -> None:
        """Processes that read a stream are killed one after the other, until one has read its end."""
        number = 0
        while time.monotonic() < until:
            tasks = self.arena.tasks
            items = self.tier.items
            stream = (tasks.count, tasks.sync_count)[number % 2].apply_async(items, 0.002)
            number += 1
            self.producer.know(stream, expect=TOKEN)
            path = self.arena.directory / f"read-{stream.id}"
            self.counts["processes"] = self.counts.get("processes", 0) + 1
            while await self._read_and_die(stream.id, path, until):
                pass
            if path.exists():
                self._compare(stream, items, [int(line.split()[1]) for line in path.read_bytes().splitlines()])

    async def _read_and_die(self, id: str, path: Any, until: float) -> bool:
        """One process that reads; whether it was killed before the end. After that moment it is not."""
        before = path.stat().st_size if path.exists() else 0
        process = await asyncio.to_thread(
            subprocess.Popen,
            [sys.executable, "-m", "tests.chaos.apps.stream_reader", id, str(path)],
            env={**os.environ, **self.arena.environment()},
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        # Some time after it has read something: a process takes a while to begin.
        while process.poll() is None and (not path.exists() or path.stat().st_size == before):
            await asyncio.sleep(0.02)
        await asyncio.sleep(self.rng.uniform(0.0, 0.5))
        if time.monotonic() > until:
            await asyncio.to_thread(process.wait)
        if process.poll() is not None:
            return False
        process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(process.wait)
        self.arena.fault("reader", [process.pid])
        return True

    async def close(self, patience: float) -> None:
        """Wait until the generators that were left have ended."""
        await self.producer.done(patience)
        deadline = time.monotonic() + patience
        while self._open(self.arena.ledger()) and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
        self.failures += [f"{id}: its generator goes on without a reader" for id in self._open(self.arena.ledger())]
        await self.other.app.client.close()

    def _open(self, ledger: Ledger) -> list[str]:
        runs = [run for id in self.left for run in ledger.by_job.get(id, ()) if run.end is None]
        return [run.id for run in runs if self.arena.deaths.before(run.pid, run.start) is None]

    def judge(self, report: Report) -> None:
        runs = self.arena.ledger().by_job
        lost = {
            sent.id
            for sent in self.producer.sent.values()
            if sum(map(self.arena.deaths.took, runs.get(sent.id, ()))) >= _GIVEN_UP
        }
        report.forgive("wrong", "three processes died with it, so it was given up", lost)
        # What may not have been sent has nothing to read.
        unsure = {sent.id for sent in self.producer.sent.values() if sent.verdict != "accepted"}
        report.failures += [text for text in self.failures if text.partition(":")[0] not in unsure]
        report.failures += [text for id, text in self.short.items() if id not in lost | unsure]
        took = []
        for id, at in self.left.items():
            status = [outcome.status for _, outcome in report.history.get(id, ())]
            sent: Sent = self.producer.sent[id]
            fine = status == [Status.CANCELLED] or sent.verdict != "accepted" or id in lost
            report.require(fine, f"{id} was left by its reader, and ended as {status}")
            took += [max(0.0, run.end - at) for run in runs.get(id, ())[-1:] if run.end is not None]
        slowest = percentile(took, 0.99)
        report.facts["a generator ends after its reader has left (s)"] = (
            f"p50 {percentile(took, 0.5):.3f}, p99 {slowest:.3f}"
        )
        limit = 1.0 * self.tier.slack
        report.require(
            slowest <= limit, f"a generator ended {slowest:.1f} s after its reader had left, not {limit:g} s"
        )
        report.facts["streams by way of reading"] = ", ".join(f"{way} {n}" for way, n in sorted(self.counts.items()))


async def _cut(arena: Arena, rng: Random, tier: Tier, until: float) -> None:
    """The server ends connections: in turn those that listen, and all others."""
    kinds = ("pubsub", "normal")
    number = 0
    while time.monotonic() < until:
        await asyncio.sleep(rng.uniform(*tier.cuts))
        with contextlib.suppress(Exception):  # the server may be away
            arena.server.call("CLIENT", "KILL", "TYPE", kinds[number % 2])
            arena.fault(f"{kinds[number % 2]} connections")
        number += 1


async def _server_dies(arena: Arena, rng: Random, tier: Tier) -> None:
    for _ in range(tier.server):
        await asyncio.sleep(rng.uniform(0.6, 1.0) * tier.seconds / (tier.server + 1))
        arena.fault("server")
        await asyncio.to_thread(arena.server.kill)
        await asyncio.sleep(rng.uniform(0.1, 0.5))
        await asyncio.to_thread(arena.server.start)
