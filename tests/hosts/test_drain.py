"""A drained host: it takes no new jobs, what runs ends, and it stays; until it is resumed."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

from aiotask.ops.attention import attention_of
from aiotask.ops.audit import read_audit
from aiotask.ops.connection import inspectors
from aiotask.ops.metrics import exposition
from aiotask.ops.visitors import Verb
from aiotask.values.report import HostReport

from ..acceptance.stage import staged
from ..helpers import wait_until_async
from ..supervisor.seen import started
from ..workers import Workers
from .operator import Operated, kill_keeper


async def send_pids(operated: Operated, number: int) -> list[Any]:
    results = [operated.stage.pid.apply_async() for _ in range(number)]
    await operated.stage.app.flush()
    return results


async def test_a_drained_host_ends_what_runs_and_takes_nothing_until_it_is_resumed(operated: Operated) -> None:
    stage = operated.stage
    _, host = await operated.start(1, "--threads", "1")
    pids = await operated.live(1)
    running = stage.nap.apply_async(1.0, "running")
    await started(stage, "running")
    # They wait in the process, behind the one that runs.
    behind = await send_pids(operated, 3)

    assert await operated.told(Verb.DRAIN, host) == "It takes no new jobs; 1 job still runs."

    assert await running == 1
    later = await send_pids(operated, 3)
    assert await operated.pending() == 6
    report = await operated.report(host)
    assert (report["drained_by"], len(report["live"])) == ("ada", 1)
    assert abs(report["drained_at"] - await operated.now()) < 60.0
    assert await operated.live(1) == pids
    # Another host takes all of them.
    other, name = await operated.start(1)
    others = await operated.live(2) - pids
    assert set(await asyncio.gather(*behind, *later)) == others
    assert await operated.told(Verb.DRAIN, name) == "It takes no new jobs; 0 jobs still run."
    assert await operated.told(Verb.DRAIN, name) == "It was drained already, by ada."

    waiting = await send_pids(operated, 3)
    assert await operated.told(Verb.RESUME, host) == "It takes jobs again."
    assert set(await asyncio.gather(*waiting)) == pids
    assert (await operated.report(host))["drained_at"] == 0.0
    [again] = await operated.steer(Verb.RESUME, host)
    assert (again["did"], again["said"]) == ("nothing", "It was not drained.")
    # A drained host stops like any other.
    assert other.stop() == 0

    lines = [line for line in await read_audit(operated.place, 10) if line["subject"] == f"host {host}"]
    assert [(line["verb"], line["who"], line["number"]) for line in lines] == [
        ("resume", "ada", 0),
        ("resume", "ada", 1),
        ("drain", "ada", 1),
    ]


async def test_a_suspect_waits_for_the_end_of_the_drain(operated: Operated) -> None:
    stage = operated.stage
    _, host = await operated.start(1)
    job = stage.nap.apply_async(2.0, "suspect")
    pid = await started(stage, "suspect")
    await operated.told(Verb.DRAIN, host)
    os.kill(pid, signal.SIGKILL)
    await operated.live(1, without={pid})
    await wait_until_async(lambda: _serves(operated, host), description="its successor serves")
    # A fresh process runs suspects before anything else; this one runs none.
    assert await operated.told(Verb.DRAIN, host) == "It was drained already, by ada."
    assert await job.status() == "PENDING" and len(stage.ledger.runs("suspect")) == 1

    await operated.told(Verb.RESUME, host)
    await job
    assert len(stage.ledger.runs("suspect")) == 2


async def _serves(operated: Operated, host: str) -> bool:
    report = await operated.report(host)
    return bool(report["serving"] == 1 and report["exits"])


async def test_a_drain_outlives_the_keeper_and_worker_processes(operated: Operated) -> None:
    stage = operated.stage
    supervisor, host = await operated.start(2)
    pids = await operated.live(2)
    await operated.told(Verb.DRAIN, host)

    kill_keeper(supervisor)
    os.kill(min(pids), signal.SIGKILL)
    fresh = await operated.live(2, without={min(pids)})
    waiting = await send_pids(operated, 4)
    # The new keeper is asked, and the new process is in service: both know.
    assert await operated.told(Verb.DRAIN, host) == "It was drained already, by ada."
    report = await operated.report(host)
    assert (report["drained_by"], report["serving"]) == ("ada", 2)
    assert await operated.pending() == 4 and not stage.ledger.runs()

    assert await operated.told(Verb.RESUME, host) == "It takes jobs again."
    assert set(await asyncio.gather(*waiting)) <= fresh


async def test_every_face_says_that_a_host_is_drained(operated: Operated) -> None:
    _, host = await operated.start(1)
    [drained] = await operated.actions.steer_hosts(Verb.DRAIN, [host], "a new kernel")
    assert drained["did"] == "done"

    report = await operated.report(host)
    async with inspectors(operated.place) as (connection,):
        inspector = connection.inspector
        stats, workers, facts = await inspector.stats(), await inspector.workers(), await inspector.facts()
    said = attention_of(stats, workers, [], facts, 0, 0, [report])
    [about] = [each for each in said if each.rest.startswith("was drained by ada (a new kernel)")]
    # Where two hosts are on one machine, its name says too little.
    assert about.what == f"Host {report['machine']}"
    twins = attention_of(stats, workers, [], facts, 0, 0, [report, {**report, "host": "vm-7-b"}])
    assert {each.what for each in twins if "was drained" in each.rest} == {f"Host {host}", "Host vm-7-b"}
    assert about.fix == f"To end that: aiotask workers resume {host}" and not about.is_bad
    shown = exposition([], HostReport(host, drained_at=report["drained_at"]))
    assert "\naiotask_host_drained 1\n" in shown


async def test_an_in_loop_worker_is_drained_and_resumed_and_refuses_to_be_recycled(operated: Operated) -> None:
    stage = operated.stage
    async with stage.app, stage.app.worker() as worker:
        host = worker.name.rpartition(".")[0]
        await wait_until_async(lambda: _is_there(operated, host), description="the host has reported")
        async with operated.recording(host) as recorded:
            assert await operated.told(Verb.DRAIN, host) == "It takes no new jobs; what runs ends as usual."
        waiting = await send_pids(operated, 2)
        assert await operated.told(Verb.DRAIN, host) == "It was drained already, by ada."
        assert (await operated.report(host))["drained_by"] == "ada"
        assert await operated.pending() == 2
        [refused] = await operated.steer(Verb.RECYCLE, host)
        assert refused["did"] == "nothing" and "inside another program" in refused["said"]
        assert await operated.told(Verb.RESUME, host) == "It takes jobs again."
        assert set(await asyncio.gather(*waiting)) == {os.getpid()}
        await operated.replay(recorded)
        [again] = await operated.steer(Verb.RESUME, host)
        assert again["said"] == "It was not drained."


async def _is_there(operated: Operated, host: str) -> bool:
    return any(each["host"] == host for each in await operated.hosts())


async def test_limited_jobs_and_parked_ones_wait_too(workers: Workers, tmp_path: Path) -> None:
    with staged("limited", workers, tmp_path / "ledger") as stage:
        operated = Operated(stage)
        _, host = await operated.start(1)
        unknown = stage.app.named("tests.acceptance.apps.limited:unknown").apply_async()
        assert await stage.one_in_loop.apply_async(0) == 0
        await wait_until_async(lambda: _has(unknown, "PARKED"), description="it is parked")
        await operated.told(Verb.DRAIN, host)

        limited = [stage.one_in_thread.apply_async(n) for n in range(3)]
        await stage.app.flush()
        assert await operated.told(Verb.DRAIN, host) == "It was drained already, by ada."
        async with stage.app.inspector() as inspector:
            info = next(each for each in await inspector.limits() if each.name == "alone")
            stats = await inspector.stats()
        assert (info.running, stats.pending, stats.parked) == (0, 3, 1) and len(stage.ledger.runs("one")) == 1

        await operated.told(Verb.RESUME, host)
        assert await asyncio.gather(*limited) == [0, 1, 2]
        await unknown.cancel()


async def _has(result: Any, status: str) -> bool:
    return bool(await result.status() == status)
