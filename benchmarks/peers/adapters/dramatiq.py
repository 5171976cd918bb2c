"""Dramatiq with results."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends.redis import RedisBackend

from ..bodies import SYNC, spin
from ..order import BIN, CPU, RECOVERY, URL

broker = RedisBroker(
    url=URL,
    heartbeat_timeout=5_000 if RECOVERY else 60_000,
    maintenance_chance=1_000_000 if RECOVERY else 1_000,
)
broker.add_middleware(Results(backend=RedisBackend(url=URL), store_results=True))
dramatiq.set_broker(broker)
TASKS = {name: dramatiq.actor(body, actor_name=name) for name, body in {**SYNC, "spin": spin}.items()}


def commands(processes: int) -> list[list[str]]:
    threads = "1" if CPU else "16"
    return [[f"{BIN}/dramatiq", __name__, "--processes", str(processes), "--threads", threads]]


class Session:
    def send(self, task: str, calls: list[tuple[int, ...]]) -> None:
        actor = TASKS[task]
        for args in calls:
            actor.send(*args)

    def call(self) -> object:
        return TASKS["noop"].send().get_result(block=True, timeout=60_000)


@contextmanager
def session() -> Iterator[Session]:
    yield Session()
