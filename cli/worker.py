"""``aiotask worker``: start the supervisor."""

from __future__ import annotations

import inspect
import os
import sys

import typer

from .options import (
    AppDir,
    Apps,
    BlockedLoop,
    Burst,
    Concurrency,
    Grace,
    HealthHost,
    HealthPort,
    Level,
    LogArgs,
    LogJson,
    LogLevel,
    LogTracebacks,
    LongJob,
    MaxInFlight,
    MaxJobsPerChild,
    MaxMemoryPerChild,
    MoreApps,
    Preload,
    Queues,
    Reload,
    ResultDb,
    ResultDbAge,
    ResultDbSize,
    StoppedProcess,
    Threads,
    WorkerUrl,
    names,
)

__all__ = ["worker"]

#: Worker processes that one supervisor may have.
MOST = 1000
#: The defaults of aiotask.history.file (30 days, 1 GB), which the help of a command does not import.
MAX_AGE, MAX_BYTES = 30 * 86_400.0, 1024**3


def worker(
    apps: Apps = None,
    app: MoreApps = None,
    concurrency: Concurrency = None,
    queues: Queues = None,
    max_in_flight: MaxInFlight = 100,
    threads: Threads = 1,
    max_jobs_per_child: MaxJobsPerChild = None,
    max_memory_per_child: MaxMemoryPerChild = None,
    grace: Grace = 30.0,
    burst: Burst = False,
    health_port: HealthPort = None,
    health_host: HealthHost = "127.0.0.1",
    reload: Reload = False,
    preload: Preload = False,
    result_db: ResultDb = None,
    result_db_age: ResultDbAge = MAX_AGE,
    result_db_size: ResultDbSize = MAX_BYTES,
    blocked_loop: BlockedLoop = 1.0,
    long_job: LongJob = 60.0,
    stopped_process: StoppedProcess = 30.0,
    log_args: LogArgs = False,
    log_tracebacks: LogTracebacks = True,
    log_json: LogJson = False,
    log_level: LogLevel = Level.INFO,
    app_dir: AppDir = ".",
    url: WorkerUrl = None,
) -> None:
    """Run the jobs of one or more apps in worker processes: tasks and rows.

    An app that has rows and no tasks contacts no broker.

    [bold]Examples[/bold]

      aiotask worker shop.tasks
      aiotask worker shop.tasks:app -c 8 -q default,mail
      aiotask worker shop.tasks --queues critical:6,default:3,low:1
      aiotask worker shop.tasks --grace 2m --result-db history.db
      aiotask worker shop.tasks --health-port 8080
      aiotask worker shop.tasks --burst     [dim]# run what waits, then stop[/dim]

    [bold]Signals[/bold]

      TERM, INT    finish running jobs and stop; a second one stops at once
      QUIT         stop at once
      HUP          replace the processes one by one, with the new code
      TTIN, TTOU   add a process, remove one
      USR1         log the stack of every process
    """
    if reload and preload:
        raise typer.BadParameter(
            "--reload and --preload cannot be combined: with --preload, changed files are not imported again. "
            "Leave one of them out."
        )
    if concurrency and concurrency > MOST:
        raise typer.BadParameter(
            f"--concurrency {concurrency:,} is more than one worker service can run. Give at most {MOST:,}."
        )
    from .supervise import become_supervisor

    if url:
        os.environ["AIOTASK_URL"] = url
    if result_db:
        _try_history(result_db)
    given = {
        "app_dir": app_dir,
        "concurrency": concurrency,
        "queues": queues,
        "max_in_flight": max_in_flight,
        "threads": threads,
        "max_jobs_per_child": max_jobs_per_child,
        "max_memory_per_child": max_memory_per_child,
        "grace": grace,
        "blocked_loop": blocked_loop,
        "long_job": long_job,
        "stopped_process": stopped_process,
        "health_port": health_port,
        "health_host": health_host,
        "burst": burst,
        "reload": reload,
        "preload": preload,
        "result_db": result_db,
        "result_db_age": result_db_age,
        "result_db_size": result_db_size,
        "log_args": log_args,
        "log_tracebacks": log_tracebacks,
        "log_json": log_json,
        "log_level": log_level.value,
    }
    # Only options that differ from their defaults, since `ps` shows them.
    usual = {name: parameter.default for name, parameter in inspect.signature(worker).parameters.items()}
    chosen = {name: value for name, value in given.items() if value != usual[name]}
    become_supervisor({"apps": names([*(apps or ()), *(app or ())]), **chosen})


def _try_history(path: str) -> None:
    """Check now that the path can be a history file; later only the keeper would log it.

    Raises:
        ConfigError: the path is a directory, a damaged or other file, or this user cannot write it.
    """
    from contextlib import closing

    from aiotask.history.file import HistoryFile, RecordingDelayed, explain, file_errors

    with closing(HistoryFile(path, create=True, timeout=1.0)) as file:
        try:
            file.connection()
        except file_errors() as error:
            found = explain(error, file.path)
            if not isinstance(found, RecordingDelayed):
                raise found from error
            print(f"warning: {found}", file=sys.stderr)
