"""How events of jobs are logged: one line per event, a summary where lines would flood.

Everything goes through the standard ``logging`` under the name ``aiotask``. Each record carries its facts in the
attribute ``facts`` and the error of a failed run in ``exc_info``, so other handlers can use them without parsing text.
"""

from __future__ import annotations

import logging
import reprlib
import time
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from .format import error_type
from .shown_error import without_ours
from .tracebacks import Tracebacks

__all__ = ["EventLog", "JobEvent", "counted", "in_words", "plain"]

#: Takes the name of a task and the arguments of a call, and returns these with dots for what is hidden.
Hides = Callable[[str, Sequence[Any], Mapping[str, Any]], tuple[Sequence[Any], Mapping[str, Any]]]

#: Characters of arguments and of an error that fit into a line.
ARGUMENTS_LENGTH = 200
DETAIL_LENGTH = 500


class JobEvent(StrEnum):
    """What can happen to a job in a worker."""

    STARTED = "started"
    RETRYING = "retrying"
    WAITING = "waiting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    RELEASED = "released"
    PARKED = "parked"
    DEAD = "dead"
    REJECTED = "rejected"
    TIMEOUT = "timeout"
    BLOCKING = "blocking"
    LONG = "long"

    # The hash of an enum is a Python call for each lookup in a table.
    __hash__ = str.__hash__


class _Style(NamedTuple):
    glyph: str
    level: int
    colour: str
    #: Written after the job where the glyph alone does not show what happened.
    word: str = ""


_STYLES = {
    JobEvent.STARTED: _Style("→", logging.INFO, "36"),
    JobEvent.SUCCEEDED: _Style("■", logging.INFO, "32"),
    JobEvent.RETRYING: _Style("↻", logging.WARNING, "33", "retry"),
    JobEvent.WAITING: _Style("⋯", logging.INFO, "36", "waits"),
    JobEvent.FAILED: _Style("×", logging.ERROR, "31"),  # noqa: RUF001 (the glyph of a failure)
    JobEvent.CANCELLED: _Style("⊘", logging.INFO, "35", "cancelled"),
    JobEvent.EXPIRED: _Style("⊗", logging.WARNING, "33", "expired"),
    JobEvent.RELEASED: _Style("←", logging.INFO, "36", "requeued"),
    JobEvent.PARKED: _Style("□", logging.WARNING, "33", "parked"),
    JobEvent.DEAD: _Style("†", logging.ERROR, "31", "dead letter"),
    JobEvent.REJECTED: _Style("!", logging.ERROR, "31", "set aside"),
    JobEvent.TIMEOUT: _Style("◔", logging.WARNING, "33", "time limit"),
    JobEvent.BLOCKING: _Style("◑", logging.WARNING, "33"),
    JobEvent.LONG: _Style("◕", logging.INFO, "36"),
}


#: Style of the line about tracebacks like one that was logged.
_LEFT_OUT = _Style("×", logging.WARNING, "33")  # noqa: RUF001


