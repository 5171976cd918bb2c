"""The tasks that are measured, and the app that worker processes load."""

from __future__ import annotations

import time

from aiotask import App

__all__ = ["NAME", "Tasks", "app"]

NAME = "bench"


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


class Tasks:
    """The tasks on one app: that of a worker process, or one of the client for a certain server."""

    def __init__(self, url: str | None = None) -> None:
        self.app = App(NAME, url=url)
        self.async_noop = self.app.register_task(async_noop)
        self.sync_noop = self.app.register_task(sync_noop)
        self.async_bytes = self.app.register_task(async_bytes)
        self.spin = self.app.register_task(spin)


app = Tasks().app
