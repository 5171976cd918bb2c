"""A middleware that beats while a job runs, sync or async: a job whose last beat is old hangs.

Run its jobs::

    aiotask worker examples.heartbeat

Then, in the same directory::

    python -m examples.heartbeat
"""

import asyncio
import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from aiotask import App, JobContext, Middleware

FOLDER = Path(os.environ.get("HEARTBEATS", os.path.join(tempfile.gettempdir(), "heartbeats")))


class Heartbeat(Middleware):
    """Appends a line to a file of the job, and again as long as it runs. One beat says that the process is alive and
    not stuck in code that holds the GIL; it needs no help of the task."""

    def __init__(self, folder: Path, interval: float) -> None:
        self._folder = folder
        self._interval = interval

    @contextlib.contextmanager
    def execute(self, job: JobContext, /) -> Iterator[None]:
        over = threading.Event()
        threading.Thread(target=self._beat, args=(job.id, over), daemon=True).start()
        try:
            yield
        finally:
            over.set()

    def _beat(self, id: str, over: threading.Event) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        while True:
            with (self._folder / id).open("a") as file:
                file.write(f"{time.time()}\n")
            if over.wait(self._interval):
                return


app = App("heartbeat", middleware=[Heartbeat(FOLDER, interval=0.1)])


@app.task
def compute(seconds: float) -> float:
    """A sync job: it has the thread until it returns."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass
    return seconds


@app.task
async def wait(seconds: float) -> float:
    """An async job."""
    await asyncio.sleep(seconds)
    return seconds


async def main() -> None:
    async with app:
        for task in (compute, wait):
            result = task.apply_async(0.5)
            await result
            beats = (FOLDER / result.id).read_text().splitlines()
            print(f"{task.__name__}: {'beat while it ran' if len(beats) > 1 else 'no beat'}")


if __name__ == "__main__":
    asyncio.run(main())
