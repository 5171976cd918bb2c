"""Forks under load, of workers whose app starts threads, a loop and connections as it is imported."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import time
from collections import defaultdict
from contextlib import closing
from dataclasses import dataclass, field
from random import Random

from ..arena import Arena
from ..checker import examine
from ..hosts import Host
from ..producer import Producer
from ..report import Report, percentile
from ..trial import Tier, trial

#: Seconds from the fork of a child to its first job.
_READY = 5.0
#: By how much the supervisor's memory may grow between a tenth of the recycles and the end.
_GROWTH = 0.05
_EARLY = 0.1
_LOOK = 0.2
_ABOARD = 200


@trial(
    13,
    summary="worker processes are replaced again and again under load, with an app that starts threads, runs a loop "
    "and opens Redis and SQLite at import; the same app with --preload",
    passes=(
        "clean",
        "every child runs jobs within 5 s of its fork",
        "no connection is shared by two processes, random streams differ",
        "the supervisor's memory grows by less than 5 %, its descriptors stay",
        "--preload refuses it",
    ),
    short={"recycles": 10, "jobs": 5, "workers": 2, "slack": 4.0},
    full={"recycles": 500, "jobs": 20, "workers": 3, "slack": 1.0},
    module="tests.chaos.apps.forks",
    limits=(60.0, 600.0),
)
async def forks(arena: Arena, tier: Tier, rng: Random) -> Report:
    refused = await _preload(arena)
    host = await arena.start_host(tier.workers, "--max-jobs-per-child", str(tier.jobs), env={"CHAOS_FORKS": "1"})
    watch = _Watch(host, early=[_memory(host.pid)])
    watching = asyncio.create_task(watch.run())
    producer = arena.producer()
    born = await _recycle(arena, tier, rng, producer, watch)
    await producer.done(30.0)
    flat = await _as_many_as_before(host)
    await asyncio.sleep(_LOOK)
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching
    watch.late.append(_memory(host.pid))
    report = await examine(arena, undue=True)
    report.faults["recycle"] = born - tier.workers
    report.require(not refused, refused)
    report.require(flat, f"the supervisor kept {watch.fds[-1]} file descriptors, at its start it had {host.fds}")
    _judge_children(arena, report, tier)
    _judge_file(arena, report)
    watch.judge(report, tier)
    return report


async def _recycle(arena: Arena, tier: Tier, rng: Random, producer: Producer, watch: _Watch) -> int:
    """Jobs, until so many processes have been replaced; how many there were."""
    tasks = arena.tasks
    while (born := sum(1 for _ in arena.ledger_directory.iterdir())) < tier.recycles + tier.workers:
        for _ in range(10):
            producer.send(tasks.sync_use if rng.random() < 0.5 else tasks.use)
        watch.is_early = born - tier.workers <= tier.recycles * _EARLY
        arena.tell(f"{born:,} processes, {len(producer.sent):,} jobs", born, tier.recycles)
        await producer.pace(_ABOARD)
        await asyncio.sleep(0.01)
    return born


async def _preload(arena: Arena) -> str:
    """What is wrong with how a supervisor refuses to import this app before the fork; empty: nothing."""
    host = await arena.start_host(1, "--preload", env={"CHAOS_FORKS": "1"}, wait=False)
    code = await asyncio.to_thread(host.supervisor.wait, 30.0)
    host.killed = True
    for path in arena.ledger_directory.iterdir():
        path.unlink()
    said = "The app started a thread while it was imported" in host.supervisor.log
    return "" if code and said else f"--preload was not refused (exit code {code}):\n{host.supervisor.log}"


async def _as_many_as_before(host: Host) -> bool:
    """Whether the supervisor comes back to as many file descriptors as at its start."""
    deadline = time.monotonic() + 10.0
    while host.count_fds() > host.fds:
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.1)
    return True


def _judge_children(arena: Arena, report: Report, tier: Tier) -> None:
    ledger = arena.ledger()
    firsts: dict[int, float] = {}
    for run in ledger.attempts.values():
        firsts[run.pid] = min(run.start, firsts.get(run.pid, run.start))
    births = {note["pid"]: note for note in ledger.notes if "drawn" in note}
    ready = [firsts[pid] - (note["forked"] or note["at"]) for pid, note in births.items() if pid in firsts]
    idle = len(births) - len(ready)
    drawn = {note["drawn"] for note in births.values()}
    report.facts["fork to first job (s)"] = (
        f"p50 {percentile(ready, 0.5):.2f}, p99 {percentile(ready, 0.99):.2f}, max {max(ready, default=0):.2f}"
    )
    report.require(len(births) >= tier.recycles, f"{len(births)} processes imported the app, not {tier.recycles}")
    report.require(idle <= 2 * tier.workers, f"{idle} processes never ran a job")
    limit = _READY * tier.slack
    report.require(max(ready, default=limit) <= limit, f"a child ran its first job {max(ready, default=0):.2f} s late")
    report.require(len(drawn) == len(births), f"{len(births)} processes drew {len(drawn)} different numbers first")


def _judge_file(arena: Arena, report: Report) -> None:
    """Every run has written its row."""
    tokens = {token for token, run in arena.ledger().attempts.items() if run.outcome == "ok"}
    with closing(sqlite3.connect(arena.directory / arena.tasks.DATABASE)) as file:
        said = file.execute("PRAGMA integrity_check").fetchall()
        rows = {token for (token,) in file.execute("SELECT token FROM runs")}
    report.require(said == [("ok",)], f"integrity_check of the app's own file: {said[:3]}")
    report.require(tokens == rows, f"{len(tokens ^ rows)} rows of the app's own file are not those of its runs")


@dataclass
class _Watch:
    """Looks at the processes of a host again and again."""

    host: Host
    is_early: bool = True
    looks: int = 0
    #: What two processes had in common at the last look, and which; and for good.
    common: dict[str, set[int]] = field(default_factory=dict)
    shared: dict[str, set[int]] = field(default_factory=dict)
    #: Bytes of the supervisor after a tenth of the recycles, and at the end.
    early: list[int] = field(default_factory=list)
    late: list[int] = field(default_factory=list)
    fds: list[int] = field(default_factory=list)

    async def run(self) -> None:
        while True:
            await asyncio.sleep(_LOOK)
            await asyncio.to_thread(self._look)

    def _look(self) -> None:
        self.looks += 1
        owners: dict[str, set[int]] = defaultdict(set)
        for pid in self.host.processes():
            for socket in _sockets(pid):
                owners[socket].add(pid)
        common = {socket: pids for socket, pids in owners.items() if len(pids) > 1}
        # A child closes its supervisor's bell as its first act, and may be seen before it.
        if suspects := {socket for socket, pids in common.items() if self.common.get(socket) == pids}:
            for socket in suspects & _connected():
                self.shared[socket] = owners[socket]
        self.common = common
        self.fds.append(self.host.count_fds())
        if self.is_early:
            self.early[:] = [_memory(self.host.pid)]
        else:
            self.late.append(_memory(self.host.pid))

    def judge(self, report: Report, tier: Tier) -> None:
        report.require(not self.shared, f"connections of several processes: {dict(list(self.shared.items())[:5])}")
        before, after = max(self.early, default=0), max(self.late[-5:], default=0)
        growth = after / before - 1 if before else 0.0
        report.require(growth < _GROWTH * tier.slack, f"the supervisor grew from {before:,} to {after:,} bytes")
        report.facts["supervisor"] = (
            f"{before / 1e6:.1f} MB early, {after / 1e6:.1f} MB late ({growth:+.1%}), "
            f"{self.host.fds} file descriptors at its start, {max(self.fds, default=0)} at most ({self.looks} looks)"
        )


def _sockets(pid: int) -> set[str]:
    """Inode numbers of the sockets that a process has open."""
    found = set()
    folder = f"/proc/{pid}/fd"
    with contextlib.suppress(OSError):
        for fd in os.listdir(folder):
            with contextlib.suppress(OSError):
                target = os.readlink(f"{folder}/{fd}")
                if target.startswith("socket:["):
                    found.add(target[8:-1])
    return found


def _connected() -> set[str]:
    """Inode numbers of the sockets of this machine that are connected: neither listening nor bound alone."""
    found = set()
    for name, state, inode, connected in (("unix", 5, 6, "03"), ("tcp", 3, 9, "01"), ("tcp6", 3, 9, "01")):
        with contextlib.suppress(OSError), open(f"/proc/net/{name}") as file:
            for line in file.read().splitlines()[1:]:
                words = line.split()
                if words[state] == connected:
                    found.add(words[inode])
    return found


def _memory(pid: int) -> int:
    """Bytes that a process holds of its own; 0 where the system does not say. Mapped files come and go."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/status") as file:
        for line in file:
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    return 0
