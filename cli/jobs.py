"""``aiotask jobs``: what is on the server, and all about one job."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import AppName, Json, Url, count, option
from .output import ago, console, fitted, plain, print_json, table

if TYPE_CHECKING:
    from aiotask.broker import JobInfo

    from .connection import Connection

__all__ = ["jobs"]


class Wanted(StrEnum):
    """Statuses of unfinished jobs, and the dead letters."""

    PENDING = "pending"
    SCHEDULED = "scheduled"
    WAITING = "waiting"
    RUNNING = "running"
    RETRYING = "retrying"
    PARKED = "parked"
    DEAD = "dead"


JobId = Annotated[str | None, typer.Argument(metavar="ID", help="Show this job alone, with all that is known of it.")]
InStatus = Annotated[
    Wanted | None,
    option(
        "--status",
        "-s",
        metavar="STATUS",
        case_sensitive=False,
        help=f"Only jobs that stand there: {', '.join(Wanted)}.",
    ),
]
InQueue = Annotated[str | None, option("--queue", "-q", metavar="NAME", help="Only jobs of this queue.")]
Limit = Annotated[int, option("--limit", "-l", parser=count, metavar="N", help="Jobs on a page.")]
Offset = Annotated[int, option("--offset", min=0, metavar="N", help="Jobs to skip.")]


def jobs(
    id: JobId = None,
    status: InStatus = None,
    queue: InQueue = None,
    limit: Limit = 20,
    offset: Offset = 0,
    name: AppName = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Show the unfinished jobs on the server, its dead letters, or one job.

    Finished jobs are in the history: [bold]aiotask results[/bold].

    [bold]Examples[/bold]

      aiotask jobs
      aiotask jobs --status running --queue mail
      aiotask jobs --status dead --limit 50 --offset 50
      aiotask jobs 00a1b2c3d4e5f6a7b-2a
    """
    import asyncio

    if id is not None:
        found = asyncio.run(_one(id, name, url))
        print_json(found) if as_json else _show_one(found)
        return
    page = asyncio.run(_page(name, url, status, queue, limit, offset))
    if as_json:
        print_json(page)
        return
    _show_page(page, limit, offset)


async def _page(
    name: str | None, url: str | None, status: Wanted | None, queue: str | None, limit: int, offset: int
) -> list[dict[str, Any]]:
    from aiotask.job import Status

    from .connection import inspectors

    found: list[dict[str, Any]] = []
    async with inspectors(name, url) as opened:
        for each in opened:
            if status is Wanted.DEAD:
                found += await _dead_page(each, queue, limit, offset)
                continue
            asked = Status(status.value.upper()) if status else None
            listed = await each.inspector.jobs(status=asked, queue=queue, limit=limit, offset=offset)
            found += [_described(each, info) for info in listed]
    return found


async def _dead_page(connection: Connection, queue: str | None, limit: int, offset: int) -> list[dict[str, Any]]:
    """Dead letters are kept by time alone, so those of one queue are picked here, a bounded number at a time."""
    found: list[dict[str, Any]] = []
    start, wanted = (offset, limit) if queue is None else (0, offset + limit)
    while len(found) < wanted:
        letters = await connection.inspector.dead(limit=min(limit, 500) if queue is None else 500, offset=start)
        jobs = [_dead(connection, letter.job, letter.outcome, letter.id, letter.at) for letter in letters]
        found += [job for job in jobs if queue in (None, job.get("queue"))]
        start += len(letters)
        if not letters:
            break
    return found[:limit] if queue is None else found[offset:wanted]


async def _one(id: str, name: str | None, url: str | None) -> dict[str, Any]:
    from aiotask.errors import ResultExpired

    from .connection import inspectors

    async with inspectors(name, url) as opened:
        for each in opened:
            info = await each.inspector.job(id)
            if info is not None:
                return _described(each, info)
    raise ResultExpired(
        f'No job "{id}" is on the server: never sent, or finished longer ago than its result TTL. '
        f"The history may have it: aiotask results {id}"
    )


def _described(connection: Connection, info: JobInfo) -> dict[str, Any]:
    """All that can be said of a job without loading what it carries."""
    job: dict[str, Any] = {
        "app": connection.app.name,
        "id": info.id,
        "status": info.status.value,
        "attempt": info.meta.attempt,
    }
    if info.meta.deaths:
        job |= {"deaths": info.meta.deaths, "last_death": info.meta.reason}
    if info.sealed is not None:
        job |= _opened_job(connection, info.sealed)
    if info.outcome is None and info.place:
        job["place"] = info.place
    for key, value in (("due_at", info.due_at), ("worker", info.worker)):
        if value:
            job[key] = value
    if info.outcome is not None:
        job |= _opened_outcome(connection, info.outcome)
    return job


