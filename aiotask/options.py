"""The options of tasks and calls, and the checks of their values."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple, TypedDict

from .backoff import Backoff
from .errors import ConfigError
from .functions.hints import OPTIONS_ELSEWHERE
from .job import WIRE_VERSION, More
from .settings import CENTURY, seconds

__all__ = [
    "OPTIONS",
    "BatchOptions",
    "CallOptions",
    "TaskOptions",
    "check_name",
    "check_options",
    "check_task_name",
    "check_together",
    "fields_of",
    "known_options",
    "meant",
    "more_of",
    "seconds",
    "size",
]

#: Unix seconds (in 1973) below which a time is a duration given by mistake.
_LONG_AGO = 1e8
#: Seconds (31 years) from which a wait is a moment in Unix seconds, given by mistake.
_MOMENTS = 1e9
_NAME = re.compile(r"[A-Za-z0-9_.\-]{1,100}")


class CallOptions(TypedDict, total=False):
    """The options of a single call.

    queue: name of the queue.
    delay: time until the job starts, in seconds or as a timedelta.
    eta: time at which the job starts, as an aware datetime or in Unix seconds.
    retries: number of further runs after a failed one.
    timeout: time that a run may take, in seconds or as a timedelta; None: no limit.
    priority: 0 (first) to 9 (last).
    key: calls of this task with the same key are one job while its outcome is kept; None: no key.
    id: the id of the job; if the broker already has a job with this id, the call is that job.
    result_ttl: time that the outcome is kept, in seconds or as a timedelta.
    ignore_result: True: the outcome is neither stored nor sent to the caller.
    expires: time from the send on (of a node of a graph: from when it is ready), in seconds or as a timedelta, or an
        aware datetime, after which no run of the job starts any more: it ends as EXPIRED, and its caller gets
        JobExpired. None: the job does not expire.
    """

    queue: str
    delay: float | timedelta
    eta: datetime | float
    retries: int
    timeout: float | timedelta | None
    priority: int
    key: str | None
    id: str
    result_ttl: float | timedelta
    ignore_result: bool
    expires: float | timedelta | datetime | None


class TaskOptions(CallOptions, total=False):
    """The options of a task: the defaults for its calls (CallOptions), and these.

    name: the name of the task. Default: ``module:qualname``.
    aliases: further names under which jobs of the task may arrive.
    retry_on: exception classes after which a job is retried.
    backoff: a function that takes the number of failed runs and returns the seconds to wait before the next run.
    acks: ``late``: the broker keeps the job until it has ended, and it runs again if its process dies. ``early``: the
        job runs once at most, fails with WorkerLost if its process dies, and cannot have retries.
    memory: memory that a run may take, in bytes or as text, for example "512MB"; None: no limit.
    cpu: CPU time that a run may use, in seconds or as a timedelta; None: no limit.
    """

    name: str
    aliases: tuple[str, ...]
    retry_on: tuple[type[Exception], ...]
    backoff: Backoff
    acks: Literal["late", "early"]
    memory: int | str | None
    cpu: float | timedelta | None


class BatchOptions(TaskOptions, total=False):
    """The options of a batch task: those of a task (TaskOptions), and these.

    batch: number of items, from 1 to 1,000, with which the function is called at most. It takes a list of them, and
        returns a list with the value, or the exception, of each.
    batch_wait: time that the first item of a call waits for others, in seconds or as a timedelta. Default: 0.05.
    """

    batch: int
    batch_wait: float | timedelta


def known_options(options: Any, known: type[Any], whose: str) -> None:
    """Raise ConfigError for an option that does not exist, with the one that was meant."""
    names = sorted(known.__annotations__)
    if known is not CallOptions:
        names = sorted({*names, *CallOptions.__annotations__})
    for option in options:
        if option in names:
            continue
        if option in BatchOptions.__annotations__:
            raise ConfigError(
                f'"{option}" is an option of a task, not of a single call ({whose}): write @app.task({option}=…), '
                f'or register the function a second time: app.register_task(function, name="…", {option}=…).'
            )
        raise ConfigError(
            f'Unknown option "{option}" for {whose}. {OPTIONS_ELSEWHERE.get(option) or meant(option, names)}'
        )


def meant(given: str, known: Sequence[str]) -> str:
    """A sentence on which of the known names was meant."""
    from difflib import get_close_matches

    close = get_close_matches(given, known, n=1)
    return f'Did you mean "{close[0]}"?' if close else f"Options: {', '.join(known)}."


_UNITS = {"": 1, "B": 1} | {
    f"{letter}{kind}": base**power
    for power, letter in enumerate("KMGT", 1)
    for kind, base in (("B", 1000), ("IB", 1024))
}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")


def size(value: int | str, what: str) -> int:
    """A number of bytes; text may have a unit: kB, MB, GB, TB (powers of 1,000), KiB, MiB, GiB, TiB (of 1,024).

    Raises:
        ConfigError: the value is no size, or less than 1 MB.
    """
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    unit = _UNITS.get(match[2].upper()) if match else None
    number = float(match[1]) * unit if match and unit else value
    if isinstance(number, bool) or not isinstance(number, int | float) or not 1e6 <= number <= 1e15:
        raise ConfigError(
            f'{what}={value!r} is not a size of at least 1 MB: give bytes, or a number with a unit as in "512MB" or '
            '"1.5GiB".'
        )
    return int(number)


def _wait(value: float | timedelta, what: str) -> float:
    """A duration that counts from the send on; Unix seconds are refused."""
    checked = seconds(value, what)
    if checked >= _MOMENTS:
        moment = "eta=…" if what == "delay" else "expires=datetime.fromtimestamp(…, timezone.utc)"
        raise ConfigError(f"{what}={value!r} is a duration of more than 31 years. For a moment, give {moment}.")
    return checked


def _positive(value: float | timedelta, what: str) -> float:
    checked = seconds(value, what)
    if not checked:
        raise ConfigError(f"{what}={value!r} leaves the job no time. Give seconds, or None for no limit.")
    return checked


def check_name(name: str, what: str) -> str:
    """A name that may stand in a key: letters, digits, ``_ . -``.

    Raises:
        ConfigError: the text is not such a name.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(f"{name!r} cannot name {what}: use 1 to 100 of the characters A-Z a-z 0-9 _ . -")
    return name


