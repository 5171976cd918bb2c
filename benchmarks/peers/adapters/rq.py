"""RQ with workers that do not fork for each job."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from redis import Redis
from rq import Queue, Retry

from ..bodies import SYNC, spin
from ..order import BIN, CHUNK, RECOVERY, URL

TASKS = {**SYNC, "spin": spin}


def commands(processes: int) -> list[list[str]]:
    command = [f"{BIN}/rq", "worker", "-u", URL, "-w", "rq.worker.SimpleWorker", "-q", "--disable-job-desc-logging"]
    if RECOVERY:
        # An idle worker looks after nothing until its worker-ttl (420 s) less 15 s is over.
        command += ["--maintenance-interval", "2", "--job-monitoring-interval", "2", "--worker-ttl", "20"]
    return [command] * processes


class Session:
    def __init__(self) -> None:
        self.connection = Redis.from_url(URL)
        self.queue = Queue("default", connection=self.connection)

    def send(self, task: str, calls: list[tuple[int, ...]]) -> None:
        timeout, retry = (2, Retry(max=3)) if RECOVERY else (None, None)
        for at in range(0, len(calls), CHUNK):
            self.queue.enqueue_many(
                Queue.prepare_data(TASKS[task], args, retry=retry, timeout=timeout) for args in calls[at : at + CHUNK]
            )

    def call(self) -> object:
        result = self.queue.enqueue(TASKS["noop"]).latest_result(timeout=60)
        return result.return_value if result else None


@contextmanager
def session() -> Iterator[Session]:
    yield Session()
