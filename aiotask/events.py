"""How things are said: one line per event of a job, a summary where lines would flood, the banner.

Everything goes through the standard ``logging`` under the name ``aiotask``. Each record carries its
facts in the attribute ``facts``, so a handler of your own can use them without parsing text.
"""

from __future__ import annotations

import logging
import os
import reprlib
import sys
import time
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, TextIO, TypedDict

import msgspec

from .errors import ConfigError

__all__ = [
    "AppFacts",
    "EventLog",
    "Facts",
    "JobEvent",
    "JsonFormatter",
    "LineFormatter",
    "announce",
    "banner",
    "configure",
    "in_words",
]

LEVELS = ("debug", "info", "warning", "error", "critical")
#: Characters of arguments and of an error that fit into a line.
ARGUMENTS_LENGTH = 200
DETAIL_LENGTH = 500


class JobEvent(StrEnum):
    """What can happen to a job in a worker."""

    STARTED = "started"
    RETRYING = "retrying"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    RELEASED = "released"
    PARKED = "parked"
    DEAD = "dead"
    REJECTED = "rejected"
    TIMEOUT = "timeout"


class _Style(msgspec.Struct, frozen=True):
    glyph: str
    level: int
    colour: str
    #: Said after the job where the glyph alone does not tell.
    word: str = ""


_STYLES = {
    JobEvent.STARTED: _Style("→", logging.INFO, "36"),
    JobEvent.SUCCEEDED: _Style("■", logging.INFO, "32"),
    JobEvent.RETRYING: _Style("↻", logging.WARNING, "33", "retry"),
    JobEvent.FAILED: _Style("×", logging.ERROR, "31"),  # noqa: RUF001 (the glyph of a failure)
    JobEvent.CANCELLED: _Style("⊘", logging.INFO, "35", "cancelled"),
    JobEvent.RELEASED: _Style("←", logging.INFO, "36", "given back"),
    JobEvent.PARKED: _Style("□", logging.WARNING, "33", "parked"),
    JobEvent.DEAD: _Style("☠", logging.ERROR, "31", "dead letter"),
    JobEvent.REJECTED: _Style("⚠", logging.ERROR, "31", "set aside"),
    JobEvent.TIMEOUT: _Style("⏱", logging.WARNING, "33", "time limit"),
}


class EventLog:
    """Words the events of jobs: ``per_second`` lines of each kind, the rest counted and summed up.

    It belongs to one thread. ``flush`` is to be called about once a second and at the end.

    Args:
        name: of the logger.
        log_args: show arguments of jobs (bounded); otherwise they never reach the log.
        per_second: lines of one kind of event in one second.
    """

    def __init__(self, name: str = "aiotask", *, log_args: bool = False, per_second: int = 100) -> None:
        self._logger = logging.getLogger(name)
        self._log_args = log_args
        self._per_second = per_second
        self._counts: dict[str, dict[str, int]] = {kind: {} for kind in JobEvent}
        self._last: dict[tuple[str, str], str] = {}
        self._left: dict[str, int] = {}
        self._crowded = False
        self._open(time.monotonic())

    def job(
        self,
        kind: JobEvent,
        *,
        id: str,
        task: str,
        attempt: int = 1,
        late: float | None = None,
        took: float | None = None,
        arguments: tuple[Sequence[object], Mapping[str, object]] | None = None,
        detail: str = "",
        worker: str = "",
    ) -> None:
        """Say what happened to one job.

        Args:
            late: seconds between the time it was due (or sent) and its start.
            took: seconds that it ran.
            arguments: positional and keyword arguments; ignored without ``log_args``.
            detail: the error, the reason.
        """
        # The hot path: at 30,000 jobs a second nearly every call ends in the count.
        now = time.monotonic()
        if now >= self._until:
            self._close(now)
        left = self._left[kind]
        if left:
            self._left[kind] = left - 1
            style = _STYLES[kind]
            if self._logger.isEnabledFor(style.level):
                shown = _arguments(*arguments) if arguments is not None and self._log_args else ""
                self._say(style, _facts(kind, id, task, attempt, late, took, shown, detail, worker))
            return
        counts = self._counts[kind]
        counts[task] = counts.get(task, 0) + 1
        self._crowded = True
        if detail:
            self._last[kind, task] = detail

    def flush(self) -> None:
        """Say the pending summaries."""
        self._close(time.monotonic())

    def _open(self, now: float) -> None:
        self._since = now
        self._until = now + 1.0
        self._left = dict.fromkeys(JobEvent, self._per_second)

    def _close(self, now: float) -> None:
        """End this window; a flush in a window that had room for all says nothing and leaves it open."""
        if not self._crowded:
            if now >= self._until:
                self._open(now)
            return
        seconds = now - self._since
        for kind, counts in self._counts.items():
            style = _STYLES[JobEvent(kind)]
            for task, count in counts.items():
                self._sum_up(style, kind, task, count, seconds)
            counts.clear()
        self._last.clear()
        self._crowded = False
        self._open(now)

    def _sum_up(self, style: _Style, kind: str, task: str, count: int, seconds: float) -> None:
        if not self._logger.isEnabledFor(style.level):
            return
        facts: dict[str, Any] = {"event": kind, "task": task, "count": count, "seconds": round(seconds, 3)}
        word = f" {style.word}" if style.word else ""
        text = f"{_plain(task)}{word} ×{count:,} more in {seconds:.1f} s"  # noqa: RUF001
        if last := self._last.get((kind, task)):
            facts["last"] = last
            text += f", the last: {_plain(last, DETAIL_LENGTH)}"
        self._logger.log(style.level, "%s %s", style.glyph, text, extra={"facts": facts, "colour": style.colour})

    def _say(self, style: _Style, facts: dict[str, Any]) -> None:
        extra = {"facts": facts, "colour": style.colour}
        self._logger.log(style.level, "%s %s", style.glyph, _sentence(style, facts), extra=extra)


