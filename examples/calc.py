"""A calculation whose steps are jobs, and its results in the history file.

Run its jobs, and send some::

    aiotask worker examples.calc --concurrency 2
    python -m examples.calc

The embedded server has a history file beside its data. With a server of your own, name one for both commands:
``AIOTASK_RESULT_DB=calc.db``.
"""

from __future__ import annotations

import asyncio

from aiotask import App, AsyncResult, ResultDB

app = App("calc")


@app.task
def add(a: int, b: int) -> int:
    return a + b


@app.task
def mul(a: int, b: int) -> int:
    return a * b


async def recorded(db: ResultDB, result: AsyncResult[int]) -> None:
    """Return once the history has all jobs of the calculation; it gets them shortly after they have ended."""
    jobs = len((await result.graph()).nodes)
    while await db.count(graph=result.id) < jobs:  # noqa: ASYNC110  # The keeper writes the file, in another process.
        await asyncio.sleep(0.05)


async def main() -> None:
    result = mul.s(add.s(1, 2).cast, add.s(3, 4).cast).apply_async()
    print(f"(1 + 2) * (3 + 4) = {await result}")

    async with ResultDB(app=app) as db:  # creates the file, or brings its schema up to date: db.setup()
        await recorded(db, result)
        print(await db.fetch_status(result.id), await db.fetch_result(result.id))
        for record in await db.fetch_all():  # the latest first
            if record.graph == result.id:
                print(f"{record.task} took the values of {len(record.deps)} jobs; its own is {record.result}")


if __name__ == "__main__":
    asyncio.run(main())
