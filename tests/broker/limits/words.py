"""Short words for driving limited jobs through the seam."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from aiotask.broker import Delivery, Push, Settled, Special
from aiotask.job import RELEASE, Job, More, encode_job
from aiotask.wire.seal import Sealer

from ...seam import Worker, finish

__all__ = ["Declare", "end", "limited"]

Declare = Callable[..., Awaitable[None]]

_jobs = Sealer(["test"], "job")


def limited(
    id: str, key: str = "", *, name: str = "api", queue: str = "default", priority: int = 5, **more: Any
) -> Push:
    """A job of a limit and key."""
    limit = f"{name}:{key}"
    job = Job(RELEASE, id, "shop.tasks:render", queue, b"", priority, more=More(limit=limit))
    return Push(id, queue, priority, _jobs.seal(encode_job(job)), special=Special(limit=limit), **more)


async def end(worker: Worker, *deliveries: Delivery, **options: Any) -> list[Settled]:
    """End limited jobs, as the settler does."""
    broker = worker.broker
    batch = [finish(delivery, special=True, **options) for delivery in deliveries]
    settled, _, _ = await broker.finish_special(worker.name, batch)  # type: ignore[attr-defined]
    return list(settled)
