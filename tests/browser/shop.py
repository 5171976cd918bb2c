"""The app behind the dashboard that a browser looks at."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from aiotask import App, Limit

app = App(os.environ.get("TEST_APP", "shop"), url=os.environ.get("AIOTASK_URL"))


@app.task(name="shop:render")
async def render(tile: int) -> int:
    return tile


@app.task(name="shop:read", queue="reading", retries=1, backoff=lambda failures: 0.01)
async def read(path: str) -> str:
    return Path(path).read_text()


@app.task(name="shop:add", limit=Limit("sums", max_running=2))
async def add(left: int, right: int) -> int:
    return left + right


@app.task(name="shop:decode", queue="reading")
def decode(picture: str) -> None:
    print(f"cannot decode {picture}", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGSEGV)


@app.task(name="shop:report", every=3600.0)
async def report() -> None: ...
