"""How a log record is written: as a line for people, or as one JSON object.

Records of aiotask carry their facts in the attribute ``facts``. Records that are made while a job runs carry the job,
too: see ``records``.
"""

from __future__ import annotations

import json
import logging
import time
import traceback
from collections.abc import Mapping
from typing import Any

from .records import FIELDS, JOB, TRACE

__all__ = ["JsonFormatter", "LineFormatter", "error_type", "is_ours", "shortened"]

#: Prefix of the names of task loggers; the rest is the task.
TASK_LOGGERS = "aiotask.task"
#: Characters that are written of a message, and of a traceback.
MESSAGE_LENGTH = 100_000
TRACEBACK_LENGTH = 8_000

_NO_FACTS: Mapping[str, Any] = {}
#: Attributes of every record; any other was passed with ``extra``.
_STANDARD = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName", "facts", "colour", JOB, *FIELDS}


def is_ours(name: str) -> bool:
    """Whether a logger of this name belongs to aiotask itself, not to a task."""
    return name.partition(".")[0] == "aiotask" and name != TASK_LOGGERS and not name.startswith(TASK_LOGGERS + ".")


def error_type(kind: type[BaseException]) -> str:
    """The name of an error's class with its module, which builtin ones do without."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def shortened(text: str, length: int = TRACEBACK_LENGTH) -> str:
    """Text without its middle where it is too long: the root cause comes first in a traceback, the error last."""
    if len(text) <= length:
        return text
    head, tail = text[: length * 2 // 5], text[-(length * 3 // 5) :]
    return f"{head}\n  … {len(text) - len(head) - len(tail):,} characters left out …\n{tail}"


def _facts_of(record: logging.LogRecord) -> Mapping[str, Any]:
    facts = getattr(record, "facts", None) if is_ours(record.name) else None
    return facts if isinstance(facts, Mapping) else _NO_FACTS


def _message_of(record: logging.LogRecord) -> str:
    try:
        text = record.getMessage()
    except Exception as error:
        place = f"{record.pathname}:{record.lineno}"
        text = f"{record.msg!r} cannot be formatted with {len(record.args or ())} arguments at {place}: {error!r}"
    if len(text) > MESSAGE_LENGTH:
        return f"{text[:MESSAGE_LENGTH]}… ({len(text) - MESSAGE_LENGTH:,} more characters)"
    return text


def _traceback_of(record: logging.LogRecord) -> str:
    """The traceback of ``logger.exception``; that of an event is among its facts."""
    info = record.exc_info
    if not info or info[0] is None:
        return ""
    try:
        return shortened("".join(traceback.format_exception(*info)).rstrip())
    except Exception as broken:
        return f"{error_type(info[0])} (its traceback cannot be shown: {type(broken).__name__})"


def _printable(text: str) -> str:
    """Text of others, with its line breaks and without control characters."""
    if text.isprintable():
        return text
    return "".join(
        char if char in "\n\t" or char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


class LineFormatter(logging.Formatter):
    """``TIME worker-2 ■ task id …`` for events, ``TIME worker-2 · task id message`` for what the code of a job logs.

    Args:
        colour: use ANSI colours.
        process: name of this process, where the event itself names no worker.
        offset: seconds east of UTC of the times.
        dated: write the date and the offset, too, as ISO 8601 does: for a file or a pipe.
    """

    def __init__(self, *, colour: bool = False, process: str = "", offset: int = 0, dated: bool = False) -> None:
        super().__init__()
        self._colour = colour
        self._process = process
        self._offset = offset
        sign, minutes = "-" if offset < 0 else "+", abs(offset) // 60
        self._stamp = "%Y-%m-%dT%H:%M:%S" if dated else "%H:%M:%S"
        self._zone = f"{sign}{minutes // 60:02d}:{minutes % 60:02d}" if dated else ""

    def format(self, record: logging.LogRecord) -> str:
        facts, text = _facts_of(record), _message_of(record)
        if facts.get("event") == "banner":
            return text
        if facts.get("event") == "not_started" and not self._zone:
            # The user who typed the command sees the error in the form that other commands use.
            return f"\x1b[31merror: {text}\x1b[0m" if self._colour else f"error: {text}"
        who = facts.get("worker") or self._process
        head = f"{self._time(record)} {who} " if who else f"{self._time(record)} "
        colour = str(getattr(record, "colour", "")) if "event" in facts else ""
        if not colour and record.levelno >= logging.WARNING:
            text = f"{record.levelname.lower()}: {text}"
            colour = "31" if record.levelno >= logging.ERROR else "33"
        if not is_ours(record.name):
            text = _origin(record) + _printable(text.rstrip()).replace("\n", "\n    ")
        if self._colour:
            head = f"\x1b[2m{head}\x1b[0m"
            # Colour for the glyph alone, and for the whole line of a warning or error.
            coloured = len(text) if record.levelno >= logging.WARNING else 1
            text = f"\x1b[{colour or 0}m{text[:coloured]}\x1b[0m{text[coloured:]}"
        below = [facts.get("traceback") or ("" if "event" in facts else _traceback_of(record)), facts.get("stack")]
        return "\n".join([head + text, *(_printable(str(part)) for part in (*below, record.stack_info) if part)])

    def _time(self, record: logging.LogRecord) -> str:
        # Not the current local time, since user code may set another time zone.
        stamp = time.strftime(self._stamp, time.gmtime(record.created + self._offset))
        return f"{stamp}.{int(record.msecs):03d}{self._zone}"


def _origin(record: logging.LogRecord) -> str:
    """The job that a line of user code comes from, and the logger."""
    job: Mapping[str, Any] = getattr(record, JOB, _NO_FACTS)
    name = "" if record.name == "root" else f"{record.name.removeprefix(TASK_LOGGERS + '.')}: "
    if not job.get("job_id"):
        return name
    if record.name.startswith(TASK_LOGGERS):
        name = ""
    return f"· {_printable(job['task'])} {_printable(job['job_id'])} {name}"


class JsonFormatter(logging.Formatter):
    """One JSON object per line: ``time`` (UTC, ISO 8601), ``level``, ``message``, and all facts of an event, or the job
    and the ``extra`` of any other record.

    Args:
        process: name of this process, where the event itself names no worker.
    """

    def __init__(self, *, process: str = "") -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "time": f"{stamp}.{int(record.created % 1 * 1e6):06d}Z",
            "level": record.levelname.lower(),
        }
        if self._process:
            line["worker"] = self._process
        line["pid"] = record.process
        facts = _facts_of(record)
        if "event" in facts:
            line.update(facts)
            if "id" in facts:
                line["job_id"] = facts["id"]
            if facts["event"] != "banner":
                line["message"] = _message_of(record)
            return _dumped(line)
        line["logger"] = record.name
        line.update((key, value) for key, value in getattr(record, JOB, _NO_FACTS).items() if value and key != "worker")
        line["message"] = _message_of(record)
        if trace := _traceback_of(record):
            assert record.exc_info and record.exc_info[0]
            line["error_type"] = error_type(record.exc_info[0])
            line["traceback"] = trace
        if record.stack_info:
            line["stack"] = record.stack_info
        return _dumped(_with_extra(line, record))


def _with_extra(line: dict[str, Any], record: logging.LogRecord) -> dict[str, Any]:
    """The line and what the caller passed with ``extra``; what would hide a field of ours stands in ``extra``."""
    job = getattr(record, JOB, _NO_FACTS)
    clashing: dict[str, Any] = {}
    for key, value in vars(record).items():
        if key in FIELDS or (key in TRACE and key in job):
            if job and value != job.get(key):
                clashing[key] = value
        elif key in line:
            clashing[key] = value
        elif key not in _STANDARD:
            line[key] = value
    # `extra={"facts": …}` of user code is no fact of ours.
    clashing.update((key, vars(record)[key]) for key in ("facts", "colour") if key in vars(record))
    if clashing and not is_ours(record.name):
        line["extra"] = clashing
    return line


def _dumped(line: dict[str, Any]) -> str:
    try:
        return json.dumps(line, default=str, allow_nan=False)
    except Exception:
        # A value that is no JSON, contains itself or cannot even be shown.
        return json.dumps({key: _as_json(value) for key, value in line.items()}, default=str)


def _as_json(value: object) -> object:
    try:
        json.dumps(value, default=str, allow_nan=False)
    except Exception:
        try:
            return repr(value)[:MESSAGE_LENGTH]
        except Exception as broken:
            return f"({type(value).__qualname__}; its repr raised {type(broken).__name__})"
    return value if isinstance(value, str | int | float | dict | list | None) else str(value)
