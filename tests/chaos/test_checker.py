"""The judge itself: evidence that was forged is found, each kind under its own name."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aiotask.job import WIRE_VERSION, Status
from aiotask.keeper.lease import LEASE
from aiotask.outcome import Outcome, encode_outcome

from ..helpers import wait_until_async
from .arena import Arena
from .checker import examine
from .hosts import Fault
from .limits import excess_of_rate, most_at_once, too_many
from .producer import Sent, Within


def forge_run(arena: Arena, token: str, id: str, pid: int, start: float, end: float | None) -> None:
    with (arena.ledger_directory / f"{pid}-forged.log").open("a") as file:
        file.write(f"S\t{token}\t{id}\t{pid}\t1\t{start:.6f}\t{time.time():.6f}\tforged\t\n")
        if end is not None:
            file.write(f"E\t{token}\t{end:.6f}\tok\n")


def forge_outcome(arena: Arena, sent: Sent, worker: str) -> None:
    outcome = Outcome(WIRE_VERSION, sent.id, sent.task, Status.SUCCESS, 1, worker, finished_at=time.time())
    sealed = arena.app.client.outcomes_sealer.seal(encode_outcome(outcome))
    row = struct.pack(">IIH", 0, len(sealed), 0) + sealed
    arena.server.call("XADD", f"{arena.prefix}history", "*", "n", 1, "r", row)


def said(findings: list[str]) -> list[str]:
    """The ids that they are about."""
    return [finding.split()[0] for finding in findings]


async def test_a_job_of_a_dead_worker_that_a_host_has_in_hand_as_it_dies_is_a_case_of_the_host(tmp_path: Path) -> None:
    async with Arena(tmp_path) as arena:
        producer = arena.producer()
        one, two = (producer.send(arena.tasks.noop, awaited=False) for _ in range(2))
        await producer.done(0.5)
        at = time.monotonic()
        for sent, pid in ((one, 1), (two, 2)):
            forge_run(arena, f"{pid}.1", sent.id, pid, at, None)
            arena.deaths.note(pid, at + 0.1)
            arena.faults.append(Fault("worker", at + 0.1, (pid,)))
            forge_run(arena, f"{pid}.2", sent.id, 3, at + (0.8 + LEASE if pid == 1 else 7.5), at + 13.0)
            forge_outcome(arena, sent, "done")
        arena.faults.append(Fault("host", at + 0.3, (4,)))

        report = await examine(arena, settle=0.2, undue=True)

    assert [round(took, 2) for took in report.recovery["worker"]] == [7.4]
    assert [round(took, 2) for took in report.recovery["host"]] == [LEASE + 0.5]


async def test_every_kind_of_fault_is_found(tmp_path: Path) -> None:
    async with Arena(tmp_path) as arena:
        producer = arena.producer()
        lost, doubled, cut, clean = (producer.send(arena.tasks.noop, awaited=False) for _ in range(4))
        stuck = producer.send(arena.tasks.noop)
        await producer.done(0.5)
        # Nobody works here, so all of them are still in their queue: what follows is all made up.
        at = time.monotonic()
        forge_run(arena, "a.1", doubled.id, 1, at, at + 0.2)
        forge_run(arena, "b.1", doubled.id, 2, at + 0.1, at + 0.3)
        forge_outcome(arena, doubled, "one")
        forge_outcome(arena, doubled, "two")
        forge_run(arena, "c.1", cut.id, 3, at, None)
        arena.deaths.note(3, at + 1.0)
        arena.faults.append(Fault("worker", at + 1.0, (3,)))
        forge_run(arena, "d.1", cut.id, 4, at + 1.5, at + 2.0)
        forge_outcome(arena, cut, "three")
        forge_run(arena, "e.1", clean.id, 5, at, at + 0.1)
        forge_outcome(arena, clean, "four")
        forge_run(arena, "f.1", "nobody-sent-it", 6, at, at + 0.1)

        report = await examine(arena, settle=0.2, undue=True)

    assert said(report.lost) == [lost.id, stuck.id]
    assert said(report.stuck) == [stuck.id]
    assert said(report.doubled) == said(report.overlap) == said(report.undue_runs) == [doubled.id]
    assert said(report.phantom) == ["nobody-sent-it"]
    assert not report.wrong
    assert (report.runs, report.extra_runs) == (6, 2)
    [took] = report.recovery["worker"]
    assert abs(took - 0.5) < 0.001
    assert "entries: 5 in q:default:5" in report.residue
    # Neighbours share a bucket of the index, mostly.
    buckets = [found for each in report.residue if (found := re.fullmatch(r"key: index:.+? \((\d) items\): .*", each))]
    assert sum(int(bucket[1]) for bucket in buckets) == 5
    assert any(each.startswith(f"key: index ({1 + len(buckets)} items)") for each in report.residue)
    report.require_recovery("worker", 0.4)
    assert not report.passed and "after a dead worker jobs started again within 0.50 s" in report.why()

    report.forgive("lost", "nobody works here", [lost.id])
    assert said(report.lost) == [stuck.id]
    assert "allowed, lost: nobody works here: 1" in report.lines()


async def test_a_run_that_begins_after_the_time_of_expiry_is_found(tmp_path: Path) -> None:
    async with Arena(tmp_path) as arena:
        producer = arena.producer()
        task = arena.tasks.noop.options(expires=0.1)
        late, timely = (producer.send(task, expect=Within(0.1), awaited=False) for _ in range(2))
        await producer.done(0.5)
        for sent, after in ((late, 1.0), (timely, 0.05)):
            began = sent.accepted_at + after
            forge_run(arena, f"{sent.id}.1", sent.id, 1, began, began + 0.01)
            forge_outcome(arena, sent, "one")

        report = await examine(arena, settle=0.2)

    assert said(report.wrong) == [late.id]
    assert "began 0.90 s after it had expired" in report.wrong[0]


def test_what_is_alive_at_once_is_counted_by_spans() -> None:
    spans = [(0.0, 2.0), (1.0, 3.0), (2.0, 4.0), (1.5, 1.5), (5.0, float("inf")), (6.0, 7.0)]
    assert most_at_once(spans) == 2
    assert too_many(spans, 2) == []
    assert too_many(spans, 1) == [1.0, 2.0, 6.0]
    assert most_at_once([]) == 0


def test_a_rate_is_judged_over_every_window() -> None:
    even = [n / 10 for n in range(100)]
    assert excess_of_rate(even, 10, 1, 0.0) == pytest.approx(0.0)
    # Nothing for a second, and then what did not start in it: as many as may start late.
    assert excess_of_rate([*even, *[11.0] * 11], 10, 1, 1.0) == pytest.approx(0.0)
    assert excess_of_rate([*even, *[11.0] * 15], 10, 1, 1.0) == pytest.approx(4.0)


def sleeper() -> subprocess.Popen[bytes]:
    """A process that ends when it is told something."""
    return subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)


async def test_a_run_that_began_between_the_note_of_a_kill_and_the_kill_was_ended_by_it(tmp_path: Path) -> None:
    async with Arena(tmp_path) as arena:
        producer = arena.producer()
        job, other = (producer.send(arena.tasks.noop, awaited=False) for _ in range(2))
        await producer.done(0.5)
        victim, bystander = sleeper(), sleeper()
        arena.deaths.watch(victim.pid)
        # A moment ago, so that the real death comes after all that is made up.
        at = time.monotonic() - 0.01
        arena.deaths.note(victim.pid, at)
        # It begins a job, is killed, and another process has the job before the kernel's notice is read.
        forge_run(arena, "a.1", job.id, victim.pid, at + 0.001, at + 0.002)
        forge_run(arena, "b.1", job.id, os.getpid(), at + 0.004, at + 0.005)
        forge_run(arena, "c.1", other.id, bystander.pid, at + 0.001, at + 0.002)
        forge_run(arena, "d.1", other.id, os.getpid(), at + 0.004, at + 0.005)
        forge_outcome(arena, job, "one")
        forge_outcome(arena, other, "two")
        victim.kill()
        victim.communicate()
        await wait_until_async(
            lambda: arena.deaths.of(victim.pid, at + 0.001) is not None, description="the death is noticed"
        )

        report = await examine(arena, settle=0.2, undue=True)
        bystander.communicate(b"\n")

    assert said(report.undue_runs) == [other.id]
