"""Asked to go: short jobs end, long ones go back, and nothing is left of the host; as PID 1 too."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from random import Random

from ...workers import ROOT
from ..arena import Arena
from ..checker import examine
from ..hosts import Host, children_of
from ..ledger import VARIABLE
from ..limits import most_at_once, spans_of
from ..producer import Sent
from ..report import Report
from ..rows import RowScene, a_database, row_scene
from ..trial import Tier, trial

#: Seconds beyond the grace time in which a host is gone.
_MARGIN = 2.0
#: Seconds of grace that a job needs at the end to be sure of it, on a machine that does other things too.
_CLOSE = 0.5
_NAMESPACE = ("--pid", "--fork", "--mount-proc")


@trial(
    5,
    summary="TERM to hosts that run sync and async jobs and rows (SQLite or PostgreSQL) of 0.1-60 s, with more jobs "
    "waiting: once, twice, and as PID 1",
    passes=(
        "gone within grace + 2 s, at a second TERM within 2 s",
        "what ends within the grace runs once, the rest is back in the queue before the host is gone, no overlap",
        "a row whose run has ended is SUCCESS when the host is gone, all others are PENDING",
        "no attempt is counted for what was taken back; no orphan, no zombie",
        "limits hold, and calls with one key are one job, over both hosts",
    ),
    short={"jobs": 14, "limited": 3, "rows": 8, "longest": 4.0, "grace": 1.0, "running": 5, "hurry": 20.0},
    full={"jobs": 300, "limited": 30, "rows": 60, "longest": 60.0, "grace": 10.0, "running": 155, "hurry": 300.0},
    module="tests.chaos.apps.stops",
    limits=(60.0, 300.0),
)
async def term(arena: Arena, tier: Tier, rng: Random) -> Report:
    async with row_scene(arena, a_database(rng)) as scene:
        return await _term(arena, tier, rng, scene)


async def _term(arena: Arena, tier: Tier, rng: Random, scene: RowScene) -> Report:
    report = Report()
    producer = arena.producer()

    def send() -> list[Sent]:
        tasks = arena.tasks
        # Half of the jobs are async, since 140 of them have to run at once.
        sent = [
            producer.send((tasks.rest, tasks.sync_rest)[number % 2], rng.uniform(0.1, tier.longest))
            for number in range(tier.jobs)
        ]
        for number in range(tier.limited):
            # Of a key, one more than may run.
            key = f"key-{number // (tasks.EACH + 1)}"
            sent.append(producer.send(tasks.limited_rest, key, rng.uniform(0.1, tier.longest)))
            # The second call is the job of the first one.
            unique = tasks.rest.options(key=key, unique="unfinished")
            sent += [producer.send(unique, tier.longest) for _ in range(2)]
        return sent

    report.failures += await _as_pid_1(arena, tier, report)
    for stops in ("once", "twice"):
        host = await arena.start_host(2, "--grace", str(tier.grace))
        # Parts of the grace from before the stop, so that jobs end all along it.
        rows = await scene.insert([("", rng.uniform(0.1, tier.longest)) for _ in range(tier.rows)])
        sent = [*send(), *scene.sent(rows)]
        await _running(arena, tier.running)
        await asyncio.sleep(0.2)
        took, left = await _stop(arena, host, tier.grace, twice=stops == "twice")
        limit = _MARGIN if stops == "twice" else tier.grace + _MARGIN
        report.require(took <= limit, f"asked {stops}, the host was gone after {took:.2f} s, not {limit:g} s")
        report.facts[f"gone, asked {stops}"] = f"{took:.2f} s"
        report.failures += left
        if stops == "once":
            _judge_the_graceful(arena, host, sent, tier, report)
        await asyncio.to_thread(_judge_rows, arena, scene, rows, stops, report)
    # The next host, in a hurry, does what was left.
    await arena.start_host(2, env={"CHAOS_HURRY": str(tier.hurry)})
    await producer.done(tier.longest + 20.0)
    await scene.settle(tier.longest + 20.0)
    found = await examine(arena)
    await asyncio.to_thread(scene.take_stock)
    scene.judge(found)
    counted = [run for run in arena.ledger().attempts.values() if run.number != 1]
    found.require(not counted, f"an attempt was counted for {len(counted)} runs: {counted[:3]}")
    _judge_limited(arena, found)
    found.failures += report.failures
    found.facts |= report.facts
    return found


def _judge_limited(arena: Arena, report: Report) -> None:
    by_key = defaultdict(list)
    for run in arena.ledger().attempts.values():
        if run.key:
            by_key[run.key].append(run)
    for key, runs in by_key.items():
        most = most_at_once(spans_of(arena, runs))
        report.require(most <= arena.tasks.EACH, f"{most} jobs of {key} ran at once, not {arena.tasks.EACH}")
    report.facts["limited runs"] = sum(map(len, by_key.values()))


async def _running(arena: Arena, at_least: int) -> None:
    """Return once so many jobs run."""
    async with asyncio.timeout(20):
        while len(arena.ledger().running()) < at_least:
            await asyncio.sleep(0.05)


async def _stop(arena: Arena, host: Host, grace: float, *, twice: bool) -> tuple[float, list[str]]:
    """Seconds until it was gone, and what it left behind."""
    family = {pid for child in host.processes() for pid in (child, *children_of(child))}
    arena.fault("term twice" if twice else "term")
    began = time.monotonic()
    host.supervisor.signal(signal.SIGTERM)
    if twice:
        await asyncio.sleep(0.3)
        began = time.monotonic()
        host.supervisor.signal(signal.SIGTERM)
    await asyncio.to_thread(host.supervisor.wait, grace + 30.0)
    took = time.monotonic() - began
    host.killed = True
    left = [f"orphan: pid {pid} outlived its supervisor" for pid in family if _exists(pid)]
    claimed, waiting = _in_lanes(arena)
    if claimed:
        left.append(f"{claimed} jobs were still claimed when the host was gone ({waiting} in its lanes)")
    return took, left


def _exists(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def _in_lanes(arena: Arena) -> tuple[int, int]:
    """Jobs that are claimed, and all that are in lanes."""
    claimed = waiting = 0
    for key in arena.server.call("KEYS", f"{arena.prefix}q:*".replace("{", "\\{").replace("}", "\\}")):
        if key.endswith(b":b"):  # a bell
            continue
        waiting += arena.server.call("XLEN", key)
        with contextlib.suppress(Exception):
            claimed += arena.server.call("XPENDING", key, "w")[0]
    return claimed, waiting


def _judge_the_graceful(arena: Arena, host: Host, sent: list[Sent], tier: Tier, report: Report) -> None:
    """What could end in the grace time has ended in its one run; what could not was cut short."""
    stop = arena.faults[-1].at
    runs = arena.ledger().by_job
    ended = cut = 0
    for job in sent:
        mine = runs.get(job.id, [])
        report.require(len(mine) <= 1, f"{job.id} ran {len(mine)} times before its host was gone")
        if not mine:
            continue
        run = mine[0]
        if run.end is None or run.outcome == "CancelledError":
            cut += 1
            lasted = (run.end or stop + tier.grace) - stop
            report.require(lasted >= tier.grace - _CLOSE, f"{job.id} was cut short {lasted:.2f} s after the stop")
        else:
            ended += run.end > stop
        report.require(run.start <= stop + _CLOSE, f"{job.id} was started {run.start - stop:.2f} s after the stop")
    report.facts["ended in the grace, cut short, not begun"] = f"{ended}, {cut}, {sum(j.id not in runs for j in sent)}"
    report.require(cut, "no job was longer than the grace period, so nothing was shown")


def _judge_rows(arena: Arena, scene: RowScene, ids: list[str], stops: str, report: Report) -> None:
    """No row is claimed when its host is gone. After one TERM, those have succeeded whose runs have ended well."""
    runs, rows = arena.ledger().by_job, scene.read()
    ended = {id for id in ids if any(run.outcome == "ok" for run in runs.get(id, ()))}
    statuses = Counter(rows[id].status for id in ids)
    expected = Counter(SUCCESS=len(ended), PENDING=len(ids) - len(ended))
    fine = statuses == expected if stops == "once" else not statuses.keys() - {"SUCCESS", "PENDING"}
    report.require(fine, f"asked {stops}, {len(ended)} of {len(ids)} rows ended, and the rows are {dict(statuses)}")
    counted = [id for id in ids if rows[id].attempt != 1 or rows[id].deaths]
    report.require(not counted, f"an attempt or a death was counted for rows: {counted[:3]}")
    report.facts[f"rows, asked {stops}"] = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()))


async def _as_pid_1(arena: Arena, tier: Tier, report: Report) -> list[str]:
    """The same as the first process of a container, where the kernel allows to make one."""
    ledger, log = arena.directory / "ledger-of-pid-1", arena.directory / "pid-1.log"
    ledger.mkdir()
    process = await asyncio.to_thread(_start_pid_1, arena, tier.grace, ledger, log)
    if process is None:
        report.facts["as PID 1"] = "not tried: no process namespace may be made here"
        return []
    try:
        # Its runs are in a ledger of their own: process ids mean something else there.
        sent = [arena.tasks.rest.apply_async(2 * tier.grace + 5.0) for _ in range(4)]
        async with asyncio.timeout(30):
            await asyncio.gather(*(result.sent() for result in sent))
            while sum(len(path.read_text().splitlines()) for path in ledger.iterdir()) < len(sent):
                await asyncio.sleep(0.05)
        arena.fault("term as PID 1")
        began = time.monotonic()
        for pid in children_of(process.pid):
            os.kill(pid, signal.SIGTERM)
        code = await asyncio.to_thread(process.wait, tier.grace + 30.0)
        took = time.monotonic() - began
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    report.facts["gone as PID 1"] = f"{took:.2f} s"
    wrong = [] if code == 0 else [f"as PID 1 it ended with {code}: {log.read_text()[-2000:]}"]
    if took > tier.grace + _MARGIN:
        wrong.append(f"as PID 1 it was gone after {took:.2f} s, not {tier.grace + _MARGIN:g} s")
    claimed, waiting = _in_lanes(arena)
    if claimed or waiting != len(sent):
        wrong.append(f"of {len(sent)} jobs of PID 1 {waiting} were back, {claimed} still claimed")
    for result in sent:
        arena.producers[0].know(result)
    return wrong


def _start_pid_1(arena: Arena, grace: float, ledger: Path, log: Path) -> subprocess.Popen[bytes] | None:
    """A supervisor in a process namespace of its own; None where none may be made."""
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, *_NAMESPACE, "true"], capture_output=True).returncode:
        return None
    command = [sys.executable, "-m", "aiotask_cli", "worker", arena.module, "-c", "2", "--grace", str(grace)]
    with log.open("wb") as file:
        return subprocess.Popen(
            [unshare, *_NAMESPACE, "--kill-child", *command, "--app-dir", str(ROOT)],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            cwd=ROOT,
            env={**os.environ, **arena.environment(), "AIOTASK_URL": arena.url, VARIABLE: str(ledger)},
        )
