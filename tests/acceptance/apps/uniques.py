"""Unique jobs, each run of which is in the ledger. As a program it sends some, and prints what it was told."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys

from aiotask import App, AsyncResult, JobExists, exponential

from ..ledger import entered

app = App(os.environ["TEST_APP"])


@app.task(key="{key}", retries=20, backoff=exponential(base=0.01, limit=0.02))
async def work(key: str, n: int, pause: float = 0.0) -> int:
    with entered(f"{key} {n}"):
        await asyncio.sleep(pause)
        return n


@app.task(key="{key}", unique="unfinished")
async def hard(key: str, n: int, how: str = "") -> int:
    with entered(key):
        if how == "fail":
            raise ValueError(key)
        if how == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        return n


async def told(result: AsyncResult[int]) -> str:
    try:
        await result.sent()
    except JobExists as error:
        return f"refused for {error.job_id}"
    return result.id


async def main(first: int, count: int) -> None:
    said = {}
    async with app:
        for unique in ("kept", "unfinished", "pending", 600.0):
            for answer in ("existing", "replace", "error"):
                key = f"{unique}-{answer}"
                task = work.options(unique=unique, on_conflict=answer)
                calls = [task.apply_async(key, n, 0.01) for n in range(first, first + count)]
                said[key] = [await told(call) for call in calls]
    print(json.dumps(said))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
