"""C10: jobs are listed in every status by pages, counted, and taken out of the queue, with workers that run them."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from aiotask import JobCancelled

from ..helpers import wait_until_async
from ..workers import ROOT
from .stage import Put, Stage

TIMEOUT = 60


def asked(*arguments: str) -> list[dict[str, Any]]:
    """What a command answers as JSON."""
    command = [sys.executable, "-m", "aiotask_cli", *arguments, "--json"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT)
    assert ended.returncode == 0, ended.stderr
    found: list[dict[str, Any]] = json.loads(ended.stdout)
    return found


def listed(life: Stage, status: str) -> list[list[str]]:
    """The ids of all unfinished jobs in a status, page by page."""
    pages: list[list[str]] = []
    after = ""
    while True:
        behind = ("--after", after) if after else ()
        place = ("--url", life.url, "--name", life.app.name)
        found = asked("jobs", "--status", status, "--limit", "4", *behind, *place)
        if found:
            pages.append([job["id"] for job in found])
        after = found[-1].get("after", "") if found else ""
        if not after:
            return pages


def recorded(db: Path, status: str) -> list[list[str]]:
    """The same of finished ones, the latest first."""
    pages: list[list[str]] = []
    while True:
        place = ("--limit", "4", "--offset", str(sum(map(len, pages))), "--db", str(db))
        found = asked("results", "--status", status, *place)
        page = [job["id"] for job in found]
        if not page:
            return pages
        pages.append(page)


async def test_c10_jobs_are_listed_by_status_counted_and_deleted(stage: Put, tmp_path: Path) -> None:
    life, db = stage("life"), tmp_path / "results.db"
    await asyncio.to_thread(life.start, 1, "--max-in-flight", "5", "--grace", "1", "--result-db", str(db))
    good = [life.work.apply_async(f"good {n}") for n in range(9)]
    bad = [life.fail.apply_async(f"bad {n}") for n in range(6)]
    await asyncio.wait_for(asyncio.gather(*good, *bad, return_exceptions=True), TIMEOUT)
    running = [life.hold.apply_async(f"running {n}") for n in range(5)]
    await wait_until_async(lambda: len(life.ledger.runs()) == 20, description="the seats are taken")
    # Of another queue: a worker with a free thread claims some of its own now and then, to see whether they are for it.
    pending = [life.hold.options(queue="later").apply_async(f"pending {n}") for n in range(10)]
    await life.app.flush()

    async def are_listed(find: Callable[[], list[list[str]]], results: list[Any]) -> bool:
        pages = await asyncio.to_thread(find)
        assert {len(page) for page in pages[:-1]} <= {4}
        return sorted(id for page in pages for id in page) == sorted(each.id for each in results)

    for status, results, find in (
        ("running", running, partial(listed, life, "running")),
        ("pending", pending, partial(listed, life, "pending")),
        ("success", good, partial(recorded, db, "success")),
        ("failed", bad, partial(recorded, db, "failed")),
    ):
        await wait_until_async(
            partial(are_listed, find, results), description=f"the {status} ones are listed", timeout=TIMEOUT
        )

    # One that waits is taken out, and nobody but the one who waits for it hears of it.
    gone = pending[3]
    await asyncio.to_thread(asked, "cancel", gone.id, "--url", life.url, "--name", life.app.name)
    with pytest.raises(JobCancelled):
        await gone.wait(TIMEOUT)
    async with life.app.inspector() as inspector:
        queues = {queue.name: (queue.pending, queue.running) for queue in await inspector.queues()}
        assert queues == {"default": (0, 5), "later": (9, 0)}
        stats = await inspector.stats()
        assert (stats.pending, stats.running) == (9, 5)
        assert (stats.ended["SUCCESS"], stats.ended["FAILED"], stats.ended["CANCELLED"]) == (9, 6, 1)
    Path(life.GATE).touch()
    await asyncio.to_thread(life.start, 1, "--queues", "later")
    rest = [*running, *(each for each in pending if each is not gone)]
    assert len(await asyncio.wait_for(asyncio.gather(*rest), TIMEOUT)) == 14
    assert not life.ledger.runs("pending 3")
