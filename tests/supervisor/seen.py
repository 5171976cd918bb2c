"""What can be seen of a supervisor and its workers from outside."""

from __future__ import annotations

from aiotask import App

from ..acceptance.stage import Stage
from ..helpers import wait_until_async

#: Beyond any doubt: nothing here sleeps so long to its end.
NEVER = 100.0


async def started(stage: Stage, label: object, times: int = 1) -> int:
    """The pid of the latest run, once the job has started this number of times."""
    runs = await wait_until_async(
        lambda: (runs := stage.ledger.runs(label))[times - 1 :] and runs,
        description=f"{label} has started {times} times",
    )
    return runs[-1].pid


async def live(app: App) -> set[int]:
    """Pids of the workers that the broker knows."""
    async with app.inspector() as inspector:
        return {int(str(worker.facts["pid"])) for worker in await inspector.workers()}


async def live_workers(app: App, count: int, *, without: set[int] = frozenset()) -> set[int]:  # type: ignore[assignment]
    """Pids, once there are so many, and none of those."""

    async def there() -> set[int]:
        pids = await live(app)
        return pids if len(pids) == count and not pids & without else set()

    return await wait_until_async(there, description=f"{count} workers are live")


async def places_of(stage: Stage, *ids: str) -> dict[str, tuple[str, int]]:
    """Status and attempt of unfinished jobs."""
    async with stage.app.inspector() as inspector:
        jobs = [await inspector.job(id) for id in ids]
    return {job.id: (job.status.value, job.meta.attempt) for job in jobs if job is not None}