def _dead(connection: Connection, sealed: bytes, outcome: bytes, id: str, at: float) -> dict[str, Any]:
    found = {"app": connection.app.name, "id": id, "status": "FAILED", "dead_at": at}
    return found | _opened_job(connection, sealed) | _opened_outcome(connection, outcome)


def _opened_job(connection: Connection, sealed: bytes) -> dict[str, Any]:
    from aiotask.errors import SealError
    from aiotask.job import decode_job
    from aiotask.plaintext import plain_text
    from aiotask.seal import Sealer

    try:
        job = decode_job(Sealer(connection.app.secrets, "job").open(sealed))
    except SealError as error:
        return {"sealed": str(error)}
    return {
        "task": job.task,
        "queue": job.queue,
        "priority": job.priority,
        "sent_at": job.sent_at,
        "retries": job.retries,
        "timeout": job.timeout,
        "result_ttl": job.result_ttl,
        "arguments": plain_text(job.body),
    }


def _opened_outcome(connection: Connection, sealed: bytes) -> dict[str, Any]:
    from aiotask.errors import SealError
    from aiotask.outcome import decode_outcome
    from aiotask.plaintext import plain_text
    from aiotask.seal import Sealer

    try:
        outcome = decode_outcome(Sealer(connection.app.secrets, "outcome").open(sealed))
    except SealError as error:
        return {"outcome": str(error)}
    found: dict[str, Any] = {
        "task": outcome.task,
        "status": outcome.status.value,
        "attempt": outcome.attempt,
        "worker": outcome.worker,
        "started_at": outcome.started_at,
        "finished_at": outcome.finished_at,
    }
    if outcome.value is not None:
        found["value"] = plain_text(outcome.value)
    if outcome.error is not None:
        found["error"] = f"{outcome.error.type}: {outcome.error.message}"
        found["traceback"] = outcome.error.traceback
    return found


# ---- for people


def _show_page(page: list[dict[str, Any]], limit: int, offset: int) -> None:
    terminal = console()
    if not page:
        terminal.print("There are no more." if offset else "There is none. Finished jobs: aiotask results")
        return
    several = len({job["app"] for job in page}) > 1
    made = table("", *(["app"] if several else []), "id", "status", "task", "queue", "attempt", "sent", "more")
    for job in page:
        made.add_row(
            *([plain(job["app"])] if several else []),
            plain(job["id"]),
            _coloured(job["status"]),
            plain(job.get("task", "?")),
            plain(job.get("queue", "?")),
            str(job.get("attempt", "")),
            ago(job.get("sent_at")),
            _more(job),
        )
    terminal.print(fitted(made, terminal.width))
    if len(page) >= limit:
        terminal.print(f"[dim]The next page: --offset {offset + limit}[/dim]")


def _more(job: dict[str, Any]) -> str:
    if "error" in job:
        return plain(job["error"], 80)
    if "sealed" in job:
        return plain(job["sealed"])
    if "due_at" in job:
        return f"due {ago(job['due_at'])}"
    if job["status"] == "RUNNING":
        return plain(job.get("worker", ""))
    return plain(job.get("last_death", ""))


_COLOURS = {"RUNNING": "green", "SUCCESS": "green", "FAILED": "red", "PARKED": "yellow", "RETRYING": "yellow"}


def _coloured(status: str) -> str:
    colour = _COLOURS.get(status)
    return f"[{colour}]{status}[/{colour}]" if colour else status


def _show_one(job: dict[str, Any]) -> None:
    from aiotask.events import in_words

    terminal = console()
    for key, value in job.items():
        if key == "traceback" or value is None or value == "":
            continue
        if key.endswith("_at"):
            shown = f"{_moment(value)} ({ago(value)})"
        elif key in ("timeout", "result_ttl"):
            shown = in_words(value)
        elif key == "status":
            shown = _coloured(value)
        else:
            shown = plain(value, 500)
        terminal.print(f"{key.removesuffix('_at'):<12} {shown}", soft_wrap=True)
    if job.get("started_at") and job.get("finished_at"):
        terminal.print(f"{'took':<12} {in_words(max(job['finished_at'] - job['started_at'], 0))}")
    if job.get("traceback"):
        terminal.print()
        for line in job["traceback"].splitlines():
            terminal.print(plain(line, 1000), soft_wrap=True)


def _moment(at: float) -> str:
    import datetime

    return datetime.datetime.fromtimestamp(at).astimezone().isoformat(sep=" ", timespec="milliseconds")
