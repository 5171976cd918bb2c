"""The options that commands share. Every flag has exactly one environment variable, ``AIOTASK_…``."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Any

import typer

__all__ = [
    "AppDir",
    "AppName",
    "Apps",
    "BlockedLoop",
    "Burst",
    "Concurrency",
    "File",
    "Grace",
    "HealthHost",
    "HealthPort",
    "Json",
    "Level",
    "Limit",
    "LogArgs",
    "LogJson",
    "LogLevel",
    "LogTracebacks",
    "LongJob",
    "MaxInFlight",
    "MaxJobsPerChild",
    "MaxMemoryPerChild",
    "MoreApps",
    "Offset",
    "Preload",
    "Queues",
    "Reload",
    "ResultDb",
    "ResultDbAge",
    "ResultDbSize",
    "StoppedProcess",
    "Threads",
    "Url",
    "WorkerUrl",
    "count",
    "duration",
    "names",
    "option",
    "port",
    "size",
    "size_or_none",
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
                f'"{text}" is not a duration. Write seconds or a number with a unit: 90, 30s, 10m, 1h30m, 2d.'
            ) from None
        return sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if not 0 <= seconds < float("inf"):
        raise typer.BadParameter(f'"{text}" is not a duration: it must be 0 or more, and finite.')
    return seconds


def size(text: str | int) -> int:
    """Bytes in a text like ``1048576``, ``512MB`` or ``1.5G`` (1 KB is 1,024 bytes)."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:I?B)?", str(text).strip().upper())
    if match is None or not float(match[1]):
        raise typer.BadParameter(f'"{text}" is not a size. Write bytes or a number with a unit: 1048576, 512MB, 2GB.')
    return int(float(match[1]) * _BYTES[match[2]])


def size_or_none(text: str | int) -> int:
    """Bytes in a text, or 0 for no bound."""
    return 0 if str(text).strip() == "0" else size(text)


def count(text: str | int) -> int:
    """A whole number from 1."""
    if not str(text).strip().isdecimal() or int(text) < 1:
        raise typer.BadParameter(f'"{text}" is not a count. Write a whole number from 1.')
    return int(text)


def port(text: str | int) -> int:
    """The number of a port."""
    if not str(text).strip().isdecimal() or not 0 < int(text) < 65536:
        raise typer.BadParameter(f'"{text}" is not a port. Write a number from 1 to 65535.')
    return int(text)


def names(given: list[str] | None) -> tuple[str, ...]:
    """What was given once, repeatedly, or separated by commas, without repeats."""
    split = (name.strip() for text in given or () for name in text.split(","))
    return tuple(dict.fromkeys(name for name in split if name))


