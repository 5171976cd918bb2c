"""The server dies by SIGKILL, again and again, while jobs are sent and finished; its append-only file is all it keeps.

Three parts. ``always``: what the server has acknowledged is on the disk, so nothing may be missing. ``everysec``: the
promise is weaker, but a killed process shows little of that, since what it has written survives in the kernel; only a
machine that loses power shows the whole window. The third part imitates one: after the kill, what was written in
the last moments is cut off the file. Nobody can cut out of a disk what a real crash would lose, so this stands for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable
from dataclasses import dataclass
from random import Random

import redis

from aiotask.errors import JobLost

from ..arena import Arena
from ..checker import examine
from ..faults.powercut import AppendOnlyTail
from ..features import send_features
from ..hosts import Host
from ..producer import Producer, Sent
from ..report import Report
from ..trial import Tier, trial

#: Jobs that are on their way at most.
_ABOARD = 400
#: Seconds before a kill within which ``everysec`` may lose what was acknowledged.
_WINDOW = 2.0
_OPTIONS = ("--appendonly", "yes", "--appendfsync")


@dataclass(frozen=True)
class _Kill:
    """One of them; times are monotonic."""

    policy: str
    at: float
    #: When the server answered again.
    up: float
    #: Bytes that the imitated power cut took.
    cut: int


@trial(
    2,
    summary="SIGKILL to the server, again and again, while jobs are sent and finished: append-only always, everysec, "
    "and everysec with the last second cut off the file, as a machine crash would",
    passes=(
        "always: clean",
        "everysec: what is lost or done twice was acknowledged in the last 2 s before a kill",
        "no await hangs: its job is run again, or it ends with JobLost within 10 s",
        "consuming again within 5 s, no process restarted",
    ),
    # (policy, kills, jobs, seconds that a power cut takes, seconds over which the jobs are spread): far enough apart
    # that most of what ``everysec`` acknowledges lies outside of every window.
    short={
        "parts": (("always", 2, 800, 0.0, 0.0), ("everysec", 1, 400, 0.0, 0.0), ("everysec", 1, 600, 0.6, 1.0)),
        "down": (0.0, 0.3),
        "patience": 30.0,
    },
    full={
        "parts": (
            ("always", 20, 50_000, 0.0, 0.0),
            ("everysec", 8, 15_000, 0.0, 32.0),
            ("everysec", 8, 15_000, 1.0, 32.0),
        ),
        "down": (0.0, 1.5),
        "patience": 60.0,
    },
    server=(*_OPTIONS, "always"),
)
async def server_kill(arena: Arena, tier: Tier, rng: Random) -> Report:
    host = await arena.start_host(2)
    processes = sorted(host.processes())
    producer = arena.producer()
    kills: list[_Kill] = []
    tail = AppendOnlyTail(arena.server)
    try:
        for policy, count, jobs, cut, seconds in tier.parts:
            arena.server.options = (*_OPTIONS, policy)
            arena.server.call("CONFIG", "SET", "appendfsync", policy)
            # The longer the file, the longer the server is down: it is read from its beginning.
            with contextlib.suppress(redis.ResponseError):  # the server rewrites it already
                arena.server.call("BGREWRITEAOF")
            part = _Part(arena, producer, tail, tier, rng)
            await part.run(policy, count, jobs, cut, seconds)
            kills += part.kills
    finally:
        tail.close()
    arena.tell("waiting for the last jobs")
    await producer.done(tier.patience)
    restarted = _restarted(host, processes)
    report = await examine(arena, settle=tier.patience)
    report.require(not restarted, f"processes of the host changed: {restarted}")
    _forgive_the_window(arena, producer, report, kills)
    _forgive_the_half_written(arena, report)
    _measure(arena, producer, report, kills)
    return report


class _Part:
    """So many jobs under one policy, and the kills among them."""

    def __init__(self, arena: Arena, producer: Producer, tail: AppendOnlyTail, tier: Tier, rng: Random) -> None:
        self._arena = arena
        self._producer = producer
        self._tail = tail
        self._tier = tier
        self._rng = rng
        self._count = 0
        self.kills: list[_Kill] = []

    async def run(self, policy: str, count: int, jobs: int, cut: float, seconds: float) -> None:
        sending = asyncio.create_task(self._send(jobs, seconds))
        for number in range(1, count + 1):
            while self._count < jobs * number / (count + 1):
                await asyncio.sleep(0.002)
            await asyncio.sleep(self._rng.uniform(0.0, 0.1))
            await self._kill(policy, cut * self._rng.uniform(0.3, 1.0))
            self._arena.tell(f"{policy}: {number} kills, {self._count:,} jobs", self._count, jobs)
        await sending
        # What this part has left undone is not the next one's.
        while self._producer.on_their_way:
            await self._producer.pace(0)

    async def _kill(self, policy: str, cut: float) -> None:
        server = self._arena.server
        at = self._arena.fault("server").at
        await asyncio.to_thread(server.kill)
        gone = self._tail.cut(at, cut) if cut else 0
        await asyncio.sleep(self._rng.uniform(*self._tier.down))
        await asyncio.to_thread(server.start)
        self.kills.append(_Kill(f"{policy}, power cut" if cut else policy, at, time.monotonic(), gone))
        # There is one to be consumed, however many were lost.
        self._producer.send(self._arena.tasks.noop)

    async def _send(self, jobs: int, seconds: float) -> None:
        """Half of them async, half sync; some compute, some take a while, so that each kill hits jobs under way."""
        tasks, began = self._arena.tasks, time.monotonic()
        for number in range(jobs):
            if (early := began + seconds * number / jobs - time.monotonic()) > 0.01:
                await asyncio.sleep(early)
            self._count += 1
            if number % 20 == 0:
                self._producer.send(tasks.spin, 0.005)
            elif number % 100 == 7:
                self._producer.send(tasks.nap, self._rng.uniform(0.1, 0.5))
                send_features(self._producer, tasks, self._rng)
            else:
                self._producer.send(tasks.noop if number % 2 else tasks.sync_noop)
            await self._producer.pace(_ABOARD)


def _restarted(host: Host, before: list[int]) -> str:
    after = sorted(host.processes())
    return "" if after == before else f"{before} became {after}"


def _forgive_the_window(arena: Arena, producer: Producer, report: Report, kills: Iterable[_Kill]) -> None:
    """What ``everysec`` may cost: jobs and outcomes that were acknowledged shortly before a kill, and nothing else."""
    weak = [kill for kill in kills if kill.policy != "always"]
    runs = arena.ledger().by_job
    for finding, what in (("lost", "jobs"), ("doubled", "outcomes"), ("overlap", "claims")):
        count = len(getattr(report, finding))
        for policy in dict.fromkeys(kill.policy for kill in weak):
            # Until it was up again: what it had said before the kill may have been heard a moment later.
            spans = [(kill.at - _WINDOW, kill.up) for kill in weak if kill.policy == policy]
            excused = []
            for sent in producer.sent.values():
                # A job is acknowledged as it is sent, a claim before its run, an outcome after it.
                at = [sent.accepted_at, sent.ended_at, *(run.start for run in runs.get(sent.id, ()))]
                at += [run.end for run in runs.get(sent.id, ()) if run.end is not None]
                if any(begin <= each <= end for begin, end in spans for each in at):
                    excused.append(sent.id)
            report.forgive(finding, f"{policy}: {what} of the last {_WINDOW:g} s before a kill", excused)
        report.facts[f"{what} that a kill cost"] = count


def _forgive_the_half_written(arena: Arena, report: Report) -> None:
    """Redis cuts a transaction that was half written off its file after the last whole command, not before it. At the
    restart after that the rest comes to life, and adds to the history what was added anew since. Valkey 9 does not.
    """
    if "MULTI calls can not be nested" in (arena.server.directory / "log").read_text(errors="replace"):
        alike = [text.split()[0] for text in report.doubled if "outcomes [(" in text and "), (" not in text]
        report.forgive("doubled", "the same row twice: the server ran half of a transaction at a restart", alike)


def _measure(arena: Arena, producer: Producer, report: Report, kills: list[_Kill]) -> None:
    runs = arena.ledger().by_job
    ran = [sent for sent in producer.sent.values() if sent.verdict == "accepted" and sent.id in runs]
    starts = sorted((sent.accepted_at, runs[sent.id][0].start) for sent in ran)
    back = []
    for kill in kills:
        # Of a job that was sent after the kill: others may have been claimed before it.
        found = [start - kill.up for accepted, start in starts if accepted > kill.at and start > kill.at]
        back.append(max(0.0, min(found, default=float("inf"))))
    report.recovery["server"] = back
    report.require_recovery("server", 5.0, part=1.0)
    report.facts["killed"] = f"{len(kills)} times, down for {sum(kill.up - kill.at for kill in kills):.1f} s in all"
    report.facts["bytes cut off"] = sum(kill.cut for kill in kills)
    lost = [sent for sent in producer.sent.values() if isinstance(sent.error, JobLost)]
    report.facts["awaits that ended with JobLost"] = len(lost)
    late = max((_since_a_kill(sent, kills) for sent in lost), default=0.0)
    report.require(late <= 10.0, f"an await ended with JobLost {late:.1f} s after the server was back, not 10 s")


def _since_a_kill(sent: Sent, kills: list[_Kill]) -> float:
    return min((sent.ended_at - kill.up for kill in kills if kill.up <= sent.ended_at), default=0.0)
