"""C10: jobs are listed in every status by pages, counted, and taken out of the queue, with workers that run them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from aiotask import JobCancelled, ResultDB, Status
from aiotask.inspector import JobFilter

from ..helpers import wait_until_async
from .stage import Put, Stage

TIMEOUT = 60


async def listed(life: Stage, status: Status) -> list[list[str]]:
    """The ids of all unfinished jobs in a status, page by page."""
    pages: list[list[str]] = []
    after = ""
    async with life.app.inspector() as inspector:
        while True:
            page = await inspector.page(JobFilter(status), after, 4)
            pages += [[job.id for job in page.jobs]] if page.jobs else []
            after = page.after
            if not after:
                return pages


async def recorded(db: Path, status: Status) -> list[list[str]]:
    """The same of finished ones, the latest first."""
    pages: list[list[str]] = []
    last = None
    history = ResultDB(db)
    try:
        while page := await history.search(status=status, limit=4, after=last):
            pages.append([record.id for record in page])
            last = page[-1]
        return pages
    finally:
        await history.close()


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

    async def are_listed(find: Callable[[], Awaitable[list[list[str]]]], results: list[Any]) -> bool:
        pages = await find()
        assert {len(page) for page in pages[:-1]} <= {4}
        return sorted(id for page in pages for id in page) == sorted(each.id for each in results)

    for status, results, find in (
        ("running", running, partial(listed, life, Status.RUNNING)),
        ("pending", pending, partial(listed, life, Status.PENDING)),
        ("success", good, partial(recorded, db, Status.SUCCESS)),
        ("failed", bad, partial(recorded, db, Status.FAILED)),
    ):
        await wait_until_async(
            partial(are_listed, find, results), description=f"the {status} ones are listed", timeout=TIMEOUT
        )

    # One that waits is taken out, and nobody but the one who waits for it hears of it.
    gone = pending[3]
    await gone.cancel()
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
