"""What stats.lua counts, as values."""

from __future__ import annotations

from typing import Any

from ...inspector import QueueInfo, Stats
from ...job import FINAL, Status
from .codec import text, whole

__all__ = ["stats_of"]


def stats_of(reply: list[Any]) -> Stats:
    """The counts in a reply of stats.lua."""
    at, workers, due, looked, parked, claimed, dead, flat, queues, pauses = reply
    counts = {text(name): whole(count) for name, count in zip(flat[::2], flat[1::2], strict=True)}
    share, paused = due / looked if looked else 1.0, set(map(text, pauses))
    infos = [_queue(row, counts, float(at), share, paused) for row in sorted(queues)]
    return Stats(
        infos,
        pending=sum(info.pending for info in infos),
        running=sum(info.running for info in infos) + claimed,
        scheduled=due,
        parked=parked,
        waiting=max(0, counts.get("WAITING", 0)),
        dead=dead,
        workers=workers,
        ended={str(status): sum(_ended(counts, status).values()) for status in sorted(FINAL)},
        time=float(at),
        retried=counts.get("retried", 0),
        returned=counts.get("returned", 0),
        died=counts.get("died", 0),
        rejected=counts.get("rejected", 0),
        replaced=counts.get("replaced", 0),
        dropped=counts.get("dropped", 0),
        paused=counts.get("PAUSED", 0),
        lost=counts.get("lost", 0),
    )


def _ended(counts: dict[str, int], status: Status) -> dict[str, int]:
    """How many jobs have ended in a status, by queue: empty for parked jobs, and for what older releases counted."""
    parts = (name.rpartition("|") for name in counts)
    return {queue + bar: counts[queue + bar + last] for queue, bar, last in parts if last == status}


def _queue(row: list[Any], counts: dict[str, int], at: float, share: float, paused: set[str]) -> QueueInfo:
    """One queue; ``share``: how many scheduled jobs one stands for whose queue was looked up; ``paused``: ids of
    pauses."""
    name, pending, running, due, consumers, since = row
    ended = {str(status): count for status in sorted(FINAL) if (count := counts.get(f"{text(name)}|{status}", 0))}
    return QueueInfo(
        text(name),
        pending=pending,
        running=running,
        scheduled=round(due * share),
        consumers=consumers,
        estimates=("scheduled",) if share > 1 else (),
        oldest=max(0.0, at - int(since) / 1000) if since else None,
        ended=ended,
        held=counts.get(f"{text(name)}|HELD", 0),
        paused=not paused.isdisjoint(("all", f"queue:{text(name)}")),
    )
