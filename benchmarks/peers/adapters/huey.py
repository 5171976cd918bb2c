"""Huey on Redis."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from huey import RedisHuey

from ..bodies import SYNC, spin
from ..order import BIN, CPU, URL

huey = RedisHuey("peers", url=URL, notify_result=True)
TASKS = {name: huey.task(name=name)(body) for name, body in {**SYNC, "spin": spin}.items()}


def commands(processes: int) -> list[list[str]]:
    command = [f"{BIN}/huey_consumer", f"{__name__}.huey", "-q", "-k", "thread", "-w", "1" if CPU else "4"]
    return [[*command, "-d", "0.005", "-m", "0.01"]] * processes


class Session:
    def send(self, task: str, calls: list[tuple[int, ...]]) -> None:
        wrapper = TASKS[task]
        for args in calls:
            wrapper(*args)

    def call(self) -> object:
        return TASKS["noop"]().get(blocking=True, timeout=60, backoff=1.05, max_delay=0.01)


@contextmanager
def session() -> Iterator[Session]:
    yield Session()
