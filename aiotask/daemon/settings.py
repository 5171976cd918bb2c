"""The settings of a supervisor and its workers."""

from __future__ import annotations

from dataclasses import dataclass

from ..history.file import MAX_AGE, MAX_BYTES
from ..values.queue_order import EQUAL_TURNS, QueueOrder

__all__ = ["WorkerSettings"]


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """Settings of one supervisor and its workers; durations in seconds, sizes in bytes."""

    #: ``module`` or ``module:app``, as given.
    apps: tuple[str, ...]
    app_dir: str
    #: Worker processes.
    concurrency: int
    #: Empty: every queue that a task names, and ``default``.
    queues: tuple[str, ...] = ()
    order: QueueOrder = EQUAL_TURNS
    #: Async jobs at a time in one process.
    max_in_flight: int = 100
    #: Sync jobs at a time in one process.
    threads: int = 1
    max_jobs_per_child: int | None = None
    max_memory_per_child: int | None = None
    #: Time that running jobs have to end at a stop.
    grace: float = 30.0
    #: Where probes are answered; None: on a socket in the state directory alone.
    health_port: int | None = None
    health_host: str = "127.0.0.1"
    #: How long a job may block the event loop, and a sync job run, before the log says where it is; 0: for ever.
    blocked_loop: float = 1.0
    long_job: float = 60.0
    #: How long a process may be stopped, by a signal, a debugger or the freezer, before it is killed; 0: for ever.
    stopped_process: float = 30.0
    burst: bool = False
    reload: bool = False
    preload: bool = False
    result_db: str | None = None
    #: How long a finished job is kept in that file, and how large the file may grow; 0: no bound.
    result_db_age: float = MAX_AGE
    result_db_size: int = MAX_BYTES
    log_args: bool = False
    log_tracebacks: bool = True
    log_json: bool = False
    log_level: str = "info"
    #: Where the supervisor was started; empty: not known, or the app is not there.
    start_dir: str = ""
