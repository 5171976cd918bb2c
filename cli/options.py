"""The options that commands share. Every flag has exactly one environment variable, ``AIOTASK_…``."""

from __future__ import annotations

import re
from enum import StrEnum
from functools import partial
from typing import Annotated, Any

import typer

__all__ = [
    "AppDir",
    "AppName",
    "Apps",
    "BlockedLoop",
    "Burst",
    "Concurrency",
    "Database",
    "File",
    "Grace",
    "HealthHost",
    "HealthPort",
    "Json",
    "Level",
    "LogArgs",
    "LogJson",
    "LogLevel",
    "LogTracebacks",
    "LongJob",
    "MaxInFlight",
    "MaxJobsPerChild",
    "MaxMemoryPerChild",
    "MoreApps",
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
    "Yes",
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
Database = Annotated[
    str | None,
    option(
        "--database",
        metavar="URL",
        show_default="none: look at the server alone",
        help="Database whose rows are jobs: sqlite:///FILE, postgresql://USER@HOST/NAME, or module:attribute.",
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
Json = Annotated[bool, option("--json", help="Print JSON.")]
Yes = Annotated[bool, option("--yes", "-y", help="Do not ask for confirmation.")]

# ---- the worker

# Options by their panel in the help of ``aiotask worker``, and the settings of those that take a value of one kind.
_what = partial(option, rich_help_panel="What to run")
_how_much = partial(option, rich_help_panel="Concurrency")
_life = partial(option, rich_help_panel="Lifetime of processes")
_log = partial(option, rich_help_panel="History and logging")
_NUMBER: dict[str, Any] = {"parser": count, "metavar": "N"}
_TIME: dict[str, Any] = {"parser": duration, "metavar": "TIME"}

Apps = Annotated[
    list[str] | None,
    typer.Argument(metavar="APP", help="Module with the app: [bold]shop.tasks[/bold] or [bold]shop.tasks:app[/bold]."),
]
# Without an environment variable of its own, since that would be split at blanks: find_specs reads AIOTASK_APP.
MoreApps = Annotated[
    list[str] | None,
    _what(
        "--app",
        "-A",
        metavar="APP",
        envvar=None,
        show_default="[tool.aiotask] app in pyproject.toml",
        help="Module with the app, like APP; can be repeated. [dim]\\[env var: AIOTASK_APP, separated by commas][/dim]",
    ),
]
AppDir = Annotated[
    str,
    _what("--app-dir", metavar="DIR", help="Directory that is searched first for modules."),
]
Queues = Annotated[
    list[str] | None,
    _what(
        "--queues",
        "-q",
        metavar="NAMES",
        show_default="all queues that its tasks name, and default; all tables of its rows",
        help="Queues to consume, separated by commas, which take equal turns. critical:6,low:1: with weights; "
        "'critical>low': in strict order. A table of rows is a queue, too.",
    ),
]
WorkerUrl = Annotated[
    str | None,
    _what(
        "--url",
        metavar="URL",
        show_default="the embedded server",
        help="Redis or Valkey server, for apps that do not name one themselves.",
    ),
]
Concurrency = Annotated[
    int | None,
    _how_much("--concurrency", "-c", **_NUMBER, show_default="number of CPUs", help="Number of worker processes."),
]
MaxInFlight = Annotated[
    int,
    _how_much("--max-in-flight", **_NUMBER, help="Number of async jobs that one process runs at a time."),
]
Threads = Annotated[
    int,
    _how_much(
        "--threads",
        **_NUMBER,
        help="Number of sync jobs that one process runs at a time; use more than 1 for blocking I/O.",
    ),
]
MaxJobsPerChild = Annotated[
    int | None,
    _life(
        "--max-jobs-per-child", **_NUMBER, show_default="no limit", help="Replace a process after this number of jobs."
    ),
]
MaxMemoryPerChild = Annotated[
    int | None,
    _life(
        "--max-memory-per-child",
        parser=size,
        metavar="SIZE",
        show_default="no limit",
        help="Replace a process that holds more memory than this, as in 512MB.",
    ),
]
Grace = Annotated[
    float,
    _life(
        "--grace",
        **_TIME,
        show_default="30s",
        help="After TERM: time that running jobs get to end. Then they are killed and requeued.",
    ),
]
BlockedLoop = Annotated[
    float,
    _log(
        "--blocked-loop",
        **_TIME,
        show_default="1s",
        help="Log where a job stands that has blocked the event loop for this long; 0: never.",
    ),
]
LongJob = Annotated[
    float,
    _log(
        "--long-job",
        **_TIME,
        show_default="60s",
        help="Log where a sync job stands that has run for this long; 0: never.",
    ),
]
StoppedProcess = Annotated[
    float,
    _life(
        "--stopped-process",
        **_TIME,
        show_default="30s",
        help="Kill a worker process that is stopped for so long by a signal, a debugger or the freezer, and run its "
        "jobs again; 0: never.",
    ),
]
Burst = Annotated[bool, _life("--burst", help="Run the jobs in the queues, then stop.")]
Reload = Annotated[
    bool,
    _life("--reload", help="Restart when a source file changes, during development."),
]
Preload = Annotated[
    bool,
    _life(
        "--preload",
        help="Import the app before the fork. It saves memory; fresh code then needs a restart, HUP is not enough.",
    ),
]
HealthPort = Annotated[
    int | None,
    _life(
        "--health-port",
        parser=port,
        metavar="PORT",
        show_default="none",
        help="Port that answers HTTP probes: GET /live, GET /ready, GET / for everything as JSON, and GET /metrics for "
        "Prometheus.",
    ),
]
HealthHost = Annotated[
    str,
    _life(
        "--health-host",
        metavar="ADDRESS",
        help="Address to listen on; use 0.0.0.0 if the probes come from another machine.",
    ),
]
ResultDb = Annotated[
    str | None,
    _log(
        "--result-db",
        metavar="FILE",
        show_default="next to the embedded server's data; none with a URL",
        help="SQLite file in which every finished job is recorded.",
    ),
]
ResultDbAge = Annotated[
    float,
    _log("--result-db-age", **_TIME, show_default="30d", help="How long that file keeps a finished job; 0: for ever."),
]
ResultDbSize = Annotated[
    int,
    _log(
        "--result-db-size",
        parser=size_or_none,
        metavar="SIZE",
        show_default="1GB",
        help="How large that file may grow before the oldest jobs are removed; 0: no limit.",
    ),
]
LogArgs = Annotated[bool, _log("--log-args", help="Log the arguments of jobs.")]
LogTracebacks = Annotated[
    bool,
    _log("--log-tracebacks/--no-log-tracebacks", help="Log the traceback of a failed run."),
]
LogJson = Annotated[bool, _log("--log-json", help="Log one JSON object per line.")]
LogLevel = Annotated[
    Level,
    _log(
        "--log-level",
        metavar="LEVEL",
        case_sensitive=False,
        help="Lowest level to log: debug, info, warning, error, critical.",
    ),
]