class Level(StrEnum):
    """Levels of the log."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


def option(*flags: str, help: str, **settings: Any) -> Any:
    """An option that its environment variable sets too: ``--app-dir`` is ``AIOTASK_APP_DIR``."""
    settings.setdefault("envvar", "AIOTASK_" + flags[0].partition("/")[0].removeprefix("--").replace("-", "_").upper())
    return typer.Option(*flags, help=help, **settings)


# ---- where

Url = Annotated[
    str | None,
    option(
        "--url",
        metavar="URL",
        show_default="the embedded server",
        help="Redis or Valkey server: redis://HOST:PORT/DB, rediss://…, unix://PATH.",
    ),
]
AppName = Annotated[
    str | None,
    option(
        "--name", "-n", metavar="NAME", show_default="every app found there", help="Name of the app, as in App(name)."
    ),
]
File = Annotated[
    str | None,
    option(
        "--db",
        "--result-db",
        metavar="FILE",
        envvar="AIOTASK_RESULT_DB",
        show_default="results.db next to the embedded server's data",
        help="SQLite file into which the worker records finished jobs.",
    ),
]
Json = Annotated[bool, option("--json", metavar="", help="Print JSON.")]
Limit = Annotated[int, option("--limit", "-l", parser=count, metavar="N", help="Number of jobs per page.")]
Offset = Annotated[int, option("--offset", min=0, metavar="N", help="Number of jobs to skip.")]

# ---- the worker

_WHAT, _HOW_MUCH, _LIFE, _LOG = "What to run", "Concurrency", "Lifetime of processes", "History and logging"

Apps = Annotated[
    list[str] | None,
    typer.Argument(metavar="APP", help="Module with the app: [bold]shop.tasks[/bold] or [bold]shop.tasks:app[/bold]."),
]
# Without an environment variable of its own, since that would be split at blanks: find_specs reads AIOTASK_APP.
MoreApps = Annotated[
    list[str] | None,
    option(
        "--app",
        "-A",
        metavar="APP",
        envvar=None,
        show_default="[tool.aiotask] app in pyproject.toml",
        help="Module with the app, like APP; can be repeated. [dim]\\[env var: AIOTASK_APP, separated by commas][/dim]",
        rich_help_panel=_WHAT,
    ),
]
AppDir = Annotated[
    str,
    option("--app-dir", metavar="DIR", help="Directory that is searched first for modules.", rich_help_panel=_WHAT),
]
Queues = Annotated[
    list[str] | None,
    option(
        "--queues",
        "-q",
        metavar="NAMES",
        show_default="all queues that its tasks name, and default",
        help="Queues to consume, separated by commas.",
        rich_help_panel=_WHAT,
    ),
]
WorkerUrl = Annotated[
    str | None,
    option(
        "--url",
        metavar="URL",
        show_default="the embedded server",
        help="Redis or Valkey server, for apps that do not name one themselves.",
        rich_help_panel=_WHAT,
    ),
]
Concurrency = Annotated[
    int | None,
    option(
        "--concurrency",
        "-c",
        parser=count,
        metavar="N",
        show_default="number of CPUs",
        help="Number of worker processes.",
        rich_help_panel=_HOW_MUCH,
    ),
]
MaxInFlight = Annotated[
    int,
    option(
        "--max-in-flight",
        parser=count,
        metavar="N",
        help="Number of async jobs that one process runs at a time.",
        rich_help_panel=_HOW_MUCH,
    ),
]
Threads = Annotated[
    int,
    option(
        "--threads",
        parser=count,
        metavar="N",
        help="Number of sync jobs that one process runs at a time; use more than 1 for blocking I/O.",
        rich_help_panel=_HOW_MUCH,
    ),
]
MaxJobsPerChild = Annotated[
    int | None,
    option(
        "--max-jobs-per-child",
        parser=count,
        metavar="N",
        show_default="no limit",
        help="Replace a process after this number of jobs.",
        rich_help_panel=_LIFE,
    ),
]
MaxMemoryPerChild = Annotated[
    int | None,
    option(
        "--max-memory-per-child",
        parser=size,
        metavar="SIZE",
        show_default="no limit",
        help="Replace a process that holds more memory than this, as in 512MB.",
        rich_help_panel=_LIFE,
    ),
]
Grace = Annotated[
    float,
    option(
        "--grace",
        parser=duration,
        metavar="TIME",
        show_default="30s",
        help="After TERM: time that running jobs get to end. Then they are killed and requeued.",
        rich_help_panel=_LIFE,
    ),
]
BlockedLoop = Annotated[
    float,
    option(
        "--blocked-loop",
        parser=duration,
        metavar="TIME",
        show_default="1s",
        help="Log where a job stands that has blocked the event loop for this long; 0: never.",
        rich_help_panel=_LOG,
    ),
]
LongJob = Annotated[
    float,
    option(
        "--long-job",
        parser=duration,
        metavar="TIME",
        show_default="60s",
        help="Log where a sync job stands that has run for this long; 0: never.",
        rich_help_panel=_LOG,
    ),
]
StoppedProcess = Annotated[
    float,
    option(
        "--stopped-process",
        parser=duration,
        metavar="TIME",
        show_default="30s",
        help="Kill a worker process that is stopped for so long by a signal, a debugger or the freezer, and run its "
        "jobs again; 0: never.",
        rich_help_panel=_LIFE,
    ),
]
Burst = Annotated[
    bool, option("--burst", metavar="", help="Run the jobs in the queues, then stop.", rich_help_panel=_LIFE)
]
Reload = Annotated[
    bool,
    option(
        "--reload", metavar="", help="Restart when a source file changes, during development.", rich_help_panel=_LIFE
    ),
]
Preload = Annotated[
    bool,
    option(
        "--preload",
        metavar="",
        help="Import the app before the fork. It saves memory; fresh code then needs a restart, HUP is not enough.",
        rich_help_panel=_LIFE,
    ),
]
HealthPort = Annotated[
    int | None,
    option(
        "--health-port",
        parser=port,
        metavar="PORT",
        show_default="none",
        help="Port that answers HTTP probes: GET /live, GET /ready, and GET / for everything as JSON.",
        rich_help_panel=_LIFE,
    ),
]
HealthHost = Annotated[
    str,
    option(
        "--health-host",
        metavar="ADDRESS",
        help="Address to listen on; use 0.0.0.0 if the probes come from another machine.",
        rich_help_panel=_LIFE,
    ),
]
ResultDb = Annotated[
    str | None,
    option(
        "--result-db",
        metavar="FILE",
        show_default="next to the embedded server's data; none with a URL",
        help="SQLite file in which every finished job is recorded.",
        rich_help_panel=_LOG,
    ),
]
ResultDbAge = Annotated[
    float,
    option(
        "--result-db-age",
        parser=duration,
        metavar="TIME",
        show_default="30d",
        help="How long that file keeps a finished job; 0: for ever.",
        rich_help_panel=_LOG,
    ),
]
ResultDbSize = Annotated[
    int,
    option(
        "--result-db-size",
        parser=size_or_none,
        metavar="SIZE",
        show_default="1GB",
        help="How large that file may grow before the oldest jobs are removed; 0: no limit.",
        rich_help_panel=_LOG,
    ),
]
LogArgs = Annotated[bool, option("--log-args", metavar="", help="Log the arguments of jobs.", rich_help_panel=_LOG)]
LogTracebacks = Annotated[
    bool,
    option(
        "--log-tracebacks/--no-log-tracebacks",
        metavar="",
        help="Log the traceback of a failed run.",
        rich_help_panel=_LOG,
    ),
]
LogJson = Annotated[bool, option("--log-json", metavar="", help="Log one JSON object per line.", rich_help_panel=_LOG)]
LogLevel = Annotated[
    Level,
    option(
        "--log-level",
        metavar="LEVEL",
        case_sensitive=False,
        help="Lowest level to log: debug, info, warning, error, critical.",
        rich_help_panel=_LOG,
    ),
]
