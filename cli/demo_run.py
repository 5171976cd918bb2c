"""The work of ``aiotask demo``, twice: through workers, and in this process alone."""

from __future__ import annotations

import asyncio
import sysconfig
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import TaskID

from aiotask.errors import AiotaskError

from .demo_tasks import Measures, app, measure

if TYPE_CHECKING:
    from rich.progress import Progress

    from aiotask.inspector import Inspector

    from .demo_workers import DemoWorkers

__all__ = ["Run", "alone", "source_files", "stdlib", "through_workers"]

#: Seconds that the workers get to start, and that one file may take.
START_TIMEOUT, FILE_TIMEOUT = 60.0, 120.0


@dataclass
class Run:
    """One way to measure the files: its results, and its duration (seconds)."""

    measures: dict[str, Measures] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    #: CPU seconds of the processes that took part, without this one.
    cpu: float = 0.0
    workers: int = 1


def stdlib() -> str:
    """The directory of the standard library of this interpreter."""
    return sysconfig.get_path("stdlib")


def source_files() -> list[str]:
    """Every Python file of the standard library, with its tests, without installed packages."""
    found = Path(stdlib()).rglob("*.py")
    return sorted(str(file) for file in found if not {"site-packages", "dist-packages"} & set(file.parts))


async def through_workers(files: list[str], concurrency: int, workers: DemoWorkers, progress: Progress) -> Run:
    bar = progress.add_task("starting workers", total=None, rate="")
    async with app, app.inspector() as inspector:
        live = await _until_live(inspector, concurrency, workers)
        progress.update(bar, description=f"in {live} worker processes", total=len(files))
        run = Run(workers=live)
        guard = asyncio.create_task(_watch(workers))
        work = asyncio.create_task(_measure_all(files, run, progress, bar))
        try:
            await asyncio.wait({guard, work}, return_when=asyncio.FIRST_COMPLETED)
            if guard.done():
                guard.result()
            await work
        finally:
            guard.cancel()
            work.cancel()
            await asyncio.gather(guard, work, return_exceptions=True)
    return run


async def _until_live(inspector: Inspector, concurrency: int, workers: DemoWorkers) -> int:
    deadline = time.monotonic() + START_TIMEOUT
    while (live := len(await inspector.workers())) < concurrency:
        workers.check()
        if time.monotonic() > deadline:
            raise AiotaskError(
                f"Only {live} of {concurrency} workers came up in {START_TIMEOUT:.0f} s. "
                f"The end of their log:\n{workers.log_tail()}"
            )
        await asyncio.sleep(0.05)
    return concurrency


async def _watch(workers: DemoWorkers) -> None:
    while True:
        workers.check()
        await asyncio.sleep(0.1)


async def _measure_all(files: list[str], run: Run, progress: Progress, bar: TaskID) -> None:
    """Send every file at once; an interrupted run cancels the jobs that have not started."""
    started = time.perf_counter()
    sent = {file: measure.apply_async(file) for file in files}

    async def collect(file: str) -> None:
        try:
            run.measures[file] = await sent[file].wait(FILE_TIMEOUT)
        except Exception as error:  # every outcome of a job is part of the report
            run.errors[file] = f"{type(error).__name__}: {error}"
        _advance(progress, bar, started)

    try:
        await asyncio.gather(*(collect(file) for file in files))
    except asyncio.CancelledError:
        unfinished = [sent[file] for file in files if file not in run.measures]
        progress.update(bar, description="taking jobs back")
        await asyncio.gather(*(result.cancel() for result in unfinished), return_exceptions=True)
        raise
    run.seconds = time.perf_counter() - started


def alone(files: list[str], progress: Progress) -> Run:
    """Measure the files in this process, with a plain call per file."""
    run = Run()
    bar = progress.add_task("in this process alone", total=len(files), rate="")
    started, cpu = time.perf_counter(), time.process_time()
    for file in files:
        run.measures[file] = measure(file)
        _advance(progress, bar, started)
    run.seconds = time.perf_counter() - started
    run.cpu = time.process_time() - cpu
    return run


def _advance(progress: Progress, bar: TaskID, started: float) -> None:
    progress.advance(bar)
    done = progress.tasks[bar].completed
    progress.update(bar, rate=f"{done / max(time.perf_counter() - started, 1e-9):,.0f} files/s")
