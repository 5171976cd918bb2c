"""Cancels jobs of one or more apps; returns how each of them ended."""

from __future__ import annotations

import asyncio
from typing import Any

from ..broker import Cancelled
from ..errors import AiotaskError, ResultExpired
from ..result import AsyncResult
from .connection import Connection, inspectors
from .describe import describe_job

__all__ = ["cancel_all"]

#: Seconds to wait for the end of a running job; a job that does not react is killed after one second.
END_TIMEOUT = 5.0


async def cancel_all(ids: list[str], name: str | None, url: str | None) -> list[dict[str, Any]]:
    """Cancel jobs of the named app or of all apps; a dict for each id, in their order."""
    async with inspectors(name, url) as opened:
        try:
            return await asyncio.gather(*(_cancel(opened, id) for id in ids))
        finally:
            for each in opened:
                if each.app._client is not None:
                    await each.app.client.close()


async def _cancel(opened: list[Connection], id: str) -> dict[str, Any]:
    """Cancel one job, in the app that has it."""
    for each in opened:
        info = await each.inspector.job(id)
        if info is None:
            continue
        task = describe_job(each, info).get("task", "")
        result = each.app.result(id)
        result.task = task
        found = {"id": id, "app": each.app.name, "task": task}
        try:
            did = await result.cancel()
        except ResultExpired:
            continue  # It ended just now, and its outcome is not kept.
        if did is Cancelled.DONE:
            return {**found, "did": did.value, "status": "CANCELLED", "said": f"cancelled; it was {info.status}"}
        return {**found, "did": did.value, **await _end_of(each, result, asked=did is Cancelled.ASKED)}
    said = "unknown: it was never sent, or it finished longer ago than its result TTL"
    return {"id": id, "app": "", "task": "", "did": Cancelled.UNKNOWN.value, "status": "UNKNOWN", "said": said}


async def _end_of(connection: Connection, result: AsyncResult[Any], *, asked: bool) -> dict[str, str]:
    """The end of a job that was running, or that had ended before the cancel."""
    try:
        outcome = await connection.app.client.outcome(result, END_TIMEOUT)
    except AiotaskError:
        return {"status": "RUNNING", "said": "its worker was asked to end it, and it has not ended yet"}
    if outcome.status == "CANCELLED":
        said = "cancelled; it was RUNNING" if asked else "had already been cancelled"
    else:
        said = (
            f"ended before the cancel reached it: {outcome.status}" if asked else f"had already ended: {outcome.status}"
        )
    return {"status": outcome.status.value, "said": said}
