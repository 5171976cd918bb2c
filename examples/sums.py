"""Jobs, groups and chains of one task, with a word at each change of a job's status.

Run its jobs, and send some::

    aiotask worker examples.sums --concurrency 2
    python -m examples.sums
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from aiotask import App, JobContext, Middleware, group


class Said(Middleware):
    """Says what becomes of jobs, in the worker's log."""

    @contextmanager
    def execute(self, job: JobContext, /) -> Iterator[None]:
        job.logger.info("processing")
        yield

    def on_retry(self, job: JobContext, error: Exception, delay: float, /) -> None:
        job.logger.info("retrying in %.1f s, after %r", delay, error)

    def on_finish(self, job: JobContext, status: str, error: Exception | None, /) -> None:
        job.logger.info("ended as %s", status)


app = App("sums", middleware=[Said()])


@app.task(retries=1)
def add(a: int, b: int) -> int:
    return a + b


async def main() -> None:
    job = add.apply_async(5, 4)
    print(await job, await job.status())
    print(await group(add.s(n, 4) for n in range(3)).apply_async())
    print(await add.s(0, 4).then(add, 4).then(add, 4).apply_async())


if __name__ == "__main__":
    asyncio.run(main())
