"""Clocks that are wrong, drift and step: the server's, which says what is due, and those of the hosts."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass
from importlib.util import find_spec
from random import Random
from typing import Any

from aiotask.errors import JobExpired
from aiotask.keeper.lease import LEASE

from ...history import recorded
from ..arena import Arena
from ..checker import examine
from ..faults.clock import Clock, build, when
from ..hosts import Host
from ..ledger import Attempt, Ledger
from ..limits import excess_of_rate
from ..producer import Producer, Sent
from ..report import Report
from ..residue import left_behind
from ..timetable import EVERY, Timetable
from ..trial import Tier, trial

_HOUR = 3600.0
#: Seconds by which a job may come late: at any time, and for each time that the server's clock was set back meanwhile.
_LATE = 1.0
_LATE_PER_STEP = 1.5
#: Clocks are read at two places.
_TOUCH = 0.02
#: A duration below zero, as a log line would show it.
_NEGATIVE = re.compile(r"(?<![\w.-])-\d+(\.\d+)? ?(ms|s|m|h)\b")


@trial(
    9,
    summary="clocks 1 h ahead, 1 h behind, drifting and stepping: the server's and those of three hosts, while delayed "
    "jobs, retries and jobs with an eta wait, schedules run, jobs expire, a rate holds jobs back, and keepers die",
    passes=(
        "clean; each due job once, with three keepers",
        "delay and retry: after so many seconds of the server's clock, and not later because it was set back",
        "eta: at that moment of the server's clock",
        "each moment of a schedule runs once, none of a calendar is missed, and steps go on",
        "what expires does so by the server's clock; a rate holds, and lets go on, whatever the clock does",
        "no host counts as dead that is none, and a dead one does within the lease + 2 s",
        "no duration is negative; a result lives as long as its TTL says",
    ),
    short={"phases": ("apart", "ahead", "back", "forward"), "jobs": 5, "wait": 1.0, "deaths": False},
    full={
        "phases": ("apart", "ahead", "back", "forward", "fast", "slow", "ahead", "hosts drift", "flutter", "apart"),
        "jobs": 40,
        "wait": 3.0,
        "deaths": True,
    },
    module="tests.chaos.apps.clocks",
    limits=(90.0, 480.0),
    lacks=lambda: "" if find_spec("cronsim") else "the package cronsim is not installed",
)
async def clocks(arena: Arena, tier: Tier, rng: Random) -> Report:
    library = await asyncio.to_thread(build, arena.directory)
    if library is None:
        report = Report()
        report.facts["not performed"] = "this needs Linux and a C compiler"
        return report
    town = _Town(arena, tier, rng, [Clock(library, arena.directory / f"clock-{n}") for n in range(4)])
    await town.open()
    for phase in tier.phases:
        await town.live_through(phase)
    buried = arena.logs().count("has shown no sign of life")
    town.check(not buried, f"{buried} hosts counted as dead that were not")
    if tier.deaths:
        await town.lose_hosts()
    await town.let_results_expire()
    await town.close()
    # What the server has as history is the witness; only then it is recorded.
    report = await examine(arena, settle=30.0, stop=False, undue=not tier.deaths, keys=(r"declared:.*", "declarers"))
    report.forgive("phantom", "runs of schedules", [id for id in arena.ledger().by_job if id.startswith("run-")])
    await town.record()
    report.residue += await left_behind(arena)
    report.told.clear()
    town.judge(report)
    if tier.deaths:
        report.require_recovery("host", LEASE + 2.0)
    return report


@dataclass(frozen=True)
class _Timed:
    """A job with a time: ``delay`` or ``again`` (seconds), or ``eta`` (a moment of the server's clock)."""

    sent: Sent
    kind: str
    time: float
    phase: str


class _Town:
    """A server and three hosts, each with a clock of its own."""

    def __init__(self, arena: Arena, tier: Tier, rng: Random, clocks: list[Clock]) -> None:
        self.arena, self.tier, self.rng = arena, tier, rng
        self.clock, *self.clocks = clocks
        self.timed: list[_Timed] = []
        self.failures: list[str] = []
        self.facts: dict[str, Any] = {}
        self.phase = ""
        self.hosts: list[Host] = []
        self._running: list[asyncio.Task[None]] = []

    def check(self, condition: object, text: str) -> None:
        if not condition:
            self.failures.append(text)

    async def open(self) -> None:
        arena = self.arena
        server = arena.server
        server.environment = self.clock.environment
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.start)
        # Some servers look at the clock only now and then.
        self.clock.step(_HOUR)
        await self._until(lambda: int(server.call("TIME")[0]) > time.time() + _HOUR / 2, "the server sees the step")
        self.clock.step(-_HOUR)
        await self._until(lambda: int(server.call("TIME")[0]) < time.time() + _HOUR / 2, "the server sees the step")
        arena.keep_history()
        for clock, offset in zip(self.clocks, (_HOUR, -_HOUR, 0.0), strict=True):
            clock.step(offset)
        self.hosts += await asyncio.gather(*(arena.start_host(1, env=clock.environment) for clock in self.clocks))
        self.producer: Producer = arena.producer()
        self.timetable = Timetable(arena.app, arena.tasks.tick)
        await self.timetable.set()

    async def close(self) -> None:
        """Nothing is due any more."""
        await self.timetable.remove()
        await self.producer.done(30.0)

    # ---- phases

    async def live_through(self, phase: str) -> None:
        """Jobs are sent, clocks change while they wait, and all of them have to come."""
        self.phase = phase
        self.arena.tell(phase)
        acts: dict[str, Callable[[float], Awaitable[None]]] = {
            "apart": self._apart,
            "ahead": self._ahead,
            "back": self._back,
            "forward": self._forward,
            "fast": lambda wait: self._drift(0.5, wait),
            "slow": lambda wait: self._drift(-0.5, wait),
            "hosts drift": self._hosts_drift,
            "flutter": self._flutter,
        }
        await acts[phase](self.tier.wait)

    def _send(self, kind: str, seconds: float, count: int | None = None) -> None:
        """Jobs for so many seconds from now."""
        tasks = self.arena.tasks
        for _ in range(count or self.tier.jobs):
            if kind == "delay":
                sent = self.producer.send(tasks.noop.options(delay=seconds))
            elif kind == "eta":
                seconds_then = self.clock.reads() + seconds
                sent = self.producer.send(tasks.sync_noop.options(eta=seconds_then))
                self.timed.append(_Timed(sent, kind, seconds_then, self.phase))
                continue
            else:
                sent = self.producer.send(tasks.again, seconds)
            self.timed.append(_Timed(sent, kind, seconds, self.phase))

    def _send_all(self, wait: float) -> None:
        for kind in ("delay", "eta", "again"):
            self._send(kind, wait)

    async def _come(self) -> None:
        """Return when nothing but what waits for a far moment is on its way."""
        await self.producer.pace(sum(self._is_far(each) and not each.sent.ended for each in self.timed))

    def _is_far(self, timed: _Timed) -> bool:
        return timed.time - (self.clock.reads() if timed.kind == "eta" else 0.0) > 600

    async def _apart(self, wait: float) -> None:
        """Hosts 1 h ahead and behind; the server is right."""
        self._send_all(wait)
        await self._come()

    async def _ahead(self, wait: float) -> None:
        """The server is an hour ahead for a while: a calendar of minutes has missed an hour, and is silent then."""
        tasks, due = self.arena.tasks, max(59, self._runs("all"))
        for task in (tasks.noop, tasks.sync_noop):
            far = task.options(eta=self.clock.reads() + 2 * _HOUR, expires=_HOUR / 2)
            self.producer.send(far, expect=JobExpired)
            self.producer.send(task.options(delay=_HOUR / 2, expires=3 * _HOUR))
        for seconds in (_HOUR, -_HOUR):
            # At the time of the step, more of them wait than a second lets start.
            for _ in range(2 * tasks.RATE):
                self.producer.send(tasks.call)
            await asyncio.sleep(wait / 2)
            for host in self.hosts[: 1 if seconds > 0 else 2]:
                host.kill_keeper()
            self._step(self.clock, seconds)
            await self._until(lambda: self._runs("all") >= due, "the missed runs of an hour come")
            steps = self._runs("step")
            await self._until(lambda n=steps: self._runs("step") > n + 1, "a step goes on")  # type: ignore[misc]
        await self._come()

    def _runs(self, name: str) -> int:
        return len(self.timetable.runs(self.arena.ledger(), name))

    async def _back(self, wait: float) -> None:
        """The server's clock is set back while jobs wait; hosts' clocks are, while jobs run."""
        self._send("delay", wait)
        self._send("again", wait)
        # Due in a moment that comes again only in an hour.
        self._send("eta", wait, 3)
        self._send("delay", _HOUR / 2, 3)
        for task in (self.arena.tasks.nap, self.arena.tasks.sync_nap) * 3:
            self.producer.send(task, wait)
        await asyncio.sleep(wait / 2)
        self._step(self.clock, -_HOUR)
        for clock in self.clocks:
            self._step(clock, -_HOUR)
        # Sent after it: nothing of that may count for them.
        self._send("delay", wait)
        self._send("again", wait)
        await self._come()

    async def _forward(self, wait: float) -> None:
        """What waited for half an hour, and for a moment that had come already, is due at once."""
        self._send("delay", _HOUR / 2, 3)
        self._send("again", _HOUR / 2, 3)
        await asyncio.sleep(wait / 2)
        self._step(self.clock, _HOUR)
        for clock in self.clocks:
            self._step(clock, _HOUR)
        self._send_all(wait)
        await self.producer.pace(0)

    async def _drift(self, rate: float, wait: float) -> None:
        self.clock.drift(rate)
        self.arena.fault("drift")
        self._send_all(wait)
        await self._come()
        self.clock.drift(0.0)

    async def _hosts_drift(self, wait: float) -> None:
        """Quick and slow hosts, which cross each other."""
        for clock, rate in zip(self.clocks, (-0.9, 5.0, 0.5), strict=True):
            clock.drift(rate)
        self.arena.fault("drift")
        self._send_all(wait)
        for task in (self.arena.tasks.nap, self.arena.tasks.sync_nap) * 3:
            self.producer.send(task, wait)
        await self._come()
        for clock in self.clocks:
            clock.drift(0.0)

    async def _flutter(self, wait: float) -> None:
        """Every clock steps to and fro all the time."""
        until = time.monotonic() + 4 * wait
        while time.monotonic() < until:
            self._send("delay", wait, 5)
            self._send("again", wait, 5)
            for clock in (self.clock, *self.clocks):
                self._step(clock, self.rng.choice((-_HOUR, -30.0, -3.0, 3.0, 30.0, _HOUR)))
            await asyncio.sleep(self.rng.uniform(0.1, 0.6))
        await self._come()

    def _step(self, clock: Clock, seconds: float) -> None:
        self.arena.fault("step")
        clock.step(seconds)

    async def lose_hosts(self) -> None:
        """A host dies as the clocks step; its jobs go to others after the lease."""
        for seconds in (-_HOUR, _HOUR):
            await self._occupy(self.hosts[-1])
            self.hosts.pop().kill_all()
            for clock in (self.clock, *self.clocks):
                self._step(clock, seconds)
            await self.producer.pace(0)

    async def _occupy(self, host: Host) -> None:
        """Send long jobs, one at a time, until one runs on this host.

        The server gives a new job to the consumer that has waited longest, so each host has its turn; jobs that are
        sent together may all go to one host.
        """
        naps: list[Sent] = []

        def is_busy() -> bool:
            naps.append(self.producer.send(self.arena.tasks.nap, 4.0))
            return self._run_on(host, naps)

        await self._until(is_busy, "a job runs on the host", every=0.1)

    def _run_on(self, host: Host, sent: list[Sent]) -> bool:
        pids, ids = set(host.workers()), {each.id for each in sent}
        return any(run.pid in pids and run.id in ids for run in self.arena.ledger().running("nap"))

    async def _until(self, condition: Callable[[], bool], what: str, every: float = 0.02) -> None:
        deadline = time.monotonic() + 10.0
        while not condition():
            if time.monotonic() > deadline:
                self.failures.append(f"waited in vain until {what}")
                return
            await asyncio.sleep(every)

    async def let_results_expire(self) -> None:
        """A result is there until its TTL is over by the server's clock."""
        ttl, server = 1.0, self.arena.server
        sent = self.producer.send(self.arena.tasks.fleeting)
        await self.producer.pace(0)
        key = f"{self.arena.prefix}r:{sent.id}"
        left = server.call("PTTL", key)
        self.check(0 < left <= ttl * 1000, f"a result with a TTL of {ttl:g} s lives {left} ms")
        began = time.monotonic()
        await self._until(lambda: not server.call("EXISTS", key), "a result is gone")
        lived = self.clock.passed(sent.accepted_at, time.monotonic())
        self.check(lived >= ttl, f"a result with a TTL of {ttl:g} s was gone after {lived:.2f} s")
        self.facts["result TTL"] = f"{ttl:g} s; gone {time.monotonic() - began:.2f} s after its await"

    # ---- judging

    async def record(self) -> None:
        """Have a host whose clock is an hour behind record all that has happened, and look at the rows."""
        self.clocks[1].step(-_HOUR)
        path = self.arena.directory / "history.db"
        await self.arena.start_host(1, "--result-db", str(path), env=self.clocks[1].environment)
        wanted = sum(sent.verdict == "accepted" for sent in self.producer.sent.values())
        wanted += sum(self._runs(name) for name in ("step", "all", "once"))
        await self._until(lambda: recorded(path) >= wanted, f"{wanted} jobs are recorded ({recorded(path)} are)")
        with closing(sqlite3.connect(path)) as rows:
            (bad,) = rows.execute("SELECT count(*) FROM jobs WHERE finished_at < started_at").fetchone()
        self.check(not bad, f"{bad} jobs ended before they began by the history")
        self.facts["history"] = f"{recorded(path)} rows"

    def judge(self, report: Report) -> None:
        runs = self.arena.ledger().by_job
        late: dict[str, float] = {}
        for timed in self.timed:
            mine = runs.get(timed.sent.id, [])
            wanted = 2 if timed.kind == "again" else 1
            name = f"{timed.phase}: {timed.kind} {timed.sent.id}"
            self.check(len(mine) == wanted, f"{name} ran {len(mine)} times, not {wanted}")
            if len(mine) >= wanted:
                lateness = self._lateness(timed, mine, name)
                key = f"{timed.phase}, {timed.kind}"
                late[key] = max(late.get(key, 0.0), lateness)
        for sent in self.producer.sent.values():
            if (outcome := sent.outcome) is not None and outcome.started_at:
                took = outcome.finished_at - outcome.started_at
                self.check(0 <= took < 60, f"{sent.id} took {took:.1f} s by its outcome")
        if found := _NEGATIVE.search(self.arena.logs()):
            self.failures.append(f'a log says "{found[0]}"')
        self._judge_what_comes_again(self.arena.ledger())
        report.facts |= self.facts
        report.facts["latest"] = ", ".join(f"{key} {seconds:.2f} s" for key, seconds in sorted(late.items()))
        # The same mistake is made many times.
        for text in self.failures[:12]:
            report.require(False, text)

    def _judge_what_comes_again(self, ledger: Ledger) -> None:
        clock, rate = self.clock, self.arena.tasks.RATE
        # By a slow clock it takes twice the time.
        self.failures += self.timetable.faults(
            ledger, lambda one, other: 2 * EVERY + _LATE + _LATE_PER_STEP * clock.set_back(one, other)
        )
        self.facts["runs of schedules"] = ", ".join(f"{self._runs(name)} {name}" for name in ("step", "all", "once"))
        starts = [runs[0].start for runs in ledger.by_job.values() if runs[0].task.endswith(":call")]
        # A burst more for each step.
        steps = sum(fault.kind == "step" for fault in self.arena.faults)
        excess = excess_of_rate(starts, rate, 1 + steps, _LATE)
        self.check(excess <= 0, f"in a time {excess:.1f} more jobs started than {rate}/s allows")

    def _lateness(self, timed: _Timed, runs: list[Attempt], name: str) -> float:
        """Seconds (of a real clock) between the moment it was due and its start."""
        clock, start = self.clock, runs[-1].start
        if timed.kind == "eta":
            began = timed.sent.accepted_at
            # It was due then, though the clock may have been set back before it started.
            due = when(lambda moment: clock.reads(moment) >= timed.time - _TOUCH, began, start)
            early = timed.time - clock.reads(due)
            self.check(early <= _TOUCH, f"{name} ran {early:.2f} s before its moment")
        else:
            asked, began = timed.sent.at, timed.sent.accepted_at
            if timed.kind == "again":
                asked = began = runs[0].end or runs[0].start
            passed = clock.passed(asked, start)
            self.check(passed >= timed.time - _TOUCH, f"{name} ran after {passed:.2f} s, not {timed.time:.2f} s")
            due = when(lambda moment: clock.passed(began, moment) >= timed.time, began, start)
        allowed = _LATE + _LATE_PER_STEP * clock.set_back(began, start)
        self.check(start - due <= allowed, f"{name} was {start - due:.2f} s late, {allowed:g} s are allowed")
        return start - due
