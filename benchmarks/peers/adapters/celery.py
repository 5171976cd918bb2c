"""Celery with its prefork pool."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from celery import Celery

from ..bodies import SYNC, spin
from ..order import BIN, CPU, RECOVERY, URL

#: How soon jobs of dead workers are looked for; the mutex of that search may die with its holder.
_restore = {
    "visibility_timeout": 5,
    "unacked_restore_interval": 1,
    "unacked_restore_throttle": 1,
    "unacked_mutex_expire": 5,
}
app = Celery("peers", broker=URL, backend=URL)
app.conf.update(
    worker_prefetch_multiplier=1 if CPU or RECOVERY else 64,
    task_acks_late=RECOVERY,
    task_reject_on_worker_lost=RECOVERY,
    broker_transport_options=_restore if RECOVERY else {},
    worker_disable_rate_limits=True,
    broker_connection_retry_on_startup=True,
    redis_max_connections=512,
)
TASKS = {name: app.task(body, name=name) for name, body in {**SYNC, "spin": spin}.items()}


def commands(processes: int) -> list[list[str]]:
    command = [f"{BIN}/celery", "-A", __name__, "worker", "-l", "ERROR", "-O", "fair", "-P", "prefork"]
    return [[*command, "-c", str(processes), "--without-gossip", "--without-mingle", "--without-heartbeat"]]


class Session:
    def send(self, task: str, calls: list[tuple[int, ...]]) -> None:
        with app.producer_or_acquire() as producer:
            for args in calls:
                TASKS[task].apply_async(args, producer=producer)

    def call(self) -> object:
        return TASKS["noop"].delay().get(timeout=60)


@contextmanager
def session() -> Iterator[Session]:
    yield Session()
