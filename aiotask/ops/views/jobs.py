"""Jobs: unfinished jobs from the server and finished ones from the history, in one list."""

from __future__ import annotations

from typing import Any

from ...errors import ConfigError
from ...inspector import JobFilter
from ...job import Status
from ..jobs import is_newest_first, order_words, read_keyed, search
from .finished import FINISHED, history_page, moment_in
from .look import Look

__all__ = ["jobs"]

#: What the places of the list of finished jobs begin with.
_IN_HISTORY = "history:"
#: Seconds, and jobs on the server, after which a search ends and says how far it has looked.
_SECONDS, _MOST = 0.05, 5_000


async def jobs(look: Look) -> dict[str, Any]:
    status, after, limit = look.status(), look.asked("after", 500), look.rows
    since, until, text = moment_in(look.asked("since")), moment_in(look.asked("until")), look.asked("q")
    queue, task, prefix = look.asked("queue") or None, look.asked("task") or None, look.asked("prefix")
    wanted = JobFilter(status, queue, task, prefix, text)
    newest = is_newest_first(wanted, look.asked("order"))
    key = look.asked("key")
    # What was asked for by time has ended: what has not is found by its status, queue, task, id and text.
    only_ended = status in FINISHED or since is not None or until is not None
    # A database cannot search rows for a text.
    is_searched = not text or look.connection.app is not None
    found: list[dict[str, Any]] = []
    following = note = ""
    looked = look.number("looked", 0, 10**9) if look.asked("looked") else 0
    if key:
        if prefix or text or since is not None or until is not None:
            raise ConfigError(
                "A key goes with the task alone: leave out the times, the text and the beginning of the id."
            )
        keyed = await read_keyed(look.place, wanted.task, key, limit)
        found = [job for job in keyed if status in (None, job["status"]) and queue in (None, job.get("queue"))]
    elif not only_ended and is_searched and not after.startswith(_IN_HISTORY):
        page = await search(look.place, wanted, after, limit, newest=newest, seconds=_SECONDS, most=_MOST)
        found, following, looked = page.jobs, page.after, looked + page.looked
    is_cut = bool(following) and len(found) < limit
    if not key and not following and len(found) < limit and (status is None or status in FINISHED):
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
    has_order = not key and not only_ended and status in (None, Status.PENDING, Status.PARKED)
    stats = await look.stats()
    if is_cut:
        whole = stats.pending + stats.scheduled + stats.parked + stats.waiting + stats.running
        note = f"Looked at {looked:,} of {max(whole, looked):,} unfinished jobs; the next page goes on."
    return {
        "title": "Jobs",
        "jobs": found,
        "after": following,
        "looked": looked if is_cut else "",
        "note": note,
        "order": _order(status, newest=newest, only_ended=only_ended) if not key else "",
        # Where jobs in queues are listed, they can be listed the other way round.
        "other_order": ("oldest" if newest else "newest") if has_order else "",
        "status": status,
        "wanted": wanted,
        "text": text,
        "key": key,
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


def _order(status: Status | None, *, newest: bool, only_ended: bool) -> str:
    """In which order the jobs are listed, as a sentence."""
    if only_ended:
        return "Order: those that ended last first."
    ended = "; ended ones latest first" if status is None else ""
    return f"Order: {order_words(status, newest=newest)}{ended}."
