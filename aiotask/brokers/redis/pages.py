"""Counts and pages of jobs on Redis: each call of a script looks at a bounded number of jobs."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from operator import itemgetter
from typing import Any, cast

from ...inspector import JobFilter, JobInfo, Page, Stats
from ...job import Status
from ..lanes import ADMITTED, KINDS, SUSPECT, lane_of, lane_order, parked_lane
from ..pages import EVERY, unknown_place
from .codec import mark, milliseconds, name_in, text
from .connection import Wire
from .counts import stats_of
from .graph_reader import GraphReader
from .kept import job_in_lane, job_in_line, job_of_letter, scheduled_job
from .script import script

__all__ = ["JobPages"]

#: Lanes that one call looks into.
_LANES = 250
#: Lanes that one call compares, where those that came last are first.
_NEWEST_LANES = 100
#: The id of an entry.
_ENTRY = re.compile("[0-9]{1,20}-[0-9]{1,20}", re.ASCII)
#: Jobs in lines that one call asks for.
_LINED = 50
#: Jobs that are looked at for one page, about, and calls: a page of a filter that few jobs match ends, and says where
#: the next one begins.
_LOOK, _CALLS = 5_000, 32
#: What was read of one list: jobs, the place behind the last one that was looked at (None: no other job is in the
#: list), and how many were looked at.
_Part = tuple[list[JobInfo], str | None, int]
#: Reads jobs behind a place in one list.
_Read = Callable[[JobFilter, str, int], Awaitable[_Part]]


class JobPages(GraphReader):
    """The verbs ``stats`` and ``page`` of ``RedisInspector``, and what is thin over them."""

    _wire: Wire
    _prefix: str

    async def _run(self, name: str, *args: Any) -> Any:
        return await self._wire.run(script(name), self._prefix, *args)

    # ---- counts

    async def stats(self, max_age: float = 0.0) -> Stats:
        return stats_of(await self._run("stats", milliseconds(max_age)))

    # ---- pages

    async def page(self, wanted: JobFilter = EVERY, after: str = "", limit: int = 50, *, newest: bool = False) -> Page:
        letter, place = after[:1], after[1:]
        if after and letter not in "lLndwx":
            raise unknown_place(after)
        # A place says itself in which order the list goes on.
        lists = self._lists(wanted, newest=letter == "L" if letter in ("l", "L") else newest)
        found: list[JobInfo] = []
        calls = looked = 0
        for name, read in lists.items():
            if letter and name != letter:
                continue
            letter, at = "", cast("str | None", place)
            while at is not None:
                if len(found) >= limit or calls >= _CALLS or looked >= _LOOK:
                    return Page(found, name + at, looked)
                jobs, at, number = await read(wanted, at, limit - len(found))
                found += jobs
                calls, looked = calls + 1, looked + number
            place = ""
        return Page(found, "", looked)

    def _lists(self, wanted: JobFilter, *, newest: bool) -> dict[str, _Read]:
        """Where jobs with the wanted status are, in the order of the pages."""
        status = wanted.status
        if status is Status.FAILED:
            return {"x": self._dead_page}
        lists: dict[str, _Read] = {}
        if status in (None, Status.PENDING, Status.RUNNING, Status.PARKED):
            # Of a lane, claimed entries are the oldest, and the server lists them from the first one on alone.
            is_reversed = newest and status is not Status.RUNNING
            lists["L" if is_reversed else "l"] = self._newest_page if is_reversed else self._lane_page
        if status in (None, Status.PENDING):
            lists["n"] = self._line_page
        if status in (None, Status.SCHEDULED, Status.RETRYING):
            lists["d"] = self._due_page
        if status in (None, Status.WAITING):
            lists["w"] = self._waiting_page
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
        # Names that are no text may look alike.
        return sorted(set(lanes), key=lane_order)

    async def _waiting_page(self, wanted: JobFilter, place: str, limit: int) -> _Part:
        jobs, at = await self.waiting_page(wanted, place, limit)
        return jobs, at, len(jobs)

    async def _lane_page(self, wanted: JobFilter, place: str, limit: int) -> _Part:
        at, _, after = place.rpartition("|")
        lanes = await self._lanes(wanted)
        if at:
            lanes = [lane for lane in lanes if lane_order(lane) >= lane_order(at)]
            after = after if lanes[:1] == [at] else ""
        some = lanes[:_LANES]
        status = wanted.status or ""
        ask = (status, *_conditions(wanted), limit, after, *some)
        (position, entry), looked, rows = _head(await self._run("page_lanes", *ask))
        jobs = [job_in_lane(text(lane), entry, text(owner), sealed, meta) for lane, entry, owner, sealed, meta in rows]
        if position:
            return jobs, f"{some[position - 1]}|{text(entry)}", looked
        return jobs, f"{lanes[_LANES]}|" if len(lanes) > _LANES else None, looked

    async def _newest_page(self, wanted: JobFilter, place: str, limit: int) -> _Part:
        """Jobs of all lanes, those that came last first. Of more lanes than one call takes, each call says how far it
        has looked, and what lies behind the nearest of these places is left to the next page."""
        at, _, entry = place.rpartition("|")
        if place and not (at and _ENTRY.fullmatch(entry)):
            raise unknown_place(f"L{place}")
        lanes = await self._lanes(wanted)
        found: list[tuple[_Latest, list[Any]]] = []
        ends: list[tuple[_Latest, str]] = []
        looked = 0
        for start in range(0, len(lanes), _NEWEST_LANES):
            some = lanes[start : start + _NEWEST_LANES]
            turns = sum(lane_order(lane) <= lane_order(at) for lane in some) if at else 0
            ask = (wanted.status or "", *_conditions(wanted), limit, entry, turns, *some)
            (position, last), number, rows = _head(await self._run("page_newest", *ask))
            looked += number
            found += [(_latest(row[0], row[1]), row) for row in rows]
            if position:
                end = f"{some[position - 1]}|{text(last)}"
                ends.append((_latest(some[position - 1], last), end))
        found.sort(key=itemgetter(0))
        bound = min(ends, default=None)
        kept = [(order, row) for order, row in found if bound is None or order <= bound[0]]
        if len(kept) > limit:
            kept = kept[:limit]
            bound = kept[-1][0], f"{text(kept[-1][1][0])}|{text(kept[-1][1][1])}"
        jobs = [
            job_in_lane(text(lane), entry, text(owner), sealed, meta) for _, (lane, entry, owner, sealed, meta) in kept
        ]
        return jobs, bound[1] if bound is not None else None, looked

    async def _line_page(self, wanted: JobFilter, place: str, limit: int) -> _Part:
        """Jobs in lines, in no order, and at times a few more than the limit: the server can end a look at what is in
        no order only where its own table says."""
        if not place.isdecimal() and place:
            raise unknown_place(place)
        ask = (place or "0", min(limit, _LINED), *_conditions(wanted))
        (cursor, _), looked, rows = _head(await self._run("page_lines", *ask))
        jobs = [job_in_line(text(id), text(line), kept) for id, line, kept in rows]
        return jobs, None if cursor == b"0" else text(cursor), looked

    async def _due_page(self, wanted: JobFilter, place: str, limit: int) -> _Part:
        rows, behind, looked = await self._sorted("due", place, limit, wanted)
        return [scheduled_job(text(id), kind, score, kept) for id, score, kind, kept in rows], behind, looked

    async def _dead_page(self, wanted: JobFilter, place: str, limit: int) -> _Part:
        rows, behind, looked = await self._sorted("dead", place, limit, wanted)
        return [job_of_letter(text(id), kept) for id, _, _, kept in rows], behind, looked

    async def _sorted(
        self, name: str, place: str, limit: int, wanted: JobFilter = EVERY
    ) -> tuple[Sequence[Any], str | None, int]:
        """Members of a sorted set behind a place, the place behind the last one that was looked at, and how many
        were."""
        score, _, id = place.partition(" ")
        _refuse_unless_number(score)
        status = "" if name == "dead" else wanted.status or ""
        ask = (name, score, name_in(id), limit, status, *_conditions(wanted))
        (score, last), looked, rows = _head(await self._run("page_sorted", *ask))
        return rows, f"{text(score)} {mark(last)}" if score else None, looked

    async def jobs(self, *, status: Status | None = None, queue: str | None = None, limit: int = 50) -> list[JobInfo]:
        wanted, after = JobFilter(status, queue), ""
        found: list[JobInfo] = []
        while len(found) < limit:
            page = await self.page(wanted, after, limit - len(found))
            found, after = found + page.jobs, page.after
            if not after:
                break
        return found


#: What the jobs of lanes are sorted by, those of the latest entries first.
_Latest = tuple[int, int, tuple[int | str, ...]]


def _latest(lane: bytes | str, entry: bytes) -> _Latest:
    ms, _, n = entry.partition(b"-")
    return -int(ms), -int(n), lane_order(lane if isinstance(lane, str) else text(lane))


def _head(reply: list[Any]) -> tuple[list[Any], int, list[Any]]:
    """Where a page goes on, how many jobs were looked at, and its rows."""
    return reply[:2], reply[2], reply[3:]


def _conditions(wanted: JobFilter) -> tuple[str, str, str, str]:
    """What the scripts are told of a filter."""
    return wanted.queue or "", wanted.task or "", wanted.prefix, wanted.text


def _refuse_unless_number(score: str) -> None:
    try:
        float(score or 0)
    except ValueError:
        raise unknown_place(score) from None
