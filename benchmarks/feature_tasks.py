"""The tasks of every measurement, beside others of their app that use what plain ones do not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

from aiotask import Limit, Retry, chain, current_job

from .tasks import Tasks

__all__ = ["FeatureTasks", "app"]

#: Seconds for which jobs wait, so that what they leave at the broker is there while others are measured.
_LATER = 3600.0


async def limited(n: int) -> int:
    return n


async def unique(n: int) -> int:
    return n


async def each_minute() -> None:
    return None


async def stream(count: int) -> AsyncIterator[int]:
    for n in range(count):
        yield n


def sync_stream(count: int) -> Iterator[int]:
    yield from range(count)


async def batch(items: list[int]) -> list[int]:
    return items


async def saving() -> None:
    job = current_job()
    job.progress(1, 2)
    job.checkpoint(1)
    raise Retry("It goes on later.", delay=_LATER)


class FeatureTasks(Tasks):
    """The tasks of every measurement, and these."""

    def __init__(self, url: str | None = None) -> None:
        super().__init__(url)
        self.limited = self.app.register_task(limited, limit=Limit(max_running=1, rate="1/h"))
        self.unique = self.app.register_task(unique, key="number-{n}", unique="unfinished", delay=_LATER)
        self.each_minute = self.app.register_task(each_minute, every=60)
        self.stream = self.app.register_task(stream)
        self.sync_stream = self.app.register_task(sync_stream)
        self.batch = self.app.register_task(batch, batch=10)
        self.saving = self.app.register_task(saving, retries=1)

    async def use_features(self, *, is_served: bool) -> None:
        """Use each feature once, and leave jobs that wait: for their limit, their time, or another job.

        Args:
            is_served: whether workers are in service; without them nothing is awaited.
        """
        app = self.app
        for n in range(3):
            self.limited.apply_async(n)
            self.unique.apply_async(1)
            self.saving.apply_async()
        chain(self.async_noop.s(1), self.async_noop.options(delay=_LATER)).apply_async()
        items = [self.batch.apply_async(n) for n in range(10)]
        streams = [self.stream.apply_async(10), self.sync_stream.apply_async(10)]
        await app.flush()
        if is_served:
            await asyncio.gather(*items)
            for each in streams:
                async for _ in each:
                    pass


app = FeatureTasks().app
