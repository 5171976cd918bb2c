"""The server loses its mind in every way we know: it forgets, is emptied, refuses, is full, or knows us no more."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass, field
from random import Random
from typing import Any

from aiotask.errors import JobLost, ResultExpired
from aiotask.keeper.recovery import TICK
from aiotask.worker.claimer import BLOCK

from ..arena import Arena
from ..checker import examine
from ..faults.madness import PERMISSIONS, USER, Blow, blows
from ..hosts import Host
from ..producer import ANYTHING, Producer, Sent
from ..report import Report
from ..trial import Tier, trial

#: Seconds within which a job that is sent once the state allows it runs.
_HEALED = 1.0
#: Seconds within which a send has a verdict, and an await for what is gone its error.
_VERDICT, _GONE = 5.0, 10.0
#: Lines in the log of a host per blow, and per second of it.
_LINES, _LINES_A_SECOND = 12, 4
#: Seconds for the loops of a busy machine, on top of what is promised.
_SLACK = 0.3
#: What a line about the start or the end of a job begins with.
_OF_A_JOB = re.compile(r"^[\dT:.+-]+ worker-\d+ [^\w\s] ")
#: Of these the short tier takes one each.
_KINDS = ("DEL", "SET", "ACL")


@dataclass
class _Struck:
    """One blow and what was seen of it; times are monotonic."""

    blow: Blow
    at: float
    healed: float = 0.0
    #: When all was judged to be well.
    over: float = 0.0
    #: Sent just before it.
    before: list[Sent] = field(default_factory=list)
    #: Sent while it stood, and just after it.
    meanwhile: list[Sent] = field(default_factory=list)
    after: list[Sent] = field(default_factory=list)
    lines: int = 0
    restarted: str = ""


@trial(
    11,
    summary="scripts, groups, single keys and all keys deleted; keys of a wrong type; maxmemory, MISCONF, NOREPLICAS, "
    "READONLY, BUSY; permissions and the user taken away, all while jobs run",
    passes=(
        "a job that is sent once the state allows it starts within 1 s",
        "meanwhile a send ends within 5 s in an error that names the cause; workers drain what they can",
        "what the server was made to forget ends with JobLost or ResultExpired within 10 s; nothing else is lost",
        "no process ends, few log lines",
    ),
    short={"rounds": 1, "hold": 0.3, "all": False, "rate": 60, "patience": 30.0},
    full={"rounds": 2, "hold": 5.2, "all": True, "rate": 100, "patience": 60.0},
)
async def lost_mind(arena: Arena, tier: Tier, rng: Random) -> Report:
    arena.server.call("ACL", "SETUSER", USER, "on", "nopass", *PERMISSIONS)
    url = arena.url.replace("unix://", f"unix://{USER}:open@")
    host = await arena.start_host(2, url=url)
    tasks = arena.load(url)
    producer = arena.producer(tasks)
    scene = _Scene(arena, host, producer, tasks, tier, rng)
    streaming = asyncio.create_task(scene.stream())
    struck: list[_Struck] = []
    try:
        for number in range(tier.rounds):
            for blow in _chosen(tier, rng):
                # The second round is quick: blow upon blow.
                struck.append(await scene.perform(blow, tier.hold if number == 0 else 0.3))
                arena.tell(f"{blow.name}: {len(producer.sent):,} jobs")
    finally:
        streaming.cancel()
        await asyncio.gather(streaming, return_exceptions=True)
    arena.tell("waiting for the last jobs")
    await producer.done(tier.patience)
    report = await examine(arena, settle=tier.patience)
    _judge(arena, producer, report, struck)
    return report


def _chosen(tier: Tier, rng: Random) -> list[Blow]:
    """All of them in random order, or in the short tier one of each kind."""
    every = blows()
    rng.shuffle(every)
    if tier.all:
        return every
    seen: set[str] = set()
    chosen = []
    for blow in every:
        kind = next((kind for kind in _KINDS if blow.name.startswith(kind)), blow.name)
        if kind not in seen:
            seen.add(kind)
            chosen.append(blow)
    return chosen


class _Scene:
    """One host, one client, a stream of jobs, and one blow after the other."""

    def __init__(self, arena: Arena, host: Host, producer: Producer, tasks: Any, tier: Tier, rng: Random) -> None:
        self._arena = arena
        self._host = host
        self._producer = producer
        self._tasks = tasks
        self._tier = tier
        self._rng = rng

    async def stream(self) -> None:
        """Jobs all the time; some take a while, some are due a little later."""
        tasks, number = self._tasks, 0
        while True:
            number += 1
            if number % 10 == 0:
                self._producer.send(tasks.nap, self._rng.uniform(0.05, 0.4))
            elif number % 10 == 5:
                self._producer.send(tasks.noop.options(delay=self._rng.uniform(0.05, 0.5)))
            else:
                self._producer.send(tasks.noop if number % 2 else tasks.sync_noop)
            await self._producer.pace(1_000)
            await asyncio.sleep(1 / self._tier.rate)

    async def perform(self, blow: Blow, hold: float) -> _Struck:
        """Strike, look, heal, and wait until jobs run again."""
        arena, producer, tasks = self._arena, self._producer, self._tasks
        processes, lines = sorted(self._host.processes()), self._lines()
        before = [producer.send(tasks.sync_nap, 0.01) for _ in range(12)]
        before += [producer.send(tasks.nap, 0.1) for _ in range(4)]
        await asyncio.sleep(self._rng.uniform(0.0, 0.05))
        await asyncio.to_thread(blow.strike, arena)
        struck = _Struck(blow, arena.fault(blow.name).at, before=before)
        if blow.heal is not None:
            task = tasks.noop.options(delay=0.05) if blow.delayed else tasks.noop
            until = time.monotonic() + hold
            while time.monotonic() < until:
                struck.meanwhile.append(producer.send(task))
                await asyncio.sleep(0.1)
            await asyncio.to_thread(blow.heal, arena)
        struck.healed = time.monotonic()
        await self._until_well(struck)
        struck.over = time.monotonic()
        after = sorted(self._host.processes())
        struck.restarted = "" if after == processes else f"{processes} became {after}"
        struck.lines = self._lines() - lines
        return struck

    async def _until_well(self, struck: _Struck) -> None:
        """Two jobs sent now have ended well; tried anew where the client was still being refused."""
        deadline = time.monotonic() + 2 * _GONE
        while time.monotonic() < deadline:
            probes = [self._producer.send(self._tasks.noop, expect=ANYTHING) for _ in range(2)]
            struck.after += probes
            while not all(probe.ended for probe in probes) and time.monotonic() < deadline:
                await asyncio.sleep(0.005)
            if all(probe.outcome is not None for probe in probes):
                return

    def _lines(self) -> int:
        """In the log of the host, without those that tell of one job each."""
        return sum(not _OF_A_JOB.search(line) for line in self._host.supervisor.log.splitlines())


def _judge(arena: Arena, producer: Producer, report: Report, struck: list[_Struck]) -> None:
    runs = arena.ledger().by_job
    starts = sorted((sent.at, runs[sent.id][0].start) for sent in producer.sent.values() if sent.id in runs)
    for each in struck:
        blow, name = each.blow, each.blow.name
        report.require(not each.restarted, f"{name}: processes of the host changed: {each.restarted}")
        bound = _LINES + _LINES_A_SECOND * (each.over - each.at)
        report.require(each.lines <= bound, f"{name}: {each.lines} lines in the log, not {bound:.0f}")
        first = min((start for at, start in starts if at >= each.healed and start >= each.healed), default=float("inf"))
        report.recovery.setdefault(name, []).append(first - each.healed)
        after = first - each.healed
        report.require(after <= _HEALED + _SLACK, f"{name}: jobs ran again {after:.2f} s after it was over")
        _judge_sends(each, report)
        if blow.drains and each.healed - each.at > 2.0:
            late = [sent.id for sent in each.before if sent.ended_at > each.healed or not sent.ended_at]
            report.require(
                not late, f"{name}: {len(late)} of {len(each.before)} jobs sent before did not end meanwhile"
            )
        _forgive(each, producer, report)
    report.facts["lines in the log"] = sum(each.lines for each in struck)
    gone = [sent for sent in producer.sent.values() if isinstance(sent.error, JobLost | ResultExpired)]
    report.facts["awaits that ended with JobLost"] = len(gone)
    late = [sent.ended_at - max(each.healed for each in struck if each.at <= sent.ended_at) for sent in gone]
    report.require(
        max(late, default=0.0) <= _GONE, f"an await ended with JobLost only after {max(late, default=0):.1f} s"
    )


def _judge_sends(each: _Struck, report: Report) -> None:
    """Each had a verdict in time, and the error says what is wrong."""
    name, wanted = each.blow.name, each.blow.refuses
    verdicts = [sent.accepted_at - sent.at for sent in each.meanwhile if sent.verdict]
    slowest = max(verdicts, default=0.0)
    report.require(slowest <= _VERDICT + _SLACK, f"{name}: a send had its verdict after {slowest:.1f} s, not 5 s")
    refused = [sent.error for sent in each.meanwhile if sent.verdict in ("refused", "ambiguous")]
    for error in dict.fromkeys(map(repr, refused)):
        report.require(wanted is not None, f"{name}: a send was refused: {error}")
        said = all(word in error for word in each.blow.says)
        # An earlier attempt whose answer got lost may be in all the same.
        kind = wanted is not None and error.startswith((wanted.__name__, "ConnectionLost"))
        report.require(wanted is None or (said and kind), f"{name}: a send was refused in these words: {error}")
    if refused:
        report.facts[f"{name}: a send ended with"] = repr(refused[0])
    enough = wanted is None or each.healed - each.at < _VERDICT or refused
    report.require(enough, f"{name}: no send was refused")


def _forgive(each: _Struck, producer: Producer, report: Report) -> None:
    """What the server was made to forget cannot be done, and what it was doing may be done again."""

    def under_way(until: float) -> list[str]:
        every = producer.sent.values()
        return [sent.id for sent in every if sent.at <= until and (not sent.ended_at or sent.ended_at >= each.at)]

    if each.blow.loses:
        told = [id for id in under_way(each.over) if isinstance(producer.sent[id].error, JobLost | ResultExpired)]
        report.forgive("lost", f"{each.blow.name}: gone, and who waited was told", told)
        report.forgive("wrong", f"{each.blow.name}: told that it is gone", told)
    if each.blow.repeats:
        # What was read by a blocked worker under its old name is found to belong to nobody by the next scan.
        found = under_way(each.over + BLOCK + TICK + _SLACK)
        report.forgive("overlap", f"{each.blow.name}: nobody knew that it was running", found)