def _whole(value: Any, what: str, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigError(f"{what}={value!r} is out of range: give a whole number from {low} to {high}.")
    return value


def _aware(value: datetime, what: str, instead: str) -> datetime:
    """The datetime itself, if it has a UTC offset: a time zone alone may have none."""
    if value.utcoffset() is None:
        raise ConfigError(f"{what}={value!r} has no time zone. Use datetime.now(timezone.utc) + …, or {instead}.")
    return value


def _moment(value: Any) -> float:
    if isinstance(value, datetime):
        return _aware(value, "eta", "delay=…").timestamp()
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= 2 * CENTURY:
        raise ConfigError(f"eta={value!r} is not a moment: give an aware datetime or Unix seconds.")
    if abs(value) < _LONG_AGO:
        raise ConfigError(
            f"eta={value!r} is a moment of the year 1970: for a time from now give delay={value!r} (seconds)."
        )
    return float(value)


def _identifier(value: Any, what: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 200 or not value.isprintable() or set(value) & set("|, "):
        raise ConfigError(f"{what}={value!r}: give text of 1 to 200 characters without spaces, commas and bars (|).")
    return value


def check_task_name(name: Any) -> str:
    """A name that a task may have: any printable text.

    Raises:
        ConfigError: the text is not such a name.
    """
    if not isinstance(name, str) or not 0 < len(name) <= 300 or not name.isprintable():
        raise ConfigError(f"name={name!r} cannot name a task: give printable text of 1 to 300 characters.")
    return name


def _names(value: Any) -> tuple[str, ...]:
    names = (value,) if isinstance(value, str) else value
    if not isinstance(names, tuple | list | set | frozenset):
        raise ConfigError(f'aliases={value!r}: give a tuple of names, as in ("shop.old:render",).')
    return tuple(check_task_name(name) for name in names)


def _backoff(value: Any) -> Backoff:
    if not callable(value):
        raise ConfigError(
            f"backoff={value!r}: give a function that takes the number of failed runs and returns seconds."
        )
    backoff: Backoff = value
    return backoff


def _flag(value: Any, what: str) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"{what}={value!r}: give True or False.")
    return value


def _one_of(value: Any, what: str, words: Sequence[str]) -> str:
    if value not in words:
        raise ConfigError(f"{what}={value!r}: give one of {', '.join(words)}.")
    return str(value)


def _exceptions(value: Any) -> tuple[type[Exception], ...]:
    kinds = tuple(value) if isinstance(value, tuple | list) else (value,)
    for kind in kinds:
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            raise ConfigError(f"retry_on={value!r}: give exception classes, as in (ConnectionError, TimeoutError).")
    return kinds


def _expires(value: Any) -> float | datetime | None:
    if isinstance(value, datetime):
        return _aware(value, "expires", "seconds")
    if not isinstance(value, int | float | timedelta | None):
        raise ConfigError(f"expires={value!r} is not a duration and not a moment: give seconds or an aware datetime.")
    return None if value is None else _wait(_positive(value, "expires"), "expires")


def _expires_at(value: float | datetime, _: float) -> float:
    # On the wire 0 is "does not expire", so a moment up to 1970 becomes one second later. Seconds count from when the
    # broker accepts the job, by its clock: they are negative.
    return max(value.timestamp(), 1.0) if isinstance(value, datetime) else -value


def _batch_wait(value: Any) -> float:
    checked = seconds(value, "batch_wait")
    if checked > 3600:
        raise ConfigError(f"batch_wait={value!r} is more than an hour, for which a worker would keep jobs to itself.")
    return checked


class Option(NamedTuple):
    """The definition of an option; its type is in CallOptions, TaskOptions or BatchOptions."""

    #: Returns the value as a Definition keeps it; durations in float seconds. Raises ConfigError.
    check: Callable[[Any], Any]
    #: For options that travel in ``Job.more``, under their name: returns the value there, from the checked value and
    #: the Unix time of the send. A checked value of None does not travel.
    travels: Callable[[Any, float], Any] | None = None
    #: The lowest envelope version that knows the option.
    since: int = WIRE_VERSION


#: Every option but ``name``.
OPTIONS: dict[str, Option] = {
    "queue": Option(lambda value: check_name(value, "a queue")),
    "delay": Option(lambda value: _wait(value, "delay")),
    "eta": Option(_moment),
    "retries": Option(lambda value: _whole(value, "retries", 0, 1_000_000)),
    "timeout": Option(lambda value: None if value is None else _positive(value, "timeout")),
    "priority": Option(lambda value: _whole(value, "priority", 0, 9)),
    "key": Option(lambda value: None if value is None else _identifier(value, "key")),
    "id": Option(lambda value: _identifier(value, "id")),
    "retry_on": Option(_exceptions),
    "result_ttl": Option(lambda value: seconds(value, "result_ttl")),
    "aliases": Option(_names),
    "backoff": Option(_backoff),
    "ignore_result": Option(lambda value: _flag(value, "ignore_result")),
    "acks": Option(lambda value: _one_of(value, "acks", ("late", "early"))),
    "memory": Option(lambda value: None if value is None else size(value, "memory")),
    "cpu": Option(lambda value: None if value is None else _positive(value, "cpu")),
    "batch": Option(lambda value: _whole(value, "batch", 1, 1_000)),
    "batch_wait": Option(_batch_wait),
    "expires": Option(_expires, travels=_expires_at, since=2),
}


def more_of(options: Mapping[str, Any], sent_at: float) -> tuple[int, More | None]:
    """``Job.more`` for these options, and the lowest release that may run the job.

    Args:
        options: checked values by name, of options that travel in ``Job.more``.
        sent_at: time of the send, in Unix seconds.
    """
    version = WIRE_VERSION
    values: dict[str, Any] = {}
    for name, value in options.items():
        option = OPTIONS[name]
        if option.travels is not None and value is not None:
            values[name] = option.travels(value, sent_at)
            version = max(version, option.since)
    return version, More(**values) if values else None


def check_options(options: dict[str, Any], name: str) -> dict[str, Any]:
    """The options with their values checked and in float seconds, for the task of this name.

    Raises:
        ConfigError: a value is out of range, or retries are asked for and no exception is to be retried.
    """
    try:
        checked = {key: OPTIONS[key].check(value) for key, value in options.items()}
        if checked.get("retries") and checked.get("retry_on") == ():
            raise ConfigError(
                f"retries={checked['retries']} and retry_on=() contradict each other: no exception would be retried. "
                "Name some, as in retry_on=(ConnectionError,), or leave retries out."
            )
        return checked
    except ConfigError as error:
        raise ConfigError(f'Task "{name}": {error}') from None


def fields_of(checked: dict[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Checked options as fields of a Definition; ``more`` are the travelling options that it already has."""
    travel = {name: value for name, value in checked.items() if OPTIONS[name].travels is not None}
    fields = {name: value for name, value in checked.items() if name not in travel}
    return {**fields, "more": {**more, **travel}} if travel else fields


def check_together(name: str, *, acks: str, retries: int, delay: float, expires: float | datetime | None) -> None:
    """Refuse options of the task with this name that exclude each other. Some may come from the task, others from a
    call.

    Raises:
        ConfigError: a job that runs once at most has retries, or a job would expire before its delay is over.
    """
    if acks == "early" and retries:
        raise ConfigError(
            f'Task "{name}": acks="early" means that a job runs once at most, but retries={retries} asks for more. '
            'Leave one of them out: with acks="late", the default, a job may be retried.'
        )
    if isinstance(expires, float) and delay >= expires:
        raise ConfigError(
            f'Task "{name}": delay={delay:g} and expires={expires:g}: the job would expire before it may start.'
        )