def _facts(
    kind: JobEvent,
    id: str,
    task: str,
    attempt: int,
    late: float | None,
    took: float | None,
    arguments: str,
    detail: str,
    worker: str,
) -> dict[str, Any]:
    facts: dict[str, Any] = {"event": kind.value, "id": id, "task": task, "attempt": attempt}
    if late is not None:
        facts["late"] = round(max(late, 0.0), 6)
    if took is not None:
        facts["took"] = round(max(took, 0.0), 6)
    more = {"arguments": arguments, "detail": detail, "worker": worker}
    facts.update((key, value) for key, value in more.items() if value)
    return facts


def _sentence(style: _Style, facts: Mapping[str, Any]) -> str:
    """Punctuality first, then duration, then the rest."""
    parts = [_plain(facts["task"]), _plain(facts["id"])]
    if style.word:
        parts.append(style.word)
    if "late" in facts:
        parts.append(f"late +{in_words(facts['late'])}")
    if "took" in facts:
        parts.append(f"took {in_words(facts['took'])}")
    if facts["attempt"] > 1:
        parts.append(f"attempt {facts['attempt']}")
    if "arguments" in facts:
        parts.append(facts["arguments"])
    if "detail" in facts:
        parts.append(_plain(facts["detail"], DETAIL_LENGTH))
    return " ".join(parts)


def in_words(seconds: float) -> str:
    """A duration for people: ``0.2 ms``, ``12 ms``, ``4.2 s``, ``3 min 20 s``, ``2 h 5 min``, ``3 d 4 h``."""
    if seconds < 0.0095:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 0.0995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.2g} s" if seconds < 0.995 else f"{seconds:.1f} s"
    whole = round(seconds)
    for size, unit, below, lesser in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // below
            return f"{whole // size} {unit}" + (f" {rest} {lesser}" if rest else "")
    return f"{whole} s"


def _plain(text: str, length: int = 300) -> str:
    """Text of others in one line: bounded, and nothing in it that a terminal would obey."""
    if len(text) > length:
        text = text[: length - 1] + "…"
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = 60
_repr.maxlevel = 3


def _arguments(positional: Sequence[object], keyword: Mapping[str, object]) -> str:
    shown = [_short(value) for value in positional[:20]]
    shown += [f"{name}={_short(value)}" for name, value in list(keyword.items())[:20]]
    if len(positional) > 20 or len(keyword) > 20:
        shown.append("…")
    return f"({_plain(', '.join(shown), ARGUMENTS_LENGTH)})"


def _short(value: object) -> str:
    try:
        return _repr.repr(value)
    except Exception as error:  # the value is the user's, and so is its __repr__
        return f"<{type(value).__name__}: no repr, {type(error).__name__}>"


# ---- handlers


class LineFormatter(logging.Formatter):
    """``HH:MM:SS.mmm worker-2 ■ task id …``, with colour where asked for.

    Args:
        colour: use ANSI colours.
        process: name of this process, where the event itself names no worker.
    """

    def __init__(self, *, colour: bool = False, process: str = "") -> None:
        super().__init__()
        self._colour = colour
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        facts: Mapping[str, Any] = getattr(record, "facts", {})
        if facts.get("event") == "banner":
            return text
        who = facts.get("worker") or self._process
        stamp = time.strftime("%H:%M:%S", time.localtime(record.created))
        head = f"{stamp}.{int(record.msecs):03d} " + (f"{who} " if who else "")
        colour = getattr(record, "colour", "") or _level_colour(record.levelno)
        if not hasattr(record, "colour") and record.levelno >= logging.WARNING:
            text = f"{record.levelname.lower()}: {text}"
        if self._colour:
            head = f"\x1b[2m{head}\x1b[0m"
            text = _coloured(text, colour, whole=record.levelno >= logging.WARNING)
        return head + text + self._trace(record)

    def _trace(self, record: logging.LogRecord) -> str:
        trace = ""
        if record.exc_info and record.exc_info[0] is not None:
            trace += "\n" + self.formatException(record.exc_info)
        if record.stack_info:
            trace += "\n" + self.formatStack(record.stack_info)
        return trace


