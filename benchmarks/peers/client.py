"""The client of a peer: ``python -m benchmarks.peers.client ADAPTER ACTION …`` says one line of JSON.

It is run with the Python of the peer, so it needs the standard library only.

``commands PROCESSES``          the worker commands
``send TASK FIRST LAST [STEPS]``  send jobs until accepted
``call CALLS IN_FLIGHT SECONDS``  round trips, as many as go into so many seconds
``trickle``                     a no-op every tenth of a second, until it is killed
``speed``                       steps of the CPU-bound work in a second
``bare FIRST STEP JOBS STEPS``  the CPU-bound work without a queue
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from .bodies import spin

#: Seconds between two jobs of a trickle.
PAUSE = 0.1


def calls_of(task: str, first: int, last: int, steps: int) -> list[tuple[int, ...]]:
    if task == "noop":
        return [()] * (last - first)
    return [(n, steps) if task == "spin" else (n,) for n in range(first, last)]


def right(value: object) -> None:
    """The value of a no-op has to be its own."""
    if value != 1:
        raise SystemExit(f"a call returned {value!r} where 1 was due")


async def async_send(session: Any, task: str, calls: list[tuple[int, ...]]) -> dict[str, Any]:
    gc.collect()
    began = time.perf_counter()
    await session.send(task, calls)
    return {"seconds": time.perf_counter() - began}


def sync_send(session: Any, task: str, calls: list[tuple[int, ...]]) -> dict[str, Any]:
    gc.collect()
    began = time.perf_counter()
    session.send(task, calls)
    return {"seconds": time.perf_counter() - began}


async def async_call(session: Any, count: int, in_flight: int, seconds: float) -> dict[str, Any]:
    took: list[float] = []
    left = iter(range(count))
    gc.collect()
    start = time.perf_counter()

    async def caller() -> None:
        for _ in left:
            began = time.perf_counter()
            right(await session.call())
            took.append(time.perf_counter() - began)
            if time.perf_counter() - start > seconds:
                return

    await asyncio.gather(*(caller() for _ in range(in_flight)))
    return {"seconds": time.perf_counter() - start, "took": took}


def sync_call(session: Any, count: int, in_flight: int, seconds: float) -> dict[str, Any]:
    took: list[float] = []
    left = iter(range(count))
    gc.collect()
    start = time.perf_counter()

    def caller() -> None:
        for _ in left:
            began = time.perf_counter()
            right(session.call())
            took.append(time.perf_counter() - began)
            if time.perf_counter() - start > seconds:
                return

    if in_flight == 1:
        caller()
    else:
        with ThreadPoolExecutor(in_flight) as pool:
            for future in [pool.submit(caller) for _ in range(in_flight)]:
                future.result()
    return {"seconds": time.perf_counter() - start, "took": took}


async def in_loop(adapter: Any, action: str, args: list[str]) -> dict[str, Any]:
    async with adapter.session() as session:
        if action == "send":
            return await async_send(session, args[0], calls_of(args[0], *numbers(args[1:])))
        while action == "trickle":
            await session.send("noop", [()])
            await asyncio.sleep(PAUSE)
        return await async_call(session, int(args[0]), int(args[1]), float(args[2]))


def in_threads(adapter: Any, action: str, args: list[str]) -> dict[str, Any]:
    with adapter.session() as session:
        if action == "send":
            return sync_send(session, args[0], calls_of(args[0], *numbers(args[1:])))
        while action == "trickle":
            session.send("noop", [()])
            time.sleep(PAUSE)
        return sync_call(session, int(args[0]), int(args[1]), float(args[2]))


def numbers(args: list[str]) -> tuple[int, int, int]:
    first, last, *steps = map(int, args)
    return first, last, steps[0] if steps else 0


def bare(first: int, step: int, jobs: int, steps: int) -> dict[str, Any]:
    """Every so many-th job, in this process; the file that the starter makes is the signal to begin."""
    spin(-1, 1000)
    go = os.path.join(os.environ["AIOTASK_PEER_MARKS"], "go")
    while not os.path.exists(go):
        time.sleep(0.001)
    for job in range(first, jobs, step):
        spin(job, steps)
    return {}


def speed() -> dict[str, Any]:
    """The best of a few tries."""
    steps = 200_000
    took = []
    for _ in range(5):
        began = time.thread_time()
        spin(-1, steps)
        took.append(time.thread_time() - began)
    return {"steps": steps / min(took)}


def main() -> None:
    name, action, *args = sys.argv[1:]
    if action == "bare":
        result = bare(*map(int, args))
    elif action == "speed":
        result = speed()
    else:
        adapter = importlib.import_module(f"benchmarks.peers.adapters.{name}")
        if action == "commands":
            result = {"commands": adapter.commands(int(args[0]))}
        elif asyncio.iscoroutinefunction(adapter.Session.call):
            with contextlib.suppress(ImportError):
                importlib.import_module("benchmarks.peers.uv").use_uvloop()
            result = asyncio.run(in_loop(adapter, action, args))
        else:
            result = in_threads(adapter, action, args)
    print(json.dumps(result), flush=True)
    os._exit(0)  # some clients keep threads


if __name__ == "__main__":
    main()
