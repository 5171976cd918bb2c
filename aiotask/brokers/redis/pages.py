"""Counts and pages of jobs on Redis: each call of a script looks at a bounded number of jobs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

from msgspec.structs import replace

from ...inspector import JobFilter, JobInfo, Page, QueueInfo, Stats
from ...job import FINAL, Status
from ..lanes import KINDS, SUSPECT, lane_of, parked_lane, place_order
from ..pages import EVERY, unknown_place
from .codec import text, whole
from .connection import Wire
from .graph_reader import GraphReader
from .kept import job_in_lane, job_of_letter, scheduled_job
from .script import script

__all__ = ["JobPages"]

#: Lanes that one call looks into.
_LANES = 250
#: Calls for one page at most: a page of a filter that few jobs match ends, and says where the next one begins.
_CALLS = 20
#: Reads jobs behind a place in one list: the jobs, and the place behind the last job that was looked at (None: no other
#: job is in the list).
_Read = Callable[[JobFilter, str, int], Awaitable[tuple[list[JobInfo], str | None]]]


class JobPages(GraphReader):
    """The verbs ``stats`` and ``page`` of ``RedisInspector``, and what is thin over them."""

    _wire: Wire
    _prefix: str

    async def _run(self, name: str, *args: Any) -> Any:
        return await self._wire.run(script(name), self._prefix, *args)

    # ---- counts

    async def stats(self) -> Stats:
        at, workers, due, looked, parked, claimed, dead, flat, queues, pauses = await self._run("stats")
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
        )

    async def queues(self) -> list[QueueInfo]:
        """The queues. Parked jobs and dead letters have none here: the first queue counts them all."""
        stats = await self.stats()
        first = [replace(info, parked=stats.parked, dead=stats.dead) for info in stats.queues[:1]]
        return first + stats.queues[1:]

    # ---- pages

    async def page(self, wanted: JobFilter = EVERY, after: str = "", limit: int = 50) -> Page:
        lists = self._lists(wanted)
        letter, place = after[:1], after[1:]
        if after and letter not in "ldwx":
            raise unknown_place(after)
        found: list[JobInfo] = []
        calls = 0
        for name, read in lists.items():
            if letter and name != letter:
                continue
            letter, at = "", cast("str | None", place)
            while at is not None:
                if len(found) >= limit or calls >= _CALLS:
                    return Page(found, name + at)
                jobs, at = await read(wanted, at, limit - len(found))
                found += jobs
                calls += 1
            place = ""
        return Page(found)

    def _lists(self, wanted: JobFilter) -> dict[str, _Read]:
        """Where jobs with the wanted status are, in the order of the pages."""
        status = wanted.status
        if status is Status.FAILED:
            return {"x": self._dead_page}
        lists: dict[str, _Read] = {}
        if status in (None, Status.PENDING, Status.RUNNING, Status.PARKED):
            lists["l"] = self._lane_page
        if status in (None, Status.SCHEDULED, Status.RETRYING):
            lists["d"] = self._due_page
        if status in (None, Status.WAITING):
            lists["w"] = self.waiting_page
        return lists

    async def _lanes(self, wanted: JobFilter) -> list[str]:
        """The lanes of a page, in the order in which jobs are claimed."""
        lanes: list[str] = []
        if wanted.status is not Status.PARKED:
            names = map(text, await self._wire.call("SMEMBERS", f"{self._prefix}queues"))
            queues = [wanted.queue] if wanted.queue else names
            lanes += [lane_of(name, kind) for name in queues for kind in (SUSPECT, *KINDS)]
        if wanted.status is not Status.PENDING:
            lanes += [parked_lane(text(need)) for need in await self._wire.call("SMEMBERS", f"{self._prefix}parked")]
        return sorted(lanes, key=place_order)

    async def _lane_page(self, wanted: JobFilter, place: str, limit: int) -> tuple[list[JobInfo], str | None]:
        at, _, after = place.rpartition("|")
        lanes = await self._lanes(wanted)
        if at:
            lanes = [lane for lane in lanes if place_order(lane) >= place_order(at)]
            after = after if lanes[:1] == [at] else ""
        some = lanes[:_LANES]
        status = wanted.status or ""
        (position, entry), rows = _head(
            await self._run(
                "page_lanes", status, wanted.queue or "", wanted.task or "", wanted.prefix, limit, after, *some
            )
        )
        jobs = [job_in_lane(text(lane), entry, text(owner), sealed, meta) for lane, entry, owner, sealed, meta in rows]
        if position:
            return jobs, f"{some[position - 1]}|{text(entry)}"
        return jobs, f"{lanes[_LANES]}|" if len(lanes) > _LANES else None

    async def _due_page(self, wanted: JobFilter, place: str, limit: int) -> tuple[list[JobInfo], str | None]:
        rows, behind = await self._sorted("due", place, limit, wanted)
        return [scheduled_job(text(id), kind, score, kept) for id, score, kind, kept in rows], behind

    async def _dead_page(self, wanted: JobFilter, place: str, limit: int) -> tuple[list[JobInfo], str | None]:
        rows, behind = await self._sorted("dead", place, limit, wanted)
        return [job_of_letter(text(id), kept) for id, _, _, kept in rows], behind

    async def _sorted(
        self, name: str, place: str, limit: int, wanted: JobFilter = EVERY
    ) -> tuple[Sequence[Any], str | None]:
        """Members of a sorted set behind a place, and the place behind the last one that was looked at."""
        score, _, id = place.partition(" ")
        _refuse_unless_number(score)
        status = "" if name == "dead" else wanted.status or ""
        (score, id), rows = _head(
            await self._run(
                *("page_sorted", name, score, id, limit),
                *(status, wanted.queue or "", wanted.task or "", wanted.prefix),
            )
        )
        return rows, f"{text(score)} {text(id)}" if score else None

    async def jobs(
        self, *, status: Status | None = None, queue: str | None = None, limit: int = 50, offset: int = 0
    ) -> list[JobInfo]:
        wanted, after = JobFilter(status, queue), ""
        found: list[JobInfo] = []
        while len(found) < limit + offset:
            page = await self.page(wanted, after, limit + offset - len(found))
            found, after = found + page.jobs, page.after
            if not after:
                break
        return found[offset:]


def _head(reply: list[Any]) -> tuple[list[Any], list[Any]]:
    return reply[:2], reply[2:]


def _refuse_unless_number(score: str) -> None:
    try:
        float(score or 0)
    except ValueError:
        raise unknown_place(score) from None


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
        paused=not paused.isdisjoint(("all", f"queue:{text(name)}")),
    )
