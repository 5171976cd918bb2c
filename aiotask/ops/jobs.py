"""Unfinished jobs of one or more apps by the page, and all data about one job."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from ..errors import AiotaskError, ResultExpired
from ..history.resultdb import ResultDB
from ..job import Status
from .connection import Connection, inspectors
from .describe import describe_job, describe_letter, describe_record

__all__ = ["read_dead_page", "read_job", "read_page"]

#: Reads jobs of one app: limit and offset.
_Read = Callable[[Connection, int, int], Awaitable[list[dict[str, Any]]]]


async def read_page(
    name: str | None, url: str | None, status: Status | None, queue: str | None, limit: int, offset: int
) -> list[dict[str, Any]]:
    """Unfinished jobs of the named app or of all apps."""

    async def read(connection: Connection, limit: int, offset: int) -> list[dict[str, Any]]:
        listed = await connection.inspector.jobs(status=status, queue=queue, limit=limit, offset=offset)
        return [describe_job(connection, info) for info in listed]

    async with inspectors(name, url) as opened:
        return await _over_all(opened, read, limit, offset)


async def read_dead_page(
    name: str | None, url: str | None, queue: str | None, limit: int, offset: int
) -> list[dict[str, Any]]:
    """Dead letters of the named app or of all apps."""

    async def read(connection: Connection, limit: int, offset: int) -> list[dict[str, Any]]:
        return await _dead_of(connection, queue, limit, offset)

    async with inspectors(name, url) as opened:
        return await _over_all(opened, read, limit, offset)


async def _over_all(opened: list[Connection], read: _Read, limit: int, offset: int) -> list[dict[str, Any]]:
    """One page over all apps, in their order: ``limit`` and ``offset`` count the jobs of all of them."""
    page: list[dict[str, Any]] = []
    for each in opened:
        found = await read(each, limit - len(page), offset)
        page += found
        if len(page) >= limit:
            break
        # This app has been read to its end. Its jobs before the page must not be skipped once more in the next app.
        offset = 0 if found else offset - await _count(each, read, offset)
    return page


async def _count(connection: Connection, read: _Read, most: int) -> int:
    """How many jobs this app has, ``most`` at most."""
    counted = 0
    while counted < most and (found := await read(connection, min(500, most - counted), counted)):
        counted += len(found)
    return counted


async def _dead_of(connection: Connection, queue: str | None, limit: int, offset: int) -> list[dict[str, Any]]:
    """Dead letters are kept by time alone, so those of one queue are picked here, a bounded number at a time."""
    found: list[dict[str, Any]] = []
    start, wanted = (offset, limit) if queue is None else (0, offset + limit)
    while len(found) < wanted:
        letters = await connection.inspector.dead(limit=min(limit, 500) if queue is None else 500, offset=start)
        jobs = [describe_letter(connection, letter) for letter in letters]
        found += [job for job in jobs if queue in (None, job.get("queue"))]
        start += len(letters)
        if not letters:
            break
    return found[:limit] if queue is None else found[offset:wanted]


async def read_job(id: str, name: str | None, url: str | None, db: str | None) -> dict[str, Any]:
    """One job, from the server or else from the history file.

    Raises:
        ResultExpired: the job is in neither of them.
    """
    async with inspectors(name, url) as opened:
        for each in opened:
            info = await each.inspector.job(id)
            if info is not None:
                return describe_job(each, info)
    found, where = await _in_history(id, name, db)
    if found is not None:
        return found
    raise ResultExpired(
        f'No job "{id}" is on the server: it was never sent, or it finished longer ago than its result TTL. {where}'
    )


async def _in_history(id: str, name: str | None, db: str | None) -> tuple[dict[str, Any] | None, str]:
    """The job as the history file has it, if there is one; and where the job was looked for, as a sentence."""
    history = ResultDB(db)
    if not history.path.exists():
        return None, f'No history file was found ("{history.path}"); name it with --db FILE (AIOTASK_RESULT_DB).'
    try:
        record = await history.fetch_record(id)
        await history.close()
    except AiotaskError as error:
        return None, f"The history file could not be read: {error}"
    if record is None or name not in (None, record.app):
        return None, f'It is not in the history file "{history.path}" either.'
    found = describe_record(record)
    # The fields are named as those of a job on the server.
    for there, here in (("attempts", "attempt"), ("result", "value")):
        found[here] = found.pop(there)
    return {**found, "from": f"the history file {history.path}"}, ""
