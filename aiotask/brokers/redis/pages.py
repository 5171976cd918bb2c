"""Counts and pages of jobs on Redis: each call of a script looks at a bounded number of jobs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

from msgspec.structs import replace

from ...inspector import JobFilter, JobInfo, Page, QueueInfo, Stats
from ...job import Status
from ..lanes import ADMITTED, KINDS, SUSPECT, lane_of, parked_lane, place_order
from ..pages import EVERY, unknown_place
from .codec import milliseconds, text
from .connection import Wire
from .counts import stats_of
from .graph_reader import GraphReader
from .kept import job_in_lane, job_in_line, job_of_letter, scheduled_job
from .script import script

__all__ = ["JobPages"]

#: Lanes that one call looks into.
_LANES = 250
#: Jobs in lines that one call asks for.
_LINED = 50
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

    async def stats(self, max_age: float = 0.0) -> Stats:
        return stats_of(await self._run("stats", milliseconds(max_age)))

    async def queues(self, max_age: float = 0.0) -> list[QueueInfo]:
        """The queues. Parked jobs and dead letters have none here: the first queue counts them all."""
        stats = await self.stats(max_age)
        first = [replace(info, parked=stats.parked, dead=stats.dead) for info in stats.queues[:1]]
        return first + stats.queues[1:]

    # ---- pages

    async def page(self, wanted: JobFilter = EVERY, after: str = "", limit: int = 50) -> Page:
        lists = self._lists(wanted)
        letter, place = after[:1], after[1:]
        if after and letter not in "lndwx":
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
        if status in (None, Status.PENDING):
            lists["n"] = self._line_page
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
            lanes += [lane_of(name, kind) for name in queues for kind in (SUSPECT, *KINDS, ADMITTED)]
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

    async def _line_page(self, wanted: JobFilter, place: str, limit: int) -> tuple[list[JobInfo], str | None]:
        """Jobs in lines, in no order, and at times a few more than the limit: the server can end a look at what is in
        no order only where its own table says."""
        if not place.isdecimal() and place:
            raise unknown_place(place)
        (cursor, _), rows = _head(
            await self._run(
                *("page_lines", place or "0", min(limit, _LINED)),
                *(wanted.queue or "", wanted.task or "", wanted.prefix),
            )
        )
        jobs = [job_in_line(text(id), text(line), kept) for id, line, kept in rows]
        return jobs, None if cursor == b"0" else text(cursor)

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

    async def jobs(self, *, status: Status | None = None, queue: str | None = None, limit: int = 50) -> list[JobInfo]:
        wanted, after = JobFilter(status, queue), ""
        found: list[JobInfo] = []
        while len(found) < limit:
            page = await self.page(wanted, after, limit - len(found))
            found, after = found + page.jobs, page.after
            if not after:
                break
        return found


def _head(reply: list[Any]) -> tuple[list[Any], list[Any]]:
    return reply[:2], reply[2:]


def _refuse_unless_number(score: str) -> None:
    try:
        float(score or 0)
    except ValueError:
        raise unknown_place(score) from None
