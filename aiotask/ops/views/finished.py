"""Finished jobs by the page, from the history file."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any, NamedTuple

from ...errors import AiotaskError, ConfigError
from ...history.resultdb import HistoryPage, ResultDB
from ...job import Status
from ..describe import describe_record
from .look import Look

__all__ = ["FINISHED", "Finished", "history_page", "moment_in"]

FINISHED = frozenset({Status.SUCCESS, Status.FAILED, Status.CANCELLED, Status.EXPIRED})
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Finished(NamedTuple):
    """A page of finished jobs; ``after``: where the next one begins; ``note``: why there are none."""

    jobs: list[dict[str, Any]]
    after: str = ""
    note: str = ""
    path: str = ""


async def history_page(
    look: Look,
    *,
    status: Status | None = None,
    task: str | None = None,
    queue: str | None = None,
    since: float | None = None,
    until: float | None = None,
    text: str = "",
    after: str = "",
    limit: int = 50,
) -> Finished:
    """Finished jobs of the app, those that ended last first."""
    try:
        history = ResultDB(look.result_db, app=look.connection.app)
    except ConfigError as error:
        return Finished([], note=str(error))
    path = str(history.path)
    if not history.path.exists():
        return Finished([], note=f'No history file is at "{path}". {_HOW}', path=path)
    try:
        page = await history.page(
            task=task, status=status, queue=queue, since=since, until=until, text=text or None, after=after, limit=limit
        )
        # A server that was emptied does not know what its app hides.
        hidden = look.connection.hidden.joined(await history.hidden())
    except AiotaskError as error:
        if after and isinstance(error, ConfigError):
            raise
        return Finished([], note=str(error), path=path)
    finally:
        await history.close()
    jobs = [_as_on_server(describe_record(record, hidden)) for record in page.records]
    return Finished(jobs, page.after, _cut(page), path)


def _cut(page: HistoryPage) -> str:
    """That a search has ended since its time was over, as a sentence; empty: it has not."""
    if not page.is_cut:
        return ""
    if page.until is None:
        return "The search took too long, and is not over: the next page goes on."
    when = datetime.fromtimestamp(page.until, UTC)
    return f"The search took too long: it has looked back to {when:%Y-%m-%d %H:%M:%S} UTC, and the next page goes on."


_HOW = (
    "Workers record finished jobs with aiotask worker --result-db FILE; aiotask web and aiotask top find it with "
    "the same option."
)


def _as_on_server(record: dict[str, Any]) -> dict[str, Any]:
    """A finished job with the names of fields that a job on the server has."""
    record["attempt"] = record.pop("attempts")
    record["value"] = record.pop("result")
    record["status"] = str(record["status"] or "?")
    return record


def moment_in(text: str) -> float | None:
    """Unix seconds in a text: an age (``10m``, ``2h``, ``3d``), a date or time with its zone (UTC without one), or Unix
    seconds; None: it is empty.

    Raises:
        ConfigError: it is none of these.
    """
    if not text:
        return None
    if text[-1:] in _UNITS and text[:-1].isdecimal() and len(text) < 8:
        return time.time() - int(text[:-1]) * _UNITS[text[-1]]
    try:
        return float(text)
    except ValueError:
        pass
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise ConfigError(
            f'"{text}" is not a moment. Write how long ago it was (10m, 2h, 7d), a date or time (2026-01-31, '
            "2026-01-31T23:00), or Unix seconds."
        ) from None
