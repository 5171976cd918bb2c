"""An app whose workers ``aiotask top`` looks at."""

from __future__ import annotations

import asyncio
import os

from aiotask import App

app = App(os.environ.get("TEST_APP", "shop"), url=os.environ.get("AIOTASK_URL"))


@app.task(name="shop:wait")
async def wait(seconds: float) -> None:
    await asyncio.sleep(seconds)
