"""Jobs: unfinished jobs from the server and finished ones from the history, in one list."""

from __future__ import annotations

from typing import Any

from ...inspector import JobFilter
from ...job import Status
from ..jobs import read_page
from .finished import FINISHED, history_page, moment_in
from .look import Look

__all__ = ["jobs"]

#: What the places of the list of finished jobs begin with.
_IN_HISTORY = "history:"


async def jobs(look: Look) -> dict[str, Any]:
    status, after, limit = look.status(), look.asked("after", 500), look.rows
    wanted = JobFilter(status, look.asked("queue") or None, look.asked("task") or None, look.asked("prefix"))
    since, until, text = moment_in(look.asked("since")), moment_in(look.asked("until")), look.asked("q")
    # What was asked for by time or text has ended: what has not is found by its status, queue, task and id.
    only_ended = status in FINISHED or since is not None or until is not None or bool(text)
    found: list[dict[str, Any]] = []
    following = note = ""
    if not only_ended and not after.startswith(_IN_HISTORY):
        found = await read_page(look.place, wanted, after, limit)
        following = found[-1].get("after", "") if found else ""
    if not following and len(found) < limit and (status is None or status in FINISHED):
        place = after.removeprefix(_IN_HISTORY) if after.startswith(_IN_HISTORY) else ""
        ended = await history_page(
            look,
            status=status,
            task=wanted.task,
            queue=wanted.queue,
            since=since,
            until=until,
            text=text,
            after=place,
            limit=limit - len(found),
        )
        found += [job for job in ended.jobs if job["id"].startswith(wanted.prefix)]
        following, note = (_IN_HISTORY + ended.after if ended.after else ""), ended.note
    stats = await look.stats()
    return {
        "title": "Jobs",
        "jobs": found,
        "after": following,
        "note": note,
        "status": status,
        "wanted": wanted,
        "text": text,
        "since": look.asked("since"),
        "until": look.asked("until"),
        "only_ended": only_ended,
        "counts": {
            Status.PENDING: stats.pending,
            Status.SCHEDULED: stats.scheduled,
            Status.WAITING: stats.waiting,
            Status.RUNNING: stats.running,
            Status.PARKED: stats.parked,
        },
        "queues": sorted(each.name for each in stats.queues),
    }
