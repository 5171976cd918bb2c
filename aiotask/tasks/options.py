"""The options of tasks and calls, and the checks of their values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple, TypedDict

from ..backoff import Backoff
from ..errors import ConfigError
from ..functions.hints import OPTIONS_ELSEWHERE
from ..job import WIRE_VERSION, More
from ..settings import check_name, seconds
from ..values.unique import COMBINED, rule_of
from .limits import Limit
from .option_values import (
    check_backoff,
    check_batch_wait,
    check_exceptions,
    check_expires,
    check_flag,
    check_identifier,
    check_key,
    check_limit,
    check_moment,
    check_names,
    check_one_of,
    check_positive,
    check_rate_text,
    check_task_name,
    check_text,
    check_unique,
    check_wait,
    check_whole,
    size,
)

__all__ = [
    "OPTIONS",
    "SCHEDULE_OPTIONS",
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


class CallOptions(TypedDict, total=False):
    """The options of a single call.

    queue: name of the queue.
    delay: time until the job starts, in seconds or as a timedelta.
    eta: time at which the job starts, as an aware datetime or in Unix seconds.
    retries: number of further runs after a failed one.
    timeout: time that a run may take, in seconds or as a timedelta; None: no limit.
    priority: 0 (first) to 9 (last).
    key: calls of this task with the same key are one job while its outcome is kept; None: no key. At a task it is a
        template over the parameters, as in "user-{user_id}", or a function that gets the arguments of the call by name
        and returns the key, or None; at a call it is the key itself.
    unique: how long calls with the same key are one job: "kept" (while its outcome is kept), "unfinished" (until it has
        ended), "pending" (until it starts), or a time from its acceptance on, in seconds or as a timedelta.
    on_conflict: what a call does while another job has its key: "existing" (it is that job), "replace" (it takes the
        place of that job, if it has not started), "error" (JobExists).
    max_wait: of calls that replace each other, the time from the first one on after which the job is due in any case,
        in seconds or as a timedelta; None: no limit.
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
    key: str | Callable[..., object] | None
    unique: Literal["kept", "unfinished", "pending"] | float | timedelta | None
    on_conflict: Literal["existing", "replace", "error"]
    max_wait: float | timedelta | None
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
    limit: how many jobs of the task run at once, or start in a time (see Limit).
    max_running: the same as ``limit=Limit(max_running=…)``.
    rate: the same as ``limit=Limit(rate="100/m")``.
    acks: ``late``: the broker keeps the job until it has ended, and it runs again if its process dies. ``early``: the
        job runs once at most, fails with WorkerLost if its process dies, and cannot have retries.
    memory: memory that a run may take, in bytes or as text, for example "512MB"; None: no limit.
    cpu: CPU time that a run may use, in seconds or as a timedelta; None: no limit.
    cron: when the task runs by itself: five fields, as in "*/5 9-17 * * MON-FRI", or "@daily".
    every: the same as time between two runs, in seconds or as a timedelta, 0.1 s at least.
    timezone: of ``cron``, as in "Europe/Berlin". Default: "UTC".
    jitter: time by which each run is put off at most, in seconds or as a timedelta.
    missed: what becomes of runs while no worker was there: ``once`` (the last of them, the default), ``all`` (each, the
        newest 1,000) or ``skip``. A run that is up to 60 s late always comes.
    """

    name: str
    aliases: tuple[str, ...]
    retry_on: tuple[type[Exception], ...]
    backoff: Backoff
    acks: Literal["late", "early"]
    memory: int | str | None
    cpu: float | timedelta | None
    limit: Limit
    max_running: int
    rate: str
    cron: str
    every: float | timedelta
    timezone: str
    jitter: float | timedelta
    missed: Literal["skip", "once", "all"]


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
    if known is CallOptions and callable(options.get("key")):
        raise ConfigError(
            f"key= of a call ({whose}) is the key itself. A function belongs to the task: @app.task(key=…)."
        )


def meant(given: str, known: Sequence[str]) -> str:
    """A sentence on which of the known names was meant."""
    from difflib import get_close_matches

    close = get_close_matches(given, known, n=1)
    return f'Did you mean "{close[0]}"?' if close else f"Options: {', '.join(known)}."


def _expires_at(value: float | datetime, _: float) -> float:
    # On the wire 0 is "does not expire", so a moment up to 1970 becomes one second later. Seconds count from when the
    # broker accepts the job, by its clock: they are negative.
    return max(value.timestamp(), 1.0) if isinstance(value, datetime) else -value


def _combined(value: Any, _: float) -> Any:
    """The value of an option that travels as a part of one field, see ``unique.rule_of``."""
    return value


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
    "delay": Option(lambda value: check_wait(value, "delay")),
    "eta": Option(check_moment),
    "retries": Option(lambda value: check_whole(value, "retries", 0, 1_000_000)),
    "timeout": Option(lambda value: None if value is None else check_positive(value, "timeout")),
    "priority": Option(lambda value: check_whole(value, "priority", 0, 9)),
    "key": Option(check_key),
    "unique": Option(check_unique, travels=_combined),
    "on_conflict": Option(
        lambda value: check_one_of(value, "on_conflict", ("existing", "replace", "error")), travels=_combined
    ),
    "max_wait": Option(lambda value: None if value is None else check_positive(value, "max_wait"), travels=_combined),
    "id": Option(lambda value: check_identifier(value, "id")),
    "retry_on": Option(check_exceptions),
    "result_ttl": Option(lambda value: seconds(value, "result_ttl")),
    "aliases": Option(check_names),
    "backoff": Option(check_backoff),
    "ignore_result": Option(lambda value: check_flag(value, "ignore_result")),
    "acks": Option(lambda value: check_one_of(value, "acks", ("late", "early"))),
    "memory": Option(lambda value: None if value is None else size(value, "memory")),
    "cpu": Option(lambda value: None if value is None else check_positive(value, "cpu")),
    "batch": Option(lambda value: check_whole(value, "batch", 1, 1_000)),
    "batch_wait": Option(check_batch_wait),
    # What ``defining`` makes one Limited of, which is among the options that travel.
    "limit": Option(check_limit),
    "max_running": Option(lambda value: check_whole(value, "max_running", 1, 1_000_000)),
    "rate": Option(check_rate_text),
    "expires": Option(check_expires, travels=_expires_at, since=3),
    "cron": Option(lambda value: check_text(value, "cron")),
    "every": Option(lambda value: seconds(value, "every")),
    "timezone": Option(lambda value: check_text(value, "timezone")),
    "jitter": Option(lambda value: seconds(value, "jitter")),
    "missed": Option(lambda value: check_one_of(value, "missed", ("skip", "once", "all"))),
    # Set for generators, by their definition alone.
    "streams": Option(lambda value: value, since=3),
}

#: Those that say when a task runs by itself (``schedule.check_spec``).
SCHEDULE_OPTIONS = frozenset({"cron", "every", "timezone", "jitter", "missed"})


def more_of(options: Mapping[str, Any], sent_at: float, limit: str = "", *, is_keyed: bool) -> tuple[int, More | None]:
    """``Job.more`` for these options, and the lowest release that may run the job.

    Args:
        options: checked values by name, of options that travel in ``Job.more``.
        sent_at: time of the send, in Unix seconds.
        limit: limit and key of the call, as ``NAME:KEY``; empty: it has no limit.
        is_keyed: whether the call has a key; else it is not unique.
    """
    version = WIRE_VERSION
    values: dict[str, Any] = {}
    for name, value in options.items():
        option = OPTIONS[name]
        if value is not None and name not in COMBINED:
            version = max(version, option.since)
            if option.travels is not None:
                values[name] = option.travels(value, sent_at)
    if limit:
        version, values["limit"] = max(version, 3), limit
    if is_keyed and (rule := rule_of(options)) is not None:
        values["unique"], version = str(rule), max(version, 3)
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
    return {**fields, "more": {**more, **travel}} if travel or more else fields


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
