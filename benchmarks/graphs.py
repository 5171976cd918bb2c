"""Graphs, as a user sends them, beside plain jobs: the same workers, the same repetition.

A figure is the time of a shape for each of its jobs, from the first line that makes its calls to the last value, over
the time that a plain job of the same repetition takes, sent and drained in one burst. A chain is held against plain
jobs that are sent one after the other, each when the one before it has come back.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aiotask import AsyncResult, Signature, chain, group

from .figure import Figure
from .fleet import fleet
from .plan import Plan
from .tasks import Tasks

__all__ = ["SHAPES", "measure"]

#: Jobs of ``--jobs``, for which the shapes have the sizes that their names say.
_FULL = 40_000
_MB = 1024 * 1024
_ITEMS, _CHUNK = 10_000, 100

Shape = Callable[[Tasks, float], Awaitable[int]]


def _scaled(size: int, scale: float, least: int = 2) -> int:
    return max(least, round(size * scale))


async def _chain(tasks: Tasks, scale: float) -> int:
    call: Signature[int] = tasks.async_noop.s(0)
    length = _scaled(1_000, scale)
    for _ in range(length - 1):
        call = call.then(tasks.async_noop)
    await call.apply_async()
    return length


async def _chord(tasks: Tasks, scale: float) -> int:
    members = _scaled(10_000, scale)
    values: Signature[Any] = group(tasks.async_noop.s(n) for n in range(members)).then(tasks.count)
    assert await values.apply_async() == members
    return members + 1


async def _layers(tasks: Tasks, width: int, depth: int) -> int:
    """Layers of jobs, each of which takes the whole layer before it if there are two of them, else one job of it."""
    layer: Sequence[Signature[Any]] = [tasks.async_noop.s(n) for n in range(width)]
    for _ in range(depth - 1):
        if depth == 2:
            values = [each.cast for each in layer]
            layer = [tasks.count.s(values) for _ in layer]
        else:
            layer = [each.then(tasks.async_noop) for each in layer]
    await group(layer).then(tasks.count).apply_async()
    return width * depth + 1


async def _diamond(tasks: Tasks, scale: float) -> int:
    # Its edges are the square of its width.
    return await _layers(tasks, _scaled(300, scale**0.5), 2)


async def _many(tasks: Tasks, scale: float) -> int:
    return await _layers(tasks, _scaled(10_000, scale), 10)


async def _map(tasks: Tasks, scale: float) -> int:
    items = _scaled(_ITEMS, scale)
    await tasks.async_noop.map(range(items))
    return items


async def _chunks(tasks: Tasks, scale: float) -> int:
    items = _scaled(_ITEMS, scale)
    await tasks.async_noop.map(range(items), chunk=_CHUNK)
    return items


#: By what they are called.
SHAPES: dict[str, Shape] = {
    "chord of 10,000": _chord,
    "300x300": _diamond,
    "100,000 in 10 layers": _many,
    "map of 10,000": _map,
    f"map of 10,000, chunks of {_CHUNK}": _chunks,
}


async def _timed(shape: Awaitable[int]) -> float:
    """Seconds a job."""
    gc.collect()
    began = time.perf_counter()
    jobs = await shape
    return (time.perf_counter() - began) / jobs


async def _burst(tasks: Tasks, jobs: int) -> int:
    results: list[AsyncResult[int]] = [tasks.async_noop.apply_async(n) for n in range(jobs)]
    for result in results:
        await result
    return jobs


async def _one_by_one(tasks: Tasks, jobs: int) -> int:
    for n in range(jobs):
        await tasks.async_noop.apply_async(n)
    return jobs


async def _large_chain(tasks: Tasks) -> int:
    call = chain(tasks.produce.s(_MB), tasks.hand_on, tasks.hand_on, tasks.hand_on, tasks.hand_on)
    assert len(await call.apply_async()) == _MB
    return 5


async def _large_one_by_one(tasks: Tasks) -> int:
    value = await tasks.produce.apply_async(_MB)
    for _ in range(4):
        value = await tasks.hand_on.apply_async(value)
    return 5


async def measure(plan: Plan) -> list[Figure]:
    plan.bar.expect(plan.reps)
    scale = plan.jobs / _FULL
    tasks = Tasks(plan.server.url)
    names = {name: f"{name}: a job over a plain one" for name in SHAPES}
    ratios: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        ratios.setdefault(name, []).append(value)

    async with tasks.app:
        with fleet(plan.server, 2):
            await _burst(tasks, 2_000)
            for _ in plan.rounds():
                plain = await _timed(_burst(tasks, _scaled(_ITEMS, scale)))
                for name, shape in SHAPES.items():
                    note(names[name], await _timed(shape(tasks, scale)) / plain)
                single = await _timed(_one_by_one(tasks, _scaled(1_000, scale)))
                note("chain of 1,000: a job over a round trip", await _timed(_chain(tasks, scale)) / single)
                large = await _timed(_large_one_by_one(tasks))
                note("1 MB through a chain of 5: over five round trips", await _timed(_large_chain(tasks)) / large)
    return [Figure("graphs", name, "x", found, more=False) for name, found in ratios.items()]
