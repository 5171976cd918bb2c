"""Pages of jobs: what matches a filter, where a page ends, and the pages of a broker that can sort all its jobs."""

from __future__ import annotations

import heapq
import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

from ..errors import ConfigError, SealError
from ..inspector import JobFilter, JobInfo, Page, Sample
from ..job import decode_job
from ..wire.seal import OVERHEAD

__all__ = ["EVERY", "Place", "cursor_of", "matches", "page_of", "place_in", "sample_of", "task_of", "unknown_place"]

#: The filter that every unfinished job matches.
EVERY = JobFilter()
#: What jobs are sorted by: a list that JSON can hold, different for each job.
Place = list[Any]


def page_of(places: Iterable[tuple[Place, JobInfo]], wanted: JobFilter, after: str, limit: int) -> Page:
    """One page of jobs with their places, in whatever order they are given."""
    start = place_in(after) if after else []
    try:
        found = (each for each in places if each[0] > start and matches(each[1], wanted))
        page = heapq.nsmallest(limit + 1, found, key=lambda each: each[0])
    except TypeError:
        raise unknown_place(after) from None
    jobs = [info for _, info in page[:limit]]
    return Page(jobs, cursor_of(page[limit - 1][0]) if len(page) > limit else "")


def matches(info: JobInfo, wanted: JobFilter) -> bool:
    """Whether a job has the status, task, id and text that are wanted; its queue is the broker's to know."""
    return (
        wanted.status in (None, info.status)
        and info.id.startswith(wanted.prefix)
        and (wanted.task is None or task_of(info) == wanted.task)
        and (not wanted.text or wanted.text.encode("utf-8", "replace") in (info.sealed or b"")[OVERHEAD:])
    )


def task_of(info: JobInfo) -> str:
    """The task that the envelope of a job names, whose seal is not checked; empty: it cannot be read."""
    try:
        return decode_job(info.sealed[OVERHEAD:]).task if info.sealed else ""
    except SealError:
        return ""


def sample_of(pending: Iterable[JobInfo]) -> Sample:
    """The tasks of these jobs, all of which are looked at."""
    tasks = Counter(map(task_of, pending))
    return Sample(tasks.total(), tasks.total(), {task: count for task, count in tasks.most_common() if task})


def cursor_of(place: Place) -> str:
    """A place as the text that the next page begins behind."""
    return json.dumps(place, separators=(",", ":"))


def place_in(cursor: str) -> Place:
    """The place in such a text.

    Raises:
        ConfigError: it is none.
    """
    try:
        place = json.loads(cursor)
    except (ValueError, RecursionError):
        place = None
    if not isinstance(place, list) or not place:
        raise unknown_place(cursor)
    return place


def unknown_place(cursor: str) -> ConfigError:
    return ConfigError(
        f"after={cursor!r} is no place in a list of jobs on this broker. Pass what the page before gave, or begin anew "
        "without it."
    )
