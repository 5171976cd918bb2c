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
from ..letters import OWN_ERRORS
from .look import Look
from .overview import hosts_of, running_longest

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
    if found["status"] == Status.RUNNING and (runs := await _running(look, id)) is not None:
        found |= {"runs": runs, "started_at": time.time() - float(runs["seconds"]) - float(runs["age"] or 0.0)}
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


async def _running(look: Look, id: str) -> dict[str, Any] | None:
    """How a job runs, as its host has reported; None: it is not among those that have run longest there."""
    return next((each for each in running_longest(await hosts_of(look)) if each["id"] == id), None)


def _limit_of(found: dict[str, Any]) -> str:
    """The name of the limit of a job, as its words say it; of a limit without a name, that of its task."""
    named = re.match(r'"([^"]+)"', str(found.get("limit", "")))
    return named[1] if named else str(found.get("task", ""))


async def whole_job(look: Look, id: str) -> dict[str, Any]:
    """What the server knows of a job; of one that has ended, with what the history knows besides."""
    found = await read_job(id, look.place, look.result_db)
    if "from" in found or found.get("arguments") is not None or not found.get("finished_at"):
        return found
    recorded, _ = await in_history(id, look.connection.name, look.result_db, look.connection.hidden)
    more = {name: value for name, value in (recorded or {}).items() if value is not None and name != "from"}
    return {**more, **found}


def _error(found: dict[str, Any]) -> str:
    error, trace = str(found.get("error") or ""), str(found.get("traceback") or "")
    return f"{error}\n\n{trace}".strip().removeprefix(OWN_ERRORS)


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


#: A stretch of time: label, colour, begin and end (Unix seconds), words.
_Stretch = tuple[str, str, float, float, str]


def timeline(found: dict[str, Any], now: float) -> list[Bar]:
    """The waits and runs of a job, as far as they are known."""
    sent, started, finished = (_number(found.get(name)) for name in ("sent_at", "started_at", "finished_at"))
    if sent is None:
        return []
    earlier = _earlier(found, sent)
    last = earlier[-1][3] if earlier else sent
    if started is not None:
        rest = _last_run(found, last, started, finished or now, "" if finished else "now")
    elif finished is not None:
        # Its processes died: the last of these runs is the end.
        rest = [] if earlier else [("known", "mute", sent, finished, f"{in_words(max(finished - sent, 0))}")]
    else:
        rest = _unstarted(found, last, now)
    stretches = [*earlier, *rest]
    end = max([finished or now, *(stretch[3] for stretch in stretches)])
    span = max(end - sent, 0.001)
    bars = []
    for label, kind, first, until, words in stretches:
        start = min(max((first - sent) / span, 0.0), 1.0) * 1000
        width = min(max((until - first) / span, 0.0) * 1000, 1000 - start)
        # What took no time can be seen, too.
        bars.append(Bar(label, kind, min(start, 997.0), max(width, 3.0), words, first))
    return bars


def _earlier(found: dict[str, Any], sent: float) -> list[_Stretch]:
    """The runs that another one followed, each with the wait before it: when it began is not kept."""
    stretches: list[_Stretch] = []
    since = sent
    trail = found.get("trail")
    for each in trail if isinstance(trail, list) else ():
        at = _number(each[0]) if isinstance(each, list) and len(each) >= 3 else None
        if at is None:
            continue
        at, how = max(at, since), str(each[2])
        words = " · ".join(filter(None, (str(each[1]), f"{in_words(at - since)} with its wait")))
        stretches.append((how, "bad", since, at, words))
        since = at
    return stretches


def _last_run(found: dict[str, Any], since: float, started: float, end: float, now: str) -> list[_Stretch]:
    kind = {"SUCCESS": "good", "FAILED": "bad"}.get(str(found.get("status")), "run" if now else "mute")
    took = in_words(max(end - started, 0))
    words = " · ".join(filter(None, (str(found.get("worker") or ""), f"runs for {took}" if now else took)))
    label = f"run {found['attempt']}" if found.get("attempt") else "run"
    waited = ("waited", "warn", since, started, f"{in_words(max(started - since, 0))} until it ran")
    return [waited, (label, kind, started, end, words)]


def _unstarted(found: dict[str, Any], since: float, now: float) -> list[_Stretch]:
    due = _number(found.get("due_at"))
    passed = in_words(max(now - since, 0))
    if due is not None and due > now:
        return [("waits", "warn", since, now, passed), ("until due", "mute", now, due, f"in {in_words(due - now)}")]
    if found.get("status") == "RUNNING":
        return [("since sent", "run", since, now, passed)]
    return [("waits", "warn", since, now, passed)]


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and 0 < value < 1e11 else None
