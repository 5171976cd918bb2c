"""Limit: how many jobs may run at once, or start in a time; and a task's own, with the key of each of its calls."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2s
from typing import Any, NamedTuple, Protocol

from ..errors import ConfigError
from ..ref import Ref
from ..settings import check_name
from ..values.limit import LimitSpec, burst_of

__all__ = [
    "Limit",
    "Limited",
    "check_rate",
    "in_words",
    "key_words",
    "limit_text",
    "limited_by",
    "of_task",
    "rate_text",
    "shared_limits",
    "specs_of",
]

#: Jobs that a number of a limit may allow at most.
_MOST = 1_000_000
_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*/\s*(\d+(?:\.\d+)?)?\s*(s|m|h|d)")
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_OWN = re.compile(r"t-[0-9a-f]{12}")


class Limit:
    """How many jobs may run at once, or start in a time: in all, and for each key, such as a customer.

    A task names one: ``@app.task(limit=Limit(by="tenant", max_running_each=2))``. What a limit holds back waits in the
    broker, in the order sent for each key, and takes no seat of a worker. Keys take turns, also where no number is
    limited.

    Args:
        name: one limit for all tasks that name it. Empty: the task's own.
        by: what the key of a call is: the name of a parameter, a template over the parameters (``"{region}-{tenant}"``)
            or a function that takes the arguments by name. None: all calls have one key.
        max_running: number of jobs that run at once, over all workers.
        rate: number of jobs that start in a time, evenly: ``"100/s"``, ``"100/m"``, ``"1/10s"``; units: s, m, h, d.
        burst: number of jobs that may start at once after a pause. Default: what the rate allows in 50 ms, at least 1.
        max_running_each, rate_each, burst_each: the same for each key.

    Raises:
        ConfigError: a number is out of range, or nothing is limited.
    """

    __slots__ = ("by", "spec")

    def __init__(
        self,
        name: str = "",
        *,
        by: str | Callable[..., object] | None = None,
        max_running: int | None = None,
        rate: str | None = None,
        burst: int | None = None,
        max_running_each: int | None = None,
        rate_each: str | None = None,
        burst_each: int | None = None,
    ) -> None:
        if name and _OWN.fullmatch(check_name(name, "a limit")):
            raise ConfigError(f'"{name}" is a name that aiotask gives to the limit of a task. Give another one.')
        if by is not None and not (callable(by) or (isinstance(by, str) and by)):
            raise ConfigError(f"by={by!r}: give the name of a parameter, a template over them, or a function.")
        each = {"max_running_each": max_running_each, "rate_each": rate_each, "burst_each": burst_each}
        _refuse_lonely(by, each, {"burst": (burst, rate), "burst_each": (burst_each, rate_each)})
        if by is None and max_running is None and rate is None:
            raise ConfigError(
                "This limit allows everything. Give max_running=…, rate=…, or by=… so that keys take turns."
            )
        self.by = by
        self.spec = LimitSpec(
            name,
            max_running=_count(max_running, "max_running"),
            max_running_each=_count(max_running_each, "max_running_each"),
            rate=check_rate(rate, "rate"),
            rate_each=check_rate(rate_each, "rate_each"),
            burst=_count(burst, "burst"),
            burst_each=_count(burst_each, "burst_each"),
            has_keys=by is not None,
        )

    @property
    def name(self) -> str:
        return self.spec.name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Limit) and (self.by, self.spec) == (other.by, other.spec)

    def __hash__(self) -> int:
        return hash((self.by, self.spec))

    def __repr__(self) -> str:
        return f"<Limit {self.name or 'of a task'}: {in_words(self.spec, by=self.by)}>"


def _refuse_lonely(by: object, each: Mapping[str, object], bursts: Mapping[str, tuple[object, object]]) -> None:
    for name, value in each.items():
        if value is not None and by is None:
            raise ConfigError(f"{name}={value!r} is for each key, and by=… is missing, which says what the key is.")
    for name, (burst, rate) in bursts.items():
        if burst is not None and rate is None:
            raise ConfigError(f"{name}={burst!r} is part of a rate, and {name.replace('burst', 'rate')}=… is missing.")


def _count(value: Any, what: str) -> int:
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MOST:
        raise ConfigError(f"{what}={value!r} is out of range: give a whole number from 1 to {_MOST}.")
    return value


def check_rate(value: Any, what: str) -> float:
    """Jobs per second in a text such as ``100/m``; 0.0 for None.

    Raises:
        ConfigError: the value is no rate, or less than one start a year, or more than a million a second.
    """
    if value is None:
        return 0.0
    match = _RATE.fullmatch(value.strip()) if isinstance(value, str) else None
    seconds = float(match[2] or 1) * _UNITS[match[3]] if match else 0.0
    rate = float(match[1]) / seconds if match and seconds else 0.0
    if not 3e-8 < rate <= _MOST:
        raise ConfigError(f'{what}={value!r} is not a rate: give text such as "100/s", "20/m", "1/10s", "500/h".')
    return rate


def in_words(spec: LimitSpec, *, by: object = None) -> str:
    """What a limit allows, in a few words."""
    words = []
    for running, rate, burst, whose in (
        (spec.max_running, spec.rate, spec.burst, ""),
        (spec.max_running_each, spec.rate_each, spec.burst_each, " for each key"),
    ):
        if running:
            words.append(f"{running:,} at once{whose}")
        if rate:
            words.append(f"{rate_text(rate)}{whose}, burst {burst_of(rate, burst)}")
    return ", ".join(words) or ("keys take turns" if by is not None or not words else "")


def key_words(limit: str, task: str) -> str:
    """Limit and key of a job, as people read them."""
    name, _, key = limit.partition(":")
    whose = f"of {task}" if name.startswith("t-") else f'"{name}"'
    return f'{whose}, key "{key}"' if key else whose


def rate_text(rate: float) -> str:
    """A rate as people write it: in the first unit in which the number is short, as in ``100/m`` and not ``1.66667/s``;
    where there is none, in the first unit of which at least one job starts."""
    starts = {unit: rate * seconds for unit, seconds in _UNITS.items() if rate * seconds >= 1 - 1e-9}
    for unit, number in starts.items():
        if abs(number - round(number, 2)) < 1e-9 * number:
            return f"{round(number, 2):.12g}/{unit}"
    for unit, number in starts.items():
        return f"{number:.6g}/{unit}"
    return f"1/{1 / rate / 86400:.6g}d"


class Limited(NamedTuple):
    """The limit of one task, and the function that makes the key of a call of it; None: all calls have one key."""

    spec: LimitSpec
    key: Callable[[tuple[Any, ...], Mapping[str, Any]], str | None] | None

    def text(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, is_chunk: bool = False) -> str:
        """Limit and key of a call, as ``NAME:KEY``.

        Args:
            is_chunk: the one argument is a list of items, for each of which the function is called.

        Raises:
            ConfigError: the key cannot be made of the arguments, or the items of a chunk have several.
        """
        if self.key is None:
            return f"{self.spec.name}:"
        if not is_chunk:
            return f"{self.spec.name}:{self._key(args, kwargs)}"
        keys = {self._key((item,), {}) for item in args[0]}
        if len(keys) > 1:
            raise ConfigError(
                f"The items of a chunk are one job, and they have {len(keys)} keys of its limit. Call map() for each "
                "key, or without chunk=."
            )
        return f"{self.spec.name}:{''.join(keys)}"

    def _key(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
        assert self.key is not None
        try:
            key = self.key(args, kwargs) or ""
            key.encode()
        except UnicodeEncodeError:
            raise ConfigError("The key of a limit is not valid Unicode text.") from None
        except (ConfigError, TypeError):
            if any(isinstance(value, Ref) for value in (*args, *kwargs.values())):
                raise ConfigError(
                    "The key of a limit is made of the arguments when the call is sent, and one of them is the .cast "
                    "of another call. Pass what the key is made of as an argument of its own."
                ) from None
            raise
        return key


def limited_by(limit: Limit, task: str, function: Callable[..., Any]) -> Limited:
    """The limit as that of a task with this name and function.

    Raises:
        ConfigError: the key of a call cannot be made of the parameters of the function.
    """
    spec, by = limit.spec, limit.by
    if not spec.name:
        spec = of_task(spec, task)
    if by is None:
        return Limited(spec, None)
    # Loaded with the first key: programs without keys do without it.
    from ..functions.template import maker

    return Limited(spec, maker(function, by if callable(by) or "{" in by else f"{{{by}}}", "by"))


def of_task(spec: LimitSpec, task: str) -> LimitSpec:
    """The spec with the name of the own limit of a task."""
    name = f"t-{blake2s(task.encode(), digest_size=6).hexdigest()}"
    values = {field: getattr(spec, field) for field in spec.__struct_fields__}
    return LimitSpec(**{**values, "name": name, "task": task})


def limit_text(options: Mapping[str, Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """Limit and key of a call, by the travelling options of its task; empty: it has no limit."""
    limited: Limited | None = options.get("limit")
    return "" if limited is None else limited.text(args, kwargs)


class _Definition(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def more(self) -> Mapping[str, Any]: ...


def specs_of(tasks: Iterable[_Definition]) -> list[LimitSpec]:
    """The limits of these tasks, each once.

    Raises:
        ConfigError: tasks give different numbers to the same name.
    """
    found: dict[str, tuple[LimitSpec, str]] = {}
    for task in tasks:
        limited: Limited | None = task.more.get("limit")
        if limited is None:
            continue
        spec, first = found.setdefault(limited.spec.name, (limited.spec, task.name))
        if spec != limited.spec:
            raise ConfigError(
                f'The limit "{spec.name}" has other numbers in task "{task.name}" ({in_words(limited.spec)}) than in '
                f'task "{first}" ({in_words(spec)}). Create it once, and give that object to both tasks.'
            )
    return [spec for spec, _ in found.values()]


def shared_limits(tasks: Iterable[_Definition]) -> dict[str, str]:
    """The name of the limit of each task whose limit has a name of its own, which other tasks may share."""
    limits = ((task.name, task.more.get("limit")) for task in tasks)
    return {name: limited.spec.name for name, limited in limits if limited is not None and not limited.spec.task}