class EventLog:
    """Logs the events of jobs: ``per_second`` lines of each kind, the rest counted and summed up.

    A task with few events gets a few lines of its own beside a task that floods. An EventLog belongs to one thread,
    which calls ``tick`` about once a second and ``flush`` at the end.

    Args:
        name: of the logger.
        log_args: show arguments of jobs (bounded); otherwise they never reach the log.
        hides: takes the name of a task and the arguments of a call, and returns these with dots for what is hidden.
        log_tracebacks: show the traceback of a run that failed.
        per_second: lines of one kind of event in one second.
    """

    def __init__(
        self,
        name: str = "aiotask",
        *,
        log_args: bool = False,
        log_tracebacks: bool = True,
        per_second: int = 100,
        hides: Hides | None = None,
    ) -> None:
        self._logger = logging.getLogger(name)
        self._log_args = log_args
        self._hides = hides
        self._tracebacks = Tracebacks() if log_tracebacks else None
        self._per_second = per_second
        self._own = max(1, per_second // 20)
        self._counts: dict[str, dict[str, int]] = {kind: {} for kind in JobEvent}
        self._logged: dict[str, dict[str, int]] = {kind: {} for kind in JobEvent}
        self._last: dict[tuple[str, str], str] = {}
        self._left: dict[str, int] = {}
        self._crowded = False
        #: Called with how many events of each kind there were, by task, before the counts of a second are cleared.
        self.counted: Callable[[Mapping[str, Mapping[str, int]]], None] | None = None
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
        queue: str = "",
        error: BaseException | None = None,
        traceback: str = "",
        stack: str = "",
    ) -> None:
        """Log what happened to one job.

        Args:
            late: seconds between the time at which the job was due (or sent) and its start.
            took: seconds that the job ran.
            arguments: positional and keyword arguments; ignored without ``log_args``.
            detail: the error, the reason.
            error: what the run raised.
            traceback: traceback of the error as text; the same one is shown once per interval.
            stack: lines to print below the line.
        """
        now = time.monotonic()
        if now >= self._until:
            self._close(now)
        counts = self._counts[kind]
        counts[task] = count = counts.get(task, 0) + 1
        if self._left[kind] > 0 or count <= self._own:
            self._left[kind] -= 1
            self._logged[kind][task] = count
            if self._logger.isEnabledFor(_STYLES[kind].level):
                shown = self._arguments(task, *arguments) if arguments is not None and self._log_args else ""
                facts: dict[str, Any] = {"event": kind.value, "id": id or "?", "task": task, "attempt": attempt}
                facts |= {"queue": queue, "late": _seconds(late), "took": _seconds(took)}
                facts |= {"arguments": shown, "detail": detail, "worker": worker, "stack": stack}
                if error is not None:
                    facts["error_type"] = error_type(type(error))
                    if traceback and self._tracebacks is not None:
                        facts |= self._tracebacks.facts(now, id, task, kind, type(error).__name__, traceback)
                facts = {key: fact for key, fact in facts.items() if fact is not None and fact != ""}
                self._log(_STYLES[kind], _sentence(_STYLES[kind], facts), facts, error, traceback)
            return
        self._crowded = True
        if detail:
            self._last[kind, task] = detail

    def _arguments(self, task: str, positional: Sequence[object], keyword: Mapping[str, object]) -> str:
        return _arguments(*(self._hides(task, positional, keyword) if self._hides else (positional, keyword)))

    def slow(
        self,
        kind: JobEvent,
        *,
        id: str,
        task: str,
        worker: str,
        pid: int,
        seconds: float,
        what: str,
        place: str,
        stack: str,
    ) -> None:
        """Log where a job is that takes long or blocks the event loop, with its stack below.

        Args:
            id, task: of the job; empty: the code belongs to no job.
            pid: of the worker process, which is not always the one that logs.
            seconds: how long the job has run or blocked the loop.
            what: as in ``has blocked the event loop of worker-3``.
        """
        style = _STYLES[kind]
        facts: dict[str, Any] = {"event": kind.value, "id": id, "task": task, "worker": worker, "pid": pid}
        facts |= {"seconds": _seconds(seconds), "place": place, "stack": stack}
        job = f"{plain(task)} {plain(id)} " if id else ""
        line = f"{job}{what} for {in_words(seconds)} at {plain(place, DETAIL_LENGTH)}"
        self._log(style, line, facts)

    def counts(self, kind: JobEvent, task: str, now: float) -> bool:
        """Count an event that gets no line in this second; False: it gets one, so the caller logs it with ``job``.

        At 30,000 jobs a second this is the whole cost of nearly every event.

        Args:
            now: time of the event (monotonic).
        """
        if self._left[kind] > 0:
            return False
        counts = self._counts[kind]
        count = counts.get(task, 0)
        if count < self._own or now >= self._until:
            return False
        counts[task] = count + 1
        self._crowded = True
        return True

    def tick(self) -> None:
        """Log the summaries of a second that is over, even if no event follows."""
        now = time.monotonic()
        if now >= self._until:
            self._close(now)

    def flush(self) -> None:
        """Log every pending summary now."""
        if self._crowded or self.counted is not None:
            self._close(time.monotonic())
        self._log_left_out(None)

    def _open(self, now: float) -> None:
        self._since = now
        self._until = now + 1.0
        self._left = dict.fromkeys(JobEvent, self._per_second)

    def _close(self, now: float) -> None:
        """End this second: log a summary of the events that got no line."""
        if self.counted is not None:
            self.counted(self._counts)
        for kind, counts in self._counts.items():
            if self._crowded:
                for task, count in counts.items():
                    if more := count - self._logged[kind].get(task, 0):
                        self._sum_up(_STYLES[JobEvent(kind)], kind, task, more, now - self._since)
            counts.clear()
            self._logged[kind].clear()
        self._last.clear()
        self._crowded = False
        self._open(now)
        self._log_left_out(now)

    def _log_left_out(self, now: float | None) -> None:
        """Log how many tracebacks were left out, for each that no run has failed with for a while (None: for all)."""
        if not self._tracebacks or not self._logger.isEnabledFor(_LEFT_OUT.level):
            return
        for each in self._tracebacks.left_out(now):
            facts: dict[str, Any] = {"event": "tracebacks", "task": each.task, "tracebacks_left_out": each.count}
            facts["traceback_of"] = each.id
            times, were = ("1 traceback", "was") if each.count == 1 else (f"{each.count:,} tracebacks", "were")
            line = f"{plain(each.task)} {times} of {each.error} like that of job {plain(each.id)} {were} left out"
            self._log(_LEFT_OUT, line, facts)

    def _sum_up(self, style: _Style, kind: str, task: str, count: int, seconds: float) -> None:
        if not self._logger.isEnabledFor(style.level):
            return
        facts: dict[str, Any] = {"event": kind, "task": task, "count": count, "seconds": round(seconds, 3)}
        word = f" {style.word}" if style.word else ""
        text = f"{plain(task)}{word} ×{count:,} more in {seconds:.1f} s"  # noqa: RUF001
        if last := self._last.get((kind, task)):
            facts["last"] = last
            text += f", the last: {plain(last, DETAIL_LENGTH)}"
        self._log(style, text, facts)

    def _log(
        self, style: _Style, line: str, facts: dict[str, Any], error: BaseException | None = None, traceback: str = ""
    ) -> None:
        """Hand a record to the handlers; the worker goes on if a handler raises."""
        info = None if error is None else (type(error), error, without_ours(error.__traceback__))
        try:
            record = self._logger.makeRecord(
                self._logger.name, style.level, __file__, 0, "%s %s", (style.glyph, line), info
            )
            job = {"job_id": facts.get("id", ""), "task": facts["task"], "attempt": facts.get("attempt", 0)}
            vars(record).update(job, queue=facts.get("queue", ""), facts=facts, colour=style.colour)
            if traceback:
                # The formatters of the standard library print this in place of the traceback's own text.
                record.exc_text = traceback.rstrip()
            self._logger.handle(record)
        except Exception:
            # A worker process has logged that its handler fails; elsewhere the handlers are those of the application.
            return


