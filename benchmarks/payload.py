"""Payload: large arguments and results, and what is said of those that are larger than the server takes."""

from __future__ import annotations

import os
import time

from aiotask import AiotaskError

from .figure import Failed, Figure
from .fleet import fleet
from .plan import Plan
from .tasks import Tasks

__all__ = ["measure"]

_MEGABYTE = 1_000_000
#: Megabytes, and how often in one repetition.
_SIZES = ((1, 10), (50, 1))
#: What a server takes in one piece while the error is looked at, and what is tried then (bytes).
_LIMIT = 4 * 1024 * 1024
_ABOVE = 5 * _MEGABYTE
_SETTING = "proto-max-bulk-len"


async def _argument(tasks: Tasks, data: bytes) -> float:
    began = time.perf_counter()
    if await tasks.length.apply_async(data) != len(data):
        raise Failed(f"An argument of {len(data):,} bytes did not arrive as it was sent.")
    return time.perf_counter() - began


async def _result(tasks: Tasks, size: int) -> float:
    began = time.perf_counter()
    value = await tasks.produce.apply_async(size)
    took = time.perf_counter() - began
    if value != bytes(size):
        raise Failed(f"A result of {size:,} bytes did not arrive as it was returned.")
    return took


async def _error(tasks: Tasks, what: str) -> str:
    """What the caller is told of an argument, or of a result, above the limit."""
    try:
        if what == "argument":
            await tasks.length.apply_async(bytes(_ABOVE))
        else:
            await tasks.produce.apply_async(_ABOVE)
    except AiotaskError as error:
        said = f"{type(error).__name__}: {error}"
        if _SETTING not in said:
            raise Failed(f"The error for a large {what} does not name the limit: {said}") from error
        return said
    raise Failed(f"A {what} above the limit of the server was taken.")


async def _errors(plan: Plan, tasks: Tasks) -> None:
    """Check them on a server with a low limit."""
    before = str(plan.server.client.config_get(_SETTING)[_SETTING])
    plan.server.client.config_set(_SETTING, _LIMIT)
    try:
        for what in ("argument", "result"):
            plan.notes.append(
                f"payload: {_ABOVE:,} bytes of {what} where {_SETTING} is {_LIMIT:,}: {await _error(tasks, what)}"
            )
    finally:
        plan.server.client.config_set(_SETTING, before)


async def measure(plan: Plan) -> list[Figure]:
    plan.bar.expect(plan.reps)
    tasks = Tasks(plan.server.url)
    took: dict[tuple[int, str], list[float]] = {
        (size, kind): [] for size, _ in _SIZES for kind in ("argument", "result")
    }
    with fleet(plan.server, 1):
        async with tasks.app:
            await _argument(tasks, b"")
            for _ in plan.rounds():
                for size, count in _SIZES:
                    data = os.urandom(size * _MEGABYTE)
                    took[size, "argument"] += [await _argument(tasks, data) for _ in range(count)]
                    took[size, "result"] += [await _result(tasks, len(data)) for _ in range(count)]
            if plan.server.is_private:
                await _errors(plan, tasks)
    figures = []
    for (size, kind), seconds in took.items():
        name = f"{kind} of {size} MB, sent, run and awaited"
        figures.append(Figure("payload", name, "ms", [1000 * each for each in seconds], more=False))
        figures.append(Figure("payload", "the same", "MB/s", [size / each for each in seconds]))
    return figures
