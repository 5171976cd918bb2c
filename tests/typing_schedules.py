"""Schedules as type checkers see them. Checked by mypy and pyright, never run; see ``typing_api.py``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any, assert_type

from aiotask import App, AsyncResult, AsyncTask, Schedule

app = App("schedules")


@app.task(cron="0 9 * * MON-FRI", timezone="Europe/Berlin", jitter=20, missed="all")
def report(customer: int = 0) -> str:
    return ""


@app.task(every=timedelta(minutes=5))
async def clean_up() -> None: ...


app.task(cron=5)  # type: ignore[call-overload]
app.task(crn="* * * * *")  # type: ignore[call-overload]
app.task(every=5, missed="never")  # type: ignore[call-overload]
report.options(cron="@daily")  # type: ignore[call-arg]

assert_type(clean_up, AsyncTask[[], None])


def overdue(schedule: Schedule) -> datetime | None:
    return schedule.next_run


async def steer() -> list[Schedule]:
    await app.schedules.set("report-7", report.s(7), cron="0 9 * * *", timezone="Asia/Tokyo", missed="skip")
    await app.schedules.set("report-7", report, every=5)  # type: ignore[arg-type]
    await app.schedules.pause("report-7")
    assert_type(await app.schedules.remove("report-7"), bool)
    assert_type(await app.schedules.run_now("report-7"), AsyncResult[Any])
    assert_type(app.schedules.list(after="a", limit=10), AsyncIterator[Schedule])
    return [schedule async for schedule in app.schedules.list() if overdue(schedule)]
