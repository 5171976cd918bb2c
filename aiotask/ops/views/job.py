"""One job, with everything that is known about it; nothing that it carries is loaded."""

from __future__ import annotations

import re
import time
from typing import Any, NamedTuple, cast

from ...brokers import features
from ...brokers.technology import GRAPHS
from ...inspector import GraphInspector
from ...job import Status
from ...log.events import in_words
from ..jobs import in_history, read_job
from .look import Look

__all__ = ["Bar", "job", "timeline", "whole_job"]

#: Jobs that a job has sent, of which the view names.
_CHILDREN = 50
_UNSTARTED = (Status.PENDING, Status.SCHEDULED, Status.WAITING, Status.RETRYING, Status.PARKED)


async def job(look: Look, id: str) -> dict[str, Any]:
    """A job.

    Raises:
        ResultExpired: there is none of this id.
    """
    found = await whole_job(look, id)
    letter = await look.connection.inspector.dead_letter(id)
    status = found["status"]
    return {
        "title": f"Job {id}",
        "job": found,
        "id": id,
        "is_letter": letter is not None,
        "is_unfinished": status in Status.__members__ and (status in _UNSTARTED or status == Status.RUNNING),
        "is_due_later": status in (Status.SCHEDULED, Status.RETRYING),
        "children": await _children(look, id),
        "bars": timeline(found, time.time()),
        "limit_name": _limit_of(found),
        "error": _error(found),
    }


def _limit_of(found: dict[str, Any]) -> str:
    """The name of the limit of a job, as its words say it; of a limit without a name, that of its task."""
    named = re.match(r'"([^"]+)"', str(found.get("limit", "")))
    return named[1] if named else str(found.get("task", ""))


async def whole_job(look: Look, id: str) -> dict[str, Any]:
    """What the server knows of a job; of one that has ended, with what the history knows besides."""
    found = await read_job(id, look.place, look.result_db)
    if "from" in found or found.get("arguments") is not None or not found.get("finished_at"):
        return found
    recorded, _ = await in_history(id, look.connection.name, look.result_db)
    more = {name: value for name, value in (recorded or {}).items() if value is not None and name != "from"}
    return {**more, **found}


def _error(found: dict[str, Any]) -> str:
    error, trace = str(found.get("error") or ""), str(found.get("traceback") or "")
    return f"{error}\n\n{trace}".strip()


async def _children(look: Look, id: str) -> list[str]:
    if GRAPHS not in features(look.connection.broker.url):
        return []
    return (await cast("GraphInspector", look.connection.inspector).children(id))[-_CHILDREN:]


# ---- the timeline


class Bar(NamedTuple):
    """One stretch of the life of a job: its row, its colour, where it stands (per mille), and its words."""

    label: str
    kind: str
    start: float
    width: float
    words: str
    #: Unix seconds.
    at: float


def timeline(found: dict[str, Any], now: float) -> list[Bar]:
    """The waits and runs of a job, as far as they are known."""
    sent, started, finished = (_number(found.get(name)) for name in ("sent_at", "started_at", "finished_at"))
    due = _number(found.get("due_at"))
    if sent is None:
        return []
    status = str(found.get("status"))
    end = finished or max(now, sent)
    stretches, since = _earlier(found, sent)
    if started is not None:
        stretches.append(("waited", "warn", since, started, f"{in_words(max(started - since, 0))} until it ran"))
        kind = {"SUCCESS": "good", "FAILED": "bad"}.get(status, "mute" if finished else "run")
        last = finished or now
        worker = f"{found['worker']} · " if found.get("worker") else ""
        label = f"run {found['attempt']}" if found.get("attempt") else "run"
        stretches.append((label, kind, started, last, f"{worker}{in_words(max(last - started, 0))}"))
    elif due is not None and due > now:
        what = "since then" if stretches else "since sent"
        stretches.append((what, "warn", since, now, in_words(max(now - since, 0))))
        stretches.append(("until due", "mute", now, due, f"in {in_words(due - now)}"))
        end = due
    else:
        word = "sent" if status == "RUNNING" else "waited" if finished else "waits"
        if stretches and status == "RUNNING":
            word = "goes on"
        kind = "run" if status == "RUNNING" else "warn"
        ago = "" if finished else " ago"
        stretches.append((word, kind, since, end, f"{in_words(max(end - since, 0))}{ago}"))
    span = max(end - sent, 0.001)
    bars = []
    for label, kind, first, last, words in stretches:
        start = min(max((first - sent) / span, 0.0), 1.0) * 1000
        width = min(max((last - first) / span, 0.0) * 1000, 1000 - start)
        bars.append(Bar(label, kind, start, max(width, 3.0), words, first))
    return bars


def _earlier(found: dict[str, Any], sent: float) -> tuple[list[tuple[str, str, float, float, str]], float]:
    """The runs before the last one, of which only the ends are known, and when the last of these was."""
    stretches: list[tuple[str, str, float, float, str]] = []
    since = sent
    for run in found.get("trail") or ():
        at = _number(run[0]) if isinstance(run, list | tuple) and len(run) == 4 else None
        # The clocks of two hosts may disagree.
        if at is not None and at >= since:
            _, worker, how, _ = run
            kind = "warn" if how == "retried" else "bad"
            stretches.append((str(how), kind, since, at, f"{worker} · {in_words(at - since)} with its wait before"))
            since = at
    return stretches, since


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and 0 < value < 1e11 else None
