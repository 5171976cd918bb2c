"""Cancels jobs and graphs of one or more apps; returns how each of them ended."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from ..broker import Cancelled
from ..brokers import graphs_of
from ..errors import AiotaskError, ResultExpired
from ..inspector import GraphInfo, JobInfo
from ..results.result import AsyncResult
from .connection import Connection, Place, inspectors
from .describe import describe_job
from .graphs import head_of

__all__ = ["cancel_all"]

#: Seconds to wait for the end of a running job; a job that does not react is killed after one second.
END_TIMEOUT = 5.0
#: Seconds between two looks at a graph that is being cancelled.
_POLL_INTERVAL = 0.1


async def cancel_all(ids: list[str], place: Place) -> list[dict[str, Any]]:
    """Cancel jobs and graphs of the named app or of all apps; a dict for each id, in their order."""
    async with inspectors(place) as opened:
        try:
            return await asyncio.gather(*(_cancel(opened, id, place) for id in ids))
        finally:
            for each in opened:
                if each.app is not None and each.app._client is not None:
                    await each.app.client.close()


async def _cancel(opened: list[Connection], id: str, place: Place) -> dict[str, Any]:
    """Cancel one job, or one graph, in the app that has it."""
    for each in opened:
        if (graph := await head_of(each, id)) is not None:
            return await _cancel_graph(each, graph)
        info = await each.inspector.job(id)
        if info is None:
            continue
        task = describe_job(each, info).get("task", "")
        if each.app is None:
            return {"id": id, "app": each.name, "task": task, **await _cancel_row(each, info)}
        result = each.app.result(id)
        result.task = task
        found = {"id": id, "app": each.name, "task": task}
        try:
            did = await result.cancel()
        except ResultExpired:
            continue  # It ended just now, and its outcome is not kept.
        if did is Cancelled.DONE:
            return {**found, "did": did.value, "status": "CANCELLED", "said": f"cancelled; it was {info.status}"}
        return {**found, "did": did.value, **await _end_of(each, result, asked=did is Cancelled.ASKED)}
    said = f"unknown: {place.why_unknown}"
    return {"id": id, "app": "", "task": "", "did": Cancelled.UNKNOWN.value, "status": "UNKNOWN", "said": said}


async def _cancel_row(connection: Connection, info: JobInfo) -> dict[str, str]:
    """Cancel one row. It is CANCELLED at once, whatever its run does until the worker stops it."""
    did = await connection.broker.cancel(info.id, b"", 0.0)
    if did in (Cancelled.DONE, Cancelled.ASKED):
        stops = ", and its worker stops the run" if did is Cancelled.ASKED else ""
        return {"did": did.value, "status": "CANCELLED", "said": f"cancelled; it was {info.status}{stops}"}
    ended = await connection.inspector.job(info.id)
    status = ended.status.value if ended is not None else "UNKNOWN"
    said = "had already been cancelled" if status == "CANCELLED" else f"had already ended: {status}"
    return {"did": did.value, "status": status, "said": said}


async def _cancel_graph(connection: Connection, graph: GraphInfo) -> dict[str, Any]:
    """Cancel every job of a graph that has not ended."""
    assert connection.app is not None
    result: AsyncResult[Any] = connection.app.result(graph.id)
    did = await result.cancel()
    found = {"id": graph.id, "app": connection.name, "task": "graph", "did": did.value}
    of_all = f"{graph.left:,} of its jobs had not ended"
    if not graph.left:
        return {**found, **await _rest_of(connection, graph)}
    left = await _left_in(connection, graph.id)
    if left:
        said = f"cancelled; {of_all}, and the workers of {left:,} were asked to end them"
        return {**found, "status": "RUNNING", "said": said}
    return {**found, "status": "CANCELLED", "said": f"cancelled; {of_all}"}


async def _rest_of(connection: Connection, graph: GraphInfo) -> dict[str, str]:
    """How a graph had ended before the cancel: as the job for which it was sent, if that is known."""
    info = await connection.inspector.job(graph.id)
    if info is None:
        return {"status": "ENDED", "said": "had already ended"}
    status = info.status.value
    was_cancelled = status == "CANCELLED"
    return {"status": status, "said": "had already been cancelled" if was_cancelled else f"had already ended: {status}"}


async def _left_in(connection: Connection, graph: str) -> int:
    """How many jobs of a cancelled graph have not ended after a while."""
    left, broker = 1, graphs_of(connection.broker)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(END_TIMEOUT):
            while left:
                # There may be no worker that works off the agenda.
                await broker.advance()
                found = await head_of(connection, graph)
                left = found.left if found is not None else 0
                await asyncio.sleep(_POLL_INTERVAL if left else 0)
    return left


async def _end_of(connection: Connection, result: AsyncResult[Any], *, asked: bool) -> dict[str, str]:
    """The end of a job that was running, or that had ended before the cancel."""
    try:
        assert connection.app is not None
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