def _level_colour(level: int) -> str:
    if level >= logging.ERROR:
        return "31"
    return "33" if level >= logging.WARNING else ""


def _coloured(text: str, colour: str, *, whole: bool) -> str:
    if not colour:
        return text
    if whole:
        return f"\x1b[{colour}m{text}\x1b[0m"
    glyph, space, rest = text.partition(" ")
    return f"\x1b[{colour}m{glyph}\x1b[0m{space}{rest}"


class JsonFormatter(logging.Formatter):
    """One JSON object per line: ``time`` (Unix seconds), ``level``, ``message`` and all facts of the event."""

    def __init__(self, *, process: str = "") -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {"time": round(record.created, 6), "level": record.levelname.lower()}
        if self._process:
            line["worker"] = self._process
        line["pid"] = record.process
        line.update(getattr(record, "facts", {}))
        if line.get("event") != "banner":
            line["message"] = record.getMessage()
        if record.exc_info and record.exc_info[0] is not None:
            line["traceback"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = record.stack_info
        return msgspec.json.encode(line, enc_hook=str).decode()


def configure(
    log_json: bool = False, log_level: str = "info", stream: TextIO | None = None, *, process: str = ""
) -> None:
    """Send everything that aiotask says to a stream (stderr). Call it again after a fork to name the process.

    Args:
        log_json: one JSON object per line in place of lines for people.
        log_level: debug, info, warning, error or critical.
        process: name of this process, as in ``worker-2``.

    Raises:
        ConfigError: there is no such level.
    """
    if log_level.lower() not in LEVELS:
        raise ConfigError(f'There is no log level "{log_level}". Take one of {", ".join(LEVELS)}.')
    target = stream if stream is not None else sys.stderr
    handler = _OwnHandler(target)
    handler.setFormatter(
        JsonFormatter(process=process) if log_json else LineFormatter(colour=has_colour(target), process=process)
    )
    logger = logging.getLogger("aiotask")
    for old in [handler for handler in logger.handlers if isinstance(handler, _OwnHandler)]:
        logger.removeHandler(old)
    logger.addHandler(handler)
    logger.setLevel(log_level.upper())
    logger.propagate = False


class _OwnHandler(logging.StreamHandler[TextIO]):
    """The handler that ``configure`` installs, and replaces when it is called again."""


def has_colour(stream: TextIO) -> bool:
    """Whether colour is welcome there: a terminal, and NO_COLOR is not set."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return stream.isatty()


# ---- the banner


class AppFacts(TypedDict):
    """What the banner says about one app."""

    name: str
    url: str
    #: Kind and version.
    server: str
    durability: str
    tasks: list[str]
    queues: list[str]
    #: Jobs that waited before this start.
    pending: int


class Facts(TypedDict):
    """What the banner says."""

    version: str
    python: str
    processes: int
    result_db: str | None
    apps: list[AppFacts]


def banner(facts: Facts) -> str:
    """What a supervisor says when its workers are up, as lines of plain text."""
    processes = facts["processes"]
    workers = f"{processes} worker process{'' if processes == 1 else 'es'}"
    lines = [f"aiotask {facts['version']}, Python {facts['python']}, {workers}"]
    for app in facts["apps"]:
        lines += _app_lines(app)
    lines.append(_row("history", facts["result_db"] or "not recorded (record it with --result-db FILE)"))
    return "\n".join(lines)


def _app_lines(app: AppFacts) -> list[str]:
    durability = f" ({app['durability']})" if app["durability"] else ""
    tasks = app["tasks"]
    shown = ", ".join(tasks[:8]) + (", …" if len(tasks) > 8 else "")
    rows = [
        _row("app", app["name"]),
        _row("broker", f"{app['server']} at {app['url']}{durability}"),
        _row("queues", ", ".join(app["queues"])),
        _row("tasks", f"{len(tasks):,}: {shown}" if tasks else "none (is the module with the tasks imported?)"),
    ]
    if app["pending"]:
        rows.append(_row("waiting", f"{app['pending']:,} job{'' if app['pending'] == 1 else 's'} from before"))
    return rows


def _row(label: str, text: str) -> str:
    return f"  {label:<8} {_plain(text, 600)}"


def announce(facts: Facts) -> None:
    """Log the banner: as it is for people, as one object in a JSON log."""
    logging.getLogger("aiotask").info("%s", banner(facts), extra={"facts": {"event": "banner", **facts}})
