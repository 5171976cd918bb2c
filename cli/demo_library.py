"""The tasks behind ``aiotask demo --web``: a service that goes on working on the files of the standard library."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import zlib
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from aiotask import App, Limit, current_job, exponential

from .demo_tasks import Measures
from .demo_tasks import measure as measure_file

__all__ = ["app"]

app = App("library")


@app.task(queue="measuring")
def measure(path: str) -> Measures:
    """Count what is in a file of Python."""
    return measure_file(path)


@app.task(queue="measuring")
def total(measures: list[Measures], folder: str) -> dict[str, Any]:
    """The sums of a folder."""
    sums = {name: sum(each[name] for each in measures) for name in ("lines", "functions", "classes")}
    return {"folder": folder, "files": len(measures), **sums}


@app.task(queue="measuring")
def survey(folder: str) -> dict[str, Any]:
    """Measure every file of a folder in jobs of their own: this job ends with their sum."""
    paths = sorted(str(path) for path in Path(folder).glob("*.py"))[:40]
    return total.s([measure.s(path).cast for path in paths], folder).cast


@app.task(queue="packing", limit=Limit("packing", by="level", max_running_each=1, max_running=3), retries=2, timeout=60)
def compress(path: str, *, level: int = 6) -> dict[str, int]:
    """How small a file becomes."""
    data = Path(path).read_bytes()
    return {"before": len(data), "after": len(zlib.compress(data * 20, level)) // 20}


@app.task(rate="5/s")
async def digest(path: str) -> str:
    """The hash of a file."""
    return hashlib.sha256(await asyncio.to_thread(Path(path).read_bytes)).hexdigest()


@app.task(queue="settings", retries=1, backoff=exponential(base=2.0))
async def parse(path: str) -> Any:
    """Read a file as JSON, which most files are not."""
    text = await asyncio.to_thread(Path(path).read_text, "utf-8")
    return json.loads(text)


@app.task(queue="settings")
async def sign_in(user: str, *, password: str) -> str:
    """A call whose argument nobody should read."""
    return f"{user} with a password of {len(password)} characters"


@app.task(queue="words")
async def words(folder: str) -> AsyncIterator[tuple[str, int]]:
    """The most frequent word of each file, one after the other."""
    paths = (await asyncio.to_thread(_files_in, folder))[:60]
    for number, path in enumerate(paths, 1):
        counts = Counter((await asyncio.to_thread(path.read_text, "utf-8", "replace")).split())
        current_job().progress(number, len(paths), path.name)
        yield counts.most_common(1)[0] if counts else ("", 0)
        await asyncio.sleep(0.5)


def _files_in(folder: str) -> list[Path]:
    return sorted(Path(folder).glob("*.py"))


@app.task(queue="index", timeout=900)
def index(folder: str, rounds: int = 4) -> int:
    """Where each word of a folder stands: a job that takes its time."""
    found: dict[str, set[str]] = {}
    for _ in range(rounds):
        for path in sorted(Path(folder).rglob("*.py"))[:400]:
            for word in path.read_text("utf-8", "replace").split():
                found.setdefault(word, set()).add(path.name)
    return len(found)


@app.task(queue="index")
def crash(path: str) -> None:
    """End the process that runs it, as a fault in an extension would."""
    Path(path).read_bytes()
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(every=20.0, queue="index")
async def refresh() -> int:
    """How many files there are."""
    from .demo_run import source_files

    return len(await asyncio.to_thread(source_files))


@app.task(cron="30 3 * * *", timezone="Europe/Berlin", queue="index")
async def nightly() -> None:
    """Nothing: it is here for its schedule."""
