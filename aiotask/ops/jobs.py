"""Unfinished jobs of one or more apps by the page, and all data about one job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from ..brokers.lanes import place_order
from ..errors import AiotaskError, ConfigError, ResultExpired
from ..history.resultdb import ResultDB
from ..inspector import JobInfo
from ..job import Status
from .connection import Connection, Place, inspectors
from .describe import describe_job, describe_record
from .paging import page_of_all

if TYPE_CHECKING:
    from ..brokers.sql.inspector import RowInspector

__all__ = ["columns_of", "in_history", "read_job", "read_page"]


async def read_page(
    place: Place, status: Status | None, queue: str | None, limit: int, offset: int
) -> list[dict[str, Any]]:
    """Unfinished jobs of the named app or of all apps: in the order in which they are claimed, then by due time, then
    those that wait for others."""

    async def read(connection: Connection, limit: int, offset: int) -> list[JobInfo]:
        return await connection.inspector.jobs(status=status, queue=queue, limit=limit, offset=offset)

    async with inspectors(place) as opened:
        page = await page_of_all(opened, read, _order, limit, offset)
        return [describe_job(connection, info) for connection, info in page]


def _order(info: JobInfo) -> tuple[float | int | str, ...]:
    if info.status is Status.WAITING:
        return (3,)
    return (2, info.due_at) if info.due_at else place_order(info.position)


async def read_job(id: str, place: Place, db: str | None) -> dict[str, Any]:
    """One job, from the server or the database or else from the history file.

    Raises:
        ResultExpired: the job is in none of them.
    """
    async with inspectors(place) as opened:
        for each in opened:
            info = await each.inspector.job(id)
            if info is not None:
                return describe_job(each, info) | await columns_of(each, id)
    found, where = await in_history(id, place.name, db)
    if found is not None:
        return found
    raise ResultExpired(f'No job "{id}" is known: {place.why_unknown}. {where}')


async def columns_of(connection: Connection, id: str) -> dict[str, Any]:
    """The failed runs of a row, and the columns that are the user's; of a task nothing."""
    if connection.app is not None:
        return {}
    return await cast("RowInspector", connection.inspector).columns(id)


async def in_history(id: str, name: str | None, db: str | None) -> tuple[dict[str, Any] | None, str]:
    """The job as the history file has it, if there is one; and where the job was looked for, as a sentence."""
    try:
        history = ResultDB(db)
    except ConfigError:
        return None, "To search a history file too, name it with --db FILE (AIOTASK_RESULT_DB)."
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
