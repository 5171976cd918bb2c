"""The options that choose jobs, for every command that lists them or acts on them."""

from __future__ import annotations

import datetime
import time
from enum import StrEnum
from typing import Annotated

import typer

from .options import count, duration, option

__all__ = [
    "After",
    "Ended",
    "InQueue",
    "JobIdOrNone",
    "Limit",
    "OfTask",
    "Since",
    "Until",
    "WithError",
    "WithId",
    "WithKey",
    "WithText",
]


class Ended(StrEnum):
    """Statuses that a finished job has."""

    SUCCESS = "success"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


#: A bare number from here on is a Unix time (2001 and later), below it an age.
_UNIX = 1e9


def moment(text: str | float) -> float:
    """Unix seconds in a text: an age (``10m``), a date or time (local unless it has a zone), or Unix seconds."""
    text = str(text).strip()
    try:
        age = duration(text)
    except typer.BadParameter:
        pass
    else:
        return age if age >= _UNIX else time.time() - age
    try:
        return datetime.datetime.fromisoformat(text).astimezone().timestamp()
    except (ValueError, OverflowError, OSError):
        raise typer.BadParameter(
            f'"{text}" is not a moment. Write how long ago it was (10m, 2h, 7d), a date or time (2025-12-31, '
            "2025-12-31T23:00), or Unix seconds."
        ) from None


JobIdOrNone = Annotated[
    str | None, typer.Argument(metavar="ID", help="Show only this job, with everything that is known about it.")
]
OfTask = Annotated[str | None, option("--task", "-t", metavar="NAME", help="Only jobs of this task.")]
InQueue = Annotated[str | None, option("--queue", "-q", metavar="NAME", help="Only jobs of this queue.")]
WithKey = Annotated[
    str | None,
    option("--key", metavar="KEY", help="Only jobs of the task with this key; needs --task. They are not paged."),
]
Since = Annotated[
    float | None,
    option(
        "--since",
        parser=moment,
        metavar="MOMENT",
        help="Only jobs that ended at or after this time: 10m (ago), 2025-12-31, 2025-12-31T23:00 or Unix seconds.",
    ),
]
Until = Annotated[
    float | None,
    option(
        "--until",
        parser=moment,
        metavar="MOMENT",
        help="Only jobs that ended before this time, in the same formats.",
    ),
]
Limit = Annotated[int, option("--limit", "-l", parser=count, metavar="N", help="Number of jobs per page.")]
After = Annotated[
    str, option("--after", metavar="PLACE", help="Where the page begins, as printed at the end of the page before.")
]
WithError = Annotated[
    str | None,
    option(
        "--error",
        "-e",
        metavar="TEXT",
        help="Only jobs whose error contains this text in its first line (case is ignored).",
    ),
]
WithText = Annotated[
    str,
    option(
        "--text", metavar="TEXT", show_default=False, help="Only jobs with this text in their ID, names or arguments."
    ),
]
WithId = Annotated[
    str, option("--id", metavar="TEXT", show_default=False, help="Only jobs whose ID begins with this text.")
]
