"""Jobs that come by themselves: by a calendar, every few seconds, and set at run time for each customer.

Run its jobs (they need ``pip install 'aiotask[cron]'``)::

    aiotask worker examples.cron

Then, in the same directory::

    python -m examples.cron
"""

import asyncio
import os
import tempfile
import time
from pathlib import Path

from aiotask import App, current_job

FOLDER = Path(os.environ.get("REPORTS", os.path.join(tempfile.gettempdir(), "reports")))

app = App("cron")


@app.task(cron="30 8 * * MON-FRI", timezone="Europe/Berlin", jitter=20, missed="skip")
def greet() -> None:
    """Every morning of a working day. One that was missed is too late."""
    print("Good morning.")


@app.task(every=0.5)
def measure() -> None:
    """Twice a second, on whichever worker is free."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "measured").open("a") as file:
        file.write(f"{current_job().id}\n")


@app.task
def report(customer: int) -> str:
    return f"report of customer {customer}"


async def main() -> None:
    async with app:
        await app.schedules.set("report-7", report.s(7), cron="0 9 * * *", timezone="Asia/Tokyo")
        now = await app.schedules.run_now("report-7")
        print(await now)
        print([schedule.name async for schedule in app.schedules.list() if schedule.timezone == "Asia/Tokyo"])
        await app.schedules.remove("report-7")


if __name__ == "__main__":
    asyncio.run(main())
    while not (FOLDER / "measured").exists():
        time.sleep(0.1)
    print("measured, though no program has called it")
