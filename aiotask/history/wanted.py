"""What recorded jobs are searched by, as conditions of SQL."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Any

from ..errors import ConfigError
from ..job import Status
from .pages import Wanted

__all__ = ["Moment", "conditions", "unix"]

#: Unix seconds, an aware datetime, or a timedelta before now.
Moment = float | datetime | timedelta
#: LIKE ignores the case of ASCII letters.
_TEXT = "(id || char(10) || ifnull(arguments, '') || char(10) || ifnull(result, '') || char(10) || ifnull(error, '')) "


def conditions(
    task: str | None,
    status: Status | str | None,
    queue: str | None,
    graph: str | None,
    text: str | None,
    since: Moment | None,
    until: Moment | None,
) -> Wanted:
    """The conditions for these arguments of ``ResultDB.search``.

    Raises:
        ConfigError: an argument is not valid.
    """
    if status is not None and status not in Status.__members__:
        raise ConfigError(f'"{status}" is not a status. Use one of: {", ".join(Status)}.')
    given: dict[str, Any] = {
        "task = ?": task,
        "status = ?": None if status is None else str(status),
        "queue = ?": queue,
        "graph = ?": graph,
        f"{_TEXT}LIKE ? ESCAPE '!'": f"%{_escaped(text)}%" if text else None,
        "finished_at >= ?": None if since is None else unix(since, "since"),
        "finished_at < ?": None if until is None else unix(until, "until"),
    }
    given = {condition: value for condition, value in given.items() if value is not None}
    return Wanted(list(given), list(given.values()))


def _escaped(text: str) -> str:
    for sign in "!%_":
        text = text.replace(sign, f"!{sign}")
    return text


def unix(moment: Moment, name: str) -> float:
    """A moment in Unix seconds; ``name`` is that of the argument, for the error.

    Raises:
        ConfigError: a datetime has no time zone.
    """
    if isinstance(moment, timedelta):
        return time.time() - moment.total_seconds()
    if not isinstance(moment, datetime):
        return float(moment)
    if moment.tzinfo is None:
        raise ConfigError(f'{name}="{moment}" has no time zone. Use an aware datetime: datetime.now(timezone.utc).')
    return moment.timestamp()