def _seconds(measured: float | None) -> float | None:
    """A duration in seconds, never negative, though two clocks may disagree a little."""
    return None if measured is None else round(max(measured, 0.0), 6)


def _sentence(style: _Style, facts: Mapping[str, Any]) -> str:
    """The facts as a text: punctuality first, then duration, then the rest."""
    parts = [style.word] if style.word else []
    if "late" in facts:
        parts.append(f"late +{in_words(facts['late'])}")
    if "took" in facts:
        parts.append(f"took {in_words(facts['took'])}")
    if facts["attempt"] > 1:
        parts.append(f"attempt {facts['attempt']}")
    if "arguments" in facts:
        parts.append(facts["arguments"])
    if "detail" in facts:
        parts.append(plain(facts["detail"], DETAIL_LENGTH))
    if "traceback_of" in facts:
        parts.append(f"traceback as of job {plain(facts['traceback_of'])}")
    if "tracebacks_left_out" in facts:
        left_out = facts["tracebacks_left_out"]
        parts.append(f"{counted(left_out, 'traceback')} like it {'was' if left_out == 1 else 'were'} left out")
    return f"{plain(facts['task'])} {plain(facts['id'])} {', '.join(parts)}".rstrip()


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


def counted(number: int, noun: str) -> str:
    """A number of things for people: ``1 job``, ``2,000 jobs``, ``3 old processes``."""
    plural = "es" if noun.endswith("s") else "s"
    return f"{number:,} {noun}{'' if number == 1 else plural}"


def plain(text: str, length: int = 300) -> str:
    """Text of others in one line: bounded, without control characters."""
    if len(text) > length:
        text = text[: length - 1] + "…"
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = 60
_repr.maxlevel = 3


def _arguments(positional: Sequence[object], keyword: Mapping[str, object]) -> str:
    # More than a hundred do not fit into the line anyway.
    shown = [_repr.repr(value) for value in positional[:100]]
    shown += [f"{name}={_repr.repr(value)}" for name, value in list(keyword.items())[:100]]
    return f"({plain(', '.join(shown), ARGUMENTS_LENGTH)})"
