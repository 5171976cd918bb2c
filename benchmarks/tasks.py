"""The tasks that are measured, and the app that worker processes load."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from aiotask import App

__all__ = ["NAME", "Ran", "Tasks", "app", "marks"]

NAME = "bench"
#: Where a job ran (process id), from when to when (monotonic clock, the same for all processes).
Ran = tuple[int, float, float]
#: Seconds that a job takes whose process is to be killed.
_LINGER = 30.0


async def async_noop(n: int) -> int:
    return n


def sync_noop(n: int) -> int:
    return n


async def async_bytes(data: bytes) -> None:
    return None


def spin(steps: int) -> float:
    """Pure Python work; the CPU seconds of this thread that it took."""
    began = time.thread_time()
    total = 0
    for step in range(steps):
        total += step & 7
    return time.thread_time() - began


async def async_nap(seconds: float) -> Ran:
    began = time.monotonic()
    await asyncio.sleep(seconds)
    return os.getpid(), began, time.monotonic()


def sync_nap(seconds: float) -> Ran:
    began = time.monotonic()
    time.sleep(seconds)
    return os.getpid(), began, time.monotonic()


def length(data: bytes) -> int:
    return len(data)


def produce(size: int) -> bytes:
    return bytes(size)


def hand_on(data: bytes) -> bytes:
    return data


async def count(values: list[int]) -> int:
    return len(values)


def marks(path: str) -> list[tuple[int, float]]:
    """Every start of a job that lingers: process id and time (monotonic clock)."""
    file = Path(path)
    rows = [line.split() for line in file.read_text().splitlines()] if file.exists() else []
    return [(int(row[0]), float(row[1])) for row in rows if len(row) == 2]


def _mark(path: str) -> float:
    """Note this start; how long the job is to take: the first run is killed, the next one ends at once."""
    with open(path, "a") as file:
        file.write(f"{os.getpid()} {time.monotonic()!r}\n")
    return _LINGER if len(marks(path)) == 1 else 0.0


async def async_linger(path: str) -> None:
    await asyncio.sleep(_mark(path))


def sync_linger(path: str) -> None:
    time.sleep(_mark(path))


class Tasks:
    """The tasks on one app: that of a worker process, or one of the client for a certain server."""

    def __init__(self, url: str | None = None) -> None:
        self.app = App(NAME, url=url)
        self.async_noop = self.app.register_task(async_noop)
        self.sync_noop = self.app.register_task(sync_noop)
        self.async_bytes = self.app.register_task(async_bytes)
        self.spin = self.app.register_task(spin)
        self.async_nap = self.app.register_task(async_nap)
        self.sync_nap = self.app.register_task(sync_nap)
        self.length = self.app.register_task(length)
        self.produce = self.app.register_task(produce)
        self.hand_on = self.app.register_task(hand_on)
        self.count = self.app.register_task(count)
        self.async_linger = self.app.register_task(async_linger)
        self.sync_linger = self.app.register_task(sync_linger)


app = Tasks().app
