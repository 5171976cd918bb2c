"""Logging of a process that ``aiotask worker`` starts: where lines go, beside the logging of the app."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, TextIO

from ..errors import ConfigError
from .format import JsonFormatter, LineFormatter, is_ours
from .sink import Sink

__all__ = ["adopt_root", "configure", "divert", "finish", "has_colour", "pass_on", "tend"]

LEVELS = ("debug", "info", "warning", "error", "critical")

_sink: Sink | None = None
_handler: _OwnHandler | None = None
#: Seconds east of UTC, fixed for a worker and its children, since user code may set another time zone.
_offset: int | None = None
_broken_is_logged = False
#: Number of loggers at the last check.
_loggers = 0


class _OwnHandler(logging.Handler):
    """The handler that ``configure`` installs, and replaces when it is called again. It raises nothing, and no thread
    waits in it for another one."""

    def __init__(self, write: Callable[[str], None], flush: Callable[[], None], formatter: logging.Formatter) -> None:
        super().__init__()
        self._write = write
        self._flush = flush
        self.setFormatter(formatter)

    def createLock(self) -> None:
        self.lock = None

    def handle(self, record: logging.LogRecord) -> bool:
        # ``Handler.handle`` of the standard library takes a lock.
        try:
            if not (passed := self.filter(record)):
                return False
            self.emit(passed if isinstance(passed, logging.LogRecord) else record)
        except (Exception, SystemExit):
            self.handleError(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        self._write(self.format(record))

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        self.emit(_record(f"A log record of {record.pathname}:{record.lineno} cannot be written: {error!r}"))

    def flush(self) -> None:
        self._flush()


class _OwnLogger(logging.Logger):
    """Loggers of aiotask in a worker: neither ``logging.disable`` of a job nor ``disable_existing_loggers`` of the app
    silences them, only their level does; and a handler of the app that raises breaks neither the worker nor a job."""

    def isEnabledFor(self, level: int) -> bool:
        return level >= self.getEffectiveLevel()

    def handle(self, record: logging.LogRecord) -> None:
        if self.filter(record):
            self.callHandlers(record)

    def callHandlers(self, record: logging.LogRecord) -> None:
        global _broken_is_logged
        try:
            super().callHandlers(record)
        except (Exception, SystemExit) as error:
            if not _broken_is_logged and _handler is not None:
                _broken_is_logged = True
                _handler.handle(_record(f"A log handler of the app fails (this is logged only once): {error!r}"))


def _record(text: str, **facts: Any) -> logging.LogRecord:
    record = logging.LogRecord("aiotask", logging.WARNING, __file__, 0, text, (), None)
    record.facts = facts
    return record


def configure(
    log_json: bool = False, log_level: str = "info", stream: TextIO | None = None, *, process: str = ""
) -> None:
    """Send everything that aiotask logs to stderr. Call it again after a fork to name the process.

    Args:
        log_json: one JSON object per line in place of lines for people.
        log_level: debug, info, warning, error or critical.
        stream: where lines go in place of stderr.
        process: name of this process, as in ``worker-2``.

    Raises:
        ConfigError: there is no such level.
    """
    global _handler, _offset, _sink
    if log_level.lower() not in LEVELS:
        raise ConfigError(f'There is no log level "{log_level}". Use one of {", ".join(LEVELS)}.')
    if _offset is None:
        _offset = time.localtime().tm_gmtoff
    target = stream if stream is not None else sys.stderr
    formatter: logging.Formatter = JsonFormatter(process=process)
    if not log_json:
        formatter = LineFormatter(colour=has_colour(target), process=process, offset=_offset, dated=not target.isatty())
    if stream is not None:
        _handler = _OwnHandler(lambda line: print(line, file=stream), stream.flush, formatter)
    else:
        _sink = _sink or Sink(2, _dropped)
        _handler = _OwnHandler(_sink.write, _sink.flush, formatter)
    logger = logging.getLogger("aiotask")
    logger.handlers[:] = [_handler, *(each for each in logger.handlers if not isinstance(each, _OwnHandler))]
    _set_level(logger, log_level)
    logger.propagate = False
    if stream is None:
        _claim_loggers()
    root = logging.getLogger()
    if any(isinstance(each, _OwnHandler) for each in root.handlers):
        # The app was preloaded before the fork.
        root.handlers[:] = [_handler if isinstance(each, _OwnHandler) else each for each in root.handlers]


def _set_level(logger: logging.Logger, level: str) -> None:
    if logger.level != logging.getLevelNamesMapping()[level.upper()]:
        # Only where the level changes: setting it writes to every logger, whose memory is shared with other processes.
        logger.setLevel(level.upper())


def _dropped(count: int) -> str:
    text = f"{count:,} log lines were dropped here: the reader of this log had stopped reading, or had ended."
    return text if _handler is None else _handler.format(_record(text, event="dropped", count=count))


def has_colour(stream: TextIO) -> bool:
    """Whether a stream gets colours: it is a terminal, and NO_COLOR is not set."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return stream.isatty()


# ---- beside the logging of the app


def adopt_root(log_level: str) -> None:
    """Handle what user code logs, unless the app has configured logging itself. Call it once the app is imported.

    Args:
        log_level: of the root logger.
    """
    _put_back()
    root = logging.getLogger()
    if root.handlers or _handler is None:
        return
    root.addHandler(_handler)
    if root.level == logging.WARNING:
        # The level of a new interpreter; another one is the app's choice.
        _set_level(root, log_level)
    logging.captureWarnings(True)
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = _thread_failed
    if _sink is not None:
        _sink.may_wait = True


def _thread_failed(info: threading.ExceptHookArgs) -> None:
    if info.exc_value is not None and not isinstance(info.exc_value, SystemExit):
        name = info.thread.name if info.thread is not None else "?"
        logging.getLogger("threading").error('The thread "%s" ended with an error.', name, exc_info=info.exc_value)


def _put_back() -> None:
    """Undo what a logging configuration of the app does to the loggers of aiotask without naming them."""
    _claim_loggers()
    ours, root = logging.getLogger("aiotask"), logging.getLogger()
    if _handler is None or _handler in ours.handlers or ours.hasHandlers():
        return
    if root.handlers and _handler not in root.handlers:
        # The configuration names this logger without handlers: its lines are meant for those of the root logger.
        ours.propagate = True
    else:
        ours.addHandler(_handler)


def _claim_loggers() -> None:
    """Make the existing loggers of aiotask ignore settings that are meant for the loggers of the app."""
    global _loggers
    every = logging.root.manager.loggerDict
    if len(every) == _loggers:
        return
    _loggers = len(every)
    for name, logger in list(every.items()):
        if type(logger) is logging.Logger and is_ours(name):
            logger.__class__ = _OwnLogger


def tend() -> None:
    """Write the lines that had to wait, and restore what user code has changed. Call it a few times a second."""
    if _sink is not None:
        _sink.flush()
    if _handler is not None:
        _put_back()


# ---- other writes to stderr


def divert(fd: int) -> None:
    """Write log lines to this file as well as stderr does; a negative number ends that."""
    if _sink is not None:
        _sink.divert(fd)


def pass_on(data: bytes) -> int:
    """Write bytes of another process to stderr, as far as that does not wait; the number of bytes written."""
    global _sink
    _sink = _sink or Sink(2, _dropped)
    return _sink.write_some(data)


def finish() -> None:
    """Write the kept lines, for at most a second, as the process ends."""
    if _sink is not None:
        _sink.drain(1.0)
