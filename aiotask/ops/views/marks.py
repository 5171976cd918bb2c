"""States as a glyph, a colour and a word; questions before an action; and the six numbers of the overview."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ...brokers.pauses import Pause
from ...inspector import QueueInfo, Stats
from ..pauses import KnownTask
from .words import ago_words, count, duration, per, rate

__all__ = [
    "QUESTIONS",
    "STATUSES",
    "Mark",
    "Number",
    "audit_mark",
    "bulk_mark",
    "graph_mark",
    "more_of",
    "numbers_of",
    "paused_words",
    "queue_mark",
    "run_mark",
    "status_mark",
    "task_mark",
    "trail_mark",
    "word_of",
]


class Mark(NamedTuple):
    """A state: its glyph, the name of its colour (``run good warn bad park mute``), and its word."""

    glyph: str
    kind: str
    word: str


#: Glyph and colour of each status; the glyphs are those of the log.
STATUSES = {
    "PENDING": ("•", "run"),
    "SCHEDULED": ("◷", "mute"),
    "WAITING": ("…", "warn"),
    "RUNNING": ("▸", "run"),
    "RETRYING": ("↻", "warn"),
    "PARKED": ("‖", "park"),
    "SUCCESS": ("■", "good"),
    "FAILED": ("×", "bad"),  # noqa: RUF001
    "CANCELLED": ("⊘", "mute"),
    "EXPIRED": ("⌛", "mute"),
}
_PAUSED = Mark("‖", "warn", "paused")
_NO_WORKER = Mark("·", "mute", "no worker")


def status_mark(status: object) -> Mark:
    glyph, kind = STATUSES.get(str(status), ("?", "mute"))
    return Mark(glyph, kind, str(status))


def queue_mark(queue: QueueInfo) -> Mark:
    if queue.paused:
        return _PAUSED
    if queue.consumers:
        return Mark("▸", "good", "consuming")
    return Mark("×", "bad", "no worker") if queue.pending else _NO_WORKER  # noqa: RUF001


def task_mark(task: KnownTask) -> Mark:
    if any(not pause.where for pause in task.pauses):
        return _PAUSED
    if task.pauses:
        return Mark("‖", "warn", "some calls paused")
    return Mark("▸", "good", "runs") if task.workers else _NO_WORKER


def run_mark(job: Mapping[str, Any]) -> Mark | None:
    """How a job runs, by the report of its host; None: that has not told of it."""
    found = job.get("runs", job)
    if not found or "seconds" not in found:
        return None
    if found["blocks"]:
        return Mark("◑", "bad", "blocks its loop")
    return Mark("…", "warn", "waits for others") if found["waits"] else Mark("▸", "run", "runs")


def audit_mark(ended: str) -> Mark:
    known = {"done": Mark("■", "good", ended), "stopped": Mark("⊘", "warn", ended), "begun": Mark("▸", "run", ended)}
    return known.get(ended, Mark("×", "bad", ended))  # noqa: RUF001


def trail_mark(how: str) -> Mark:
    """How an attempt ended that another one followed."""
    glyph = {"retried": "↻", "died": "†", "killed": "†", "lost": "†"}.get(how, "?")
    return Mark(glyph, "warn" if how == "retried" else "bad", how)


def graph_mark(state: str, failed: object = 0) -> Mark:
    """Args:
    failed: how many of its jobs have failed; 0: none, or it is not shown here.
    """
    if state == "accepted":
        return Mark("▸", "bad" if failed else "run", "runs")
    return (
        Mark("■", "bad" if failed else "good", state)
        if state == "ended"
        else Mark("⊘", "bad" if failed else "mute", state)
    )


def bulk_mark(state: str) -> Mark:
    """How a bulk action is."""
    if state == "running":
        return Mark("▸", "run", "runs")
    return {"done": Mark("■", "good", state), "stopped": Mark("⊘", "warn", state)}.get(state, Mark("×", "bad", state))  # noqa: RUF001


def more_of(job: Mapping[str, Any]) -> str:
    """What there is to say of a job besides its status, in a few words; empty: nothing."""
    status, needs = job.get("status"), str(job.get("needs") or "")
    if job.get("error") or job.get("sealed"):
        return str(job.get("error") or job["sealed"])
    if job.get("due_at") and status in ("SCHEDULED", "RETRYING"):
        return f"due {ago_words(job['due_at'])}"
    if needs:
        return "waits for the end of a pause" if needs.startswith("pause:") else f"needs {needs}"
    if status in ("WAITING", "RUNNING"):
        return f"of graph {job.get('graph', '')}" if status == "WAITING" else f"on {job.get('worker', '')}"
    if job.get("ahead") is not None:
        return f"{count(job['ahead'])} of its limit and key come first"
    if job.get("started_at") and job.get("finished_at"):
        return f"ran {duration(job['finished_at'] - job['started_at'])}"
    return str(job.get("last_death") or "")


def word_of(verb: str) -> str:
    """A verb as people say it."""
    return {"discard": "delete", "resend": "send again"}.get(verb, verb.replace("_", " "))


#: What is asked before an action, by its verb and what it is done to.
QUESTIONS = {
    "pause queue": "No further job of this queue starts until it is resumed.",
    "pause task": "No further job of this task starts; workers park them until it is resumed.",
    "pause all": "No further job of any queue starts until everything is resumed.",
    "pause schedule": "It runs no more until it is resumed, whatever is deployed.",
    "resume queue": "Its jobs start again.",
    "resume task": "Its jobs start again.",
    "resume all": "Jobs of all queues that are not paused themselves start again.",
    "resume schedule": "It runs again from its next moment on.",
    "purge queue": "Every pending job of this queue is cancelled, and who awaits one is told. Running jobs are left "
    "alone.",
    "cancel job": "The job ends as CANCELLED; a running one is interrupted. Who awaits it is told.",
    "cancel graph": "Every job of this graph that has not ended is cancelled.",
    "run_now job": "It is due at once, and runs as soon as a worker takes it.",
    "run_now schedule": "Its job is sent now; its next moments stay as they are.",
    "resend job": "Its call is sent again, as a new job with a new id.",
    "replay letter": "The job runs again under its id.",
    "replay graph": "The jobs of this graph that failed run again under their ids.",
    "discard letter": "The letter is deleted for good; its outcome stays in the history.",
    "remove schedule": "It runs no more. One that the code of a running worker declares comes back within a minute.",
    "drain host": "The host takes no new jobs until it is resumed. What runs there ends as usual.",
    "resume host": "The host takes new jobs again.",
    "recycle host": "Its worker processes are replaced one by one, with the code that is there now. What runs ends as "
    "usual.",
    "move job": "It goes to the other queue and stays what it is, unless a worker has it.",
    "set_limit limit": "For all workers, at once, until it is reset. The value none: no limit.",
    "reset_limit limit": "Its tasks say again what it allows.",
}


# ---- the six numbers


class Number(NamedTuple):
    """One of the numbers on top of the overview; ``view`` and ``status`` say which list it counts, if any does."""

    title: str
    value: str
    unit: str
    note: str
    view: str = ""
    status: str = ""
    note_view: str = ""


def numbers_of(stats: Stats, now: Mapping[str, Any], hosts: Sequence[Mapping[str, Any]]) -> list[Number]:
    """The six numbers.

    Args:
        now: those of the last minutes; empty where this broker counts none.
    """
    ended = sum(stats.ended.values())
    oldest = [each.oldest for each in stats.queues if each.oldest is not None]
    wanted = sum(host.get("wanted") or 0 for host in hosts)
    letters = f"{count(stats.dead)} dead letters"
    first = Number("Ended", per(now["ended"]) if now else count(ended), "", f"{count(ended)} in all")
    if now:
        some = [
            Number("Failed", rate(100 * now["failed"]), "%", f"{per(now['retried'])} to be retried"),
            Number("Run time p95", _time(now["run_p95"]), "", _median(now["run_p50"])),
            Number(
                "Wait p95",
                _time(now["wait_p95"]),
                "",
                f"oldest waits {duration(max(oldest))}" if oldest else "nothing waits",
            ),
        ]
    else:
        some = [
            Number("Failed", count(stats.ended.get("FAILED", 0)), "", letters, note_view="dead"),
            Number("Running", count(stats.running), "", f"{count(stats.waiting)} wait for others", "running"),
            Number("Later", count(stats.scheduled), "", f"{count(stats.parked)} parked", "jobs", "scheduled"),
        ]
    later = f"{count(stats.scheduled)} later, {count(stats.waiting)} wait for others"
    lasting = f"{count(stats.running)} running, {count(len(hosts))} host{'' if len(hosts) == 1 else 's'}"
    return [
        first,
        *some,
        Number("Pending", count(stats.pending), "", later, "jobs", "pending"),
        Number("Workers", count(stats.workers), f"of {count(wanted)}" if wanted else "", lasting, "workers"),
    ]


def _time(seconds: float | None) -> str:
    return "—" if seconds is None else duration(seconds)


def _median(seconds: float | None) -> str:
    return "no run in 5 min" if seconds is None else f"p50 {duration(seconds)}"


def paused_words(pause: Pause) -> str:
    """By whom something is paused, since when, and why."""
    why = f": {pause.why}" if pause.why else ""
    return f"by {pause.by or '?'}, {ago_words(pause.at)}{why}"
