"""``aiotask cancel``: end jobs, wherever they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import AppName, Json, Url
from .output import console, plain, print_json

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["cancel"]

#: Seconds in which a running job has ended: what does not react is killed after one.
PATIENCE = 5.0

JobIds = Annotated[list[str], typer.Argument(metavar="ID", help="IDs of the jobs to cancel.")]


def cancel(ids: JobIds, name: AppName = None, url: Url = None, as_json: Json = False) -> None:
    """Cancel jobs: queued jobs end at once; running jobs are interrupted, and killed if they do not react.

    The callers that await a job get JobCancelled. Repeating the command does no harm. The exit code is 1 if a job
    had already ended in another way, or is unknown.

    [bold]Examples[/bold]

      aiotask cancel 00a1b2c3d4e5f6a7b-2a
      aiotask cancel 00a1b2c3d4e5f6a7b-2a 00a1b2c3d4e5f6a7b-2b --name shop
      aiotask jobs --status scheduled --json | jq -r '.[].id' | xargs aiotask cancel
    """
    import asyncio

    done = asyncio.run(_cancel_all(list(dict.fromkeys(ids)), name, url))
    if as_json:
        print_json(done)
    else:
        for each in done:
            mark = "[green]⊘[/green]" if each["status"] in ("CANCELLED", "RUNNING") else "[red]![/red]"
            shown = " ".join(plain(each[key], 300) for key in ("id", "task", "said") if each[key])
            console().print(f"{mark} {shown}", soft_wrap=True)
    if any(each["status"] not in ("CANCELLED", "RUNNING") for each in done):
        raise typer.Exit(1)


async def _cancel_all(ids: list[str], name: str | None, url: str | None) -> list[dict[str, Any]]:
    import asyncio

    from .connection import inspectors

    async with inspectors(name, url) as opened:
        try:
            return await asyncio.gather(*(_cancel(opened, id) for id in ids))
        finally:
            for each in opened:
                if each.app._client is not None:
                    await each.app.client.close()


async def _cancel(opened: list[Connection], id: str) -> dict[str, Any]:
    """What it did to one job."""
    from aiotask.broker import Cancelled
    from aiotask.errors import ResultExpired

    from .jobs import described

    for each in opened:
        info = await each.inspector.job(id)
        if info is None:
            continue
        task = described(each, info).get("task", "")
        result = each.app.result(id)
        result.task = task
        found = {"id": id, "app": each.app.name, "task": task}
        try:
            did = await result.cancel()
        except ResultExpired:
            continue  # it ended just now, and nobody keeps its outcome
        if did is Cancelled.DONE:
            return {**found, "did": did.value, "status": "CANCELLED", "said": f"cancelled; it was {info.status}"}
        return {**found, "did": did.value, **await _end_of(each, result, asked=did is Cancelled.ASKED)}
    said = "unknown: it was never sent, or it finished longer ago than its result TTL"
    return {"id": id, "app": "", "task": "", "did": Cancelled.UNKNOWN.value, "status": "UNKNOWN", "said": said}


async def _end_of(connection: Connection, result: Any, *, asked: bool) -> dict[str, str]:
    """How a job ended that ran, or had ended before."""
    from aiotask.errors import AiotaskError

    try:
        outcome = await connection.app.client.outcome(result, PATIENCE)
    except AiotaskError:
        return {"status": "RUNNING", "said": "its worker was asked to end it, and it has not ended yet"}
    if outcome.status == "CANCELLED":
        said = "cancelled; it was RUNNING" if asked else "had already been cancelled"
    else:
        said = (
            f"ended before the cancel reached it: {outcome.status}" if asked else f"had already ended: {outcome.status}"
        )
    return {"status": outcome.status.value, "said": said}
