"""The options that commands share. Every flag has exactly one environment variable, ``AIOTASK_…``."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated

import typer

__all__ = [
    "AppDir",
    "AppName",
    "Apps",
    "Burst",
    "Concurrency",
    "Grace",
    "Json",
    "LogArgs",
    "LogJson",
    "LogLevel",
    "MaxInFlight",
    "MaxJobsPerChild",
    "MaxMemoryPerChild",
    "MoreApps",
    "Preload",
    "Queues",
    "Reload",
    "ResultDb",
    "Threads",
    "Url",
    "cpu_count",
    "duration",
    "names",
    "size",
]

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"": 1, "B": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")


def duration(text: str | float) -> float:
    """Seconds in a text like ``90``, ``10m``, ``1h30m`` or ``250ms``."""
    text = str(text).strip().lower()
    try:
        seconds = float(text)
    except ValueError:
        parts = _DURATION.findall(text)
        if not parts or _DURATION.sub("", text).strip():
            raise typer.BadParameter(
                f'"{text}" is no duration. Write seconds or a number with a unit: 90, 30s, 10m, 1h30m, 2d.'
            ) from None
        return sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if not 0 <= seconds < float("inf"):
        raise typer.BadParameter(f'"{text}" is no duration: it has to be 0 or more, and finite.')
    return seconds


def size(text: str | int) -> int:
    """Bytes in a text like ``1048576``, ``512MB`` or ``1.5G`` (1 KB is 1,024 bytes)."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:I?B)?", str(text).strip().upper())
    if match is None or not float(match[1]):
        raise typer.BadParameter(f'"{text}" is no size. Write bytes or a number with a unit: 1048576, 512MB, 2GB.')
    return int(float(match[1]) * _BYTES[match[2]])


def names(given: list[str] | None) -> tuple[str, ...]:
    """What was given once, repeatedly, or separated by commas, without repeats."""
    split = (name.strip() for text in given or () for name in text.split(","))
    return tuple(dict.fromkeys(name for name in split if name))


def cpu_count() -> int:
    """CPUs that this process may use."""
    import os

    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Level(StrEnum):
    """Levels of the log."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


# ---- where

Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="AIOTASK_URL",
        show_default="the embedded server",
        help="Redis or Valkey: redis://HOST:PORT/DB, rediss://…, unix://PATH.",
    ),
]
AppName = Annotated[
    str | None,
    typer.Option(
        "--name", "-n", envvar="AIOTASK_NAME", show_default="every app found there", help="Name of the app, as in App(NAME)."
    ),
]
Json = Annotated[bool, typer.Option("--json", envvar="AIOTASK_JSON", help="Print JSON for other programs.")]

# ---- the worker

_APPS = "Module with the app: [bold]shop.tasks[/bold] or [bold]shop.tasks:app[/bold]."
Apps = Annotated[list[str] | None, typer.Argument(metavar="[APP]...", help=_APPS)]
MoreApps = Annotated[
    list[str] | None,
    typer.Option(
        "--app",
        "-A",
        metavar="APP",
        show_default="[tool.aiotask] app in pyproject.toml",
        help="The same as an option, repeatable. [dim]\\[env var: AIOTASK_APP, separated by commas][/dim]",
    ),
]
AppDir = Annotated[
    str,
    typer.Option("--app-dir", envvar="AIOTASK_APP_DIR", help="Directory that modules are imported from first."),
]
Concurrency = Annotated[
    int | None,
    typer.Option(
        "--concurrency",
        "-c",
        min=1,
        envvar="AIOTASK_CONCURRENCY",
        show_default="number of CPUs",
        help="Worker processes.",
    ),
]
Queues = Annotated[
    list[str] | None,
    typer.Option(
        "--queues",
        "-q",
        metavar="NAMES",
        envvar="AIOTASK_QUEUES",
        show_default="every queue its tasks name, and default",
        help="Queues to consume, separated by commas or repeated.",
    ),
]
MaxInFlight = Annotated[
    int,
    typer.Option(
        "--max-in-flight", min=1, envvar="AIOTASK_MAX_IN_FLIGHT", help="Async jobs that one process runs at a time."
    ),
]
Threads = Annotated[
    int,
    typer.Option(
        "--threads",
        min=1,
        envvar="AIOTASK_THREADS",
        help="Sync jobs that one process runs at a time; more than 1 for blocking I/O.",
    ),
]
MaxJobsPerChild = Annotated[
    int | None,
    typer.Option(
        "--max-jobs-per-child",
        min=1,
        envvar="AIOTASK_MAX_JOBS_PER_CHILD",
        show_default="no limit",
        help="Replace a process after so many jobs.",
    ),
]
MaxMemoryPerChild = Annotated[
    int | None,
    typer.Option(
        "--max-memory-per-child",
        parser=size,
        metavar="SIZE",
        envvar="AIOTASK_MAX_MEMORY_PER_CHILD",
        show_default="no limit",
        help="Replace a process that holds more memory, as in 512MB.",
    ),
]
Grace = Annotated[
    float,
    typer.Option(
        "--grace",
        parser=duration,
        metavar="DURATION",
        envvar="AIOTASK_GRACE",
        show_default="30s",
        help="On TERM: time that running jobs get to end; then they are killed and go back to their queue.",
    ),
]
Burst = Annotated[bool, typer.Option("--burst", envvar="AIOTASK_BURST", help="Stop when the queues are empty.")]
Reload = Annotated[
    bool, typer.Option("--reload", envvar="AIOTASK_RELOAD", help="Restart when a source file changes; for development.")
]
Preload = Annotated[
    bool,
    typer.Option(
        "--preload",
        envvar="AIOTASK_PRELOAD",
        help="Import the app before the fork: less memory, but TERM and start are needed for fresh code.",
    ),
]
ResultDb = Annotated[
    str | None,
    typer.Option(
        "--result-db",
        metavar="FILE",
        envvar="AIOTASK_RESULT_DB",
        show_default="no history",
        help="SQLite file that keeps every finished job.",
    ),
]
LogArgs = Annotated[
    bool, typer.Option("--log-args", envvar="AIOTASK_LOG_ARGS", help="Show the arguments of jobs in the log.")
]
LogJson = Annotated[bool, typer.Option("--log-json", envvar="AIOTASK_LOG_JSON", help="Log one JSON object per line.")]
LogLevel = Annotated[
    Level, typer.Option("--log-level", envvar="AIOTASK_LOG_LEVEL", case_sensitive=False, help="Least level that is said.")
]
