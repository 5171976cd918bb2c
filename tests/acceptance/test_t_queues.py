"""T16: weights and strict order of queues with real worker processes that have more to do than they can."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import redis.asyncio

from aiotask import App

from ..helpers import wait_until_async
from ..workers import Workers

SHOP = """
import asyncio, os, random
import redis.asyncio
from aiotask import App, current_job

app = App(os.environ["TEST_APP"])
server = redis.asyncio.from_url(os.environ["AIOTASK_URL"])


@app.task(ignore_result=True)
async def start() -> None:
    await server.rpush(f"{app.name}:started", current_job().job.queue)
    # Longer than the 50 ms for which a worker claims ahead, and at random: a claim is for a few seats.
    await asyncio.sleep(random.uniform(0.06, 0.12))
"""


@pytest.mark.parametrize("queues", ["critical:6,default:3,low:1", "critical>default>low"])
async def test_t16_what_starts_first(
    workers: Workers, redis_url: str, app_name: str, tmp_path: Path, queues: str
) -> None:
    (tmp_path / "queued_shop.py").write_text(SHOP)
    app, started = App(app_name, url=redis_url), f"{app_name}:started"

    @app.task(name="queued_shop:start", ignore_result=True)
    async def start() -> None: ...

    async with redis.asyncio.from_url(redis_url) as server, app:
        for _ in range(1_500):
            for queue in ("low", "default", "critical"):
                start.options(queue=queue).apply_async()
        await app.flush()
        options = ("--queues", queues, "--max-in-flight", "25")
        supervisor = workers.start(
            "queued_shop", concurrency=2, options=options, env={"TEST_APP": app_name}, app_dir=tmp_path
        )

        async def enough() -> bool:
            return await server.llen(started) >= 1_500

        await wait_until_async(enough, description="jobs start", timeout=60)
        first = Counter(name.decode() for name in await server.lrange(started, 0, 1_499))
        await server.delete(started)

    shown = "critical > default > low" if ">" in queues else "critical:6, default:3, low:1"
    assert f"queues   {shown}" in supervisor.log
    if ">" in queues:
        assert first["critical"] >= 1_400, first
    else:
        assert first["critical"] == pytest.approx(900, abs=225), first
        assert first["default"] == pytest.approx(450, abs=225), first
        assert first["low"] == pytest.approx(150, abs=140), first
