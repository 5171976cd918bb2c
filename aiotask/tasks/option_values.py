"""Checks of the values of options."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from ..backoff import Backoff
from ..errors import ConfigError
from ..settings import CENTURY, seconds
from .limits import Limit, check_rate

__all__ = [
    "check_aware",
    "check_backoff",
    "check_batch_wait",
    "check_exceptions",
    "check_expires",
    "check_flag",
    "check_identifier",
    "check_key",
    "check_limit",
    "check_moment",
    "check_names",
    "check_one_of",
    "check_positive",
    "check_rate_text",
    "check_task_name",
    "check_text",
    "check_unique",
    "check_wait",
    "check_whole",
    "size",
]

#: Unix seconds (in 1973) below which a time is a duration given by mistake.
_LONG_AGO = 1e8
#: Seconds (31 years) from which a wait is a moment in Unix seconds, given by mistake.
_MOMENTS = 1e9

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


def check_wait(value: float | timedelta, what: str) -> float:
    """A duration that counts from the send on; Unix seconds are refused."""
    checked = seconds(value, what)
    if checked >= _MOMENTS:
        moment = "eta=…" if what == "delay" else "expires=datetime.fromtimestamp(…, timezone.utc)"
        raise ConfigError(f"{what}={value!r} is a duration of more than 31 years. For a moment, give {moment}.")
    return checked


def check_positive(value: float | timedelta, what: str) -> float:
    checked = seconds(value, what)
    if not checked:
        raise ConfigError(f"{what}={value!r} leaves the job no time. Give seconds, or None for no limit.")
    return checked


def check_batch_wait(value: Any) -> float:
    checked = seconds(value, "batch_wait")
    if checked > 3600:
        raise ConfigError(f"batch_wait={value!r} is more than an hour, for which a worker would keep jobs to itself.")
    return checked


def check_limit(value: Any) -> Limit:
    if not isinstance(value, Limit):
        raise ConfigError(f"limit={value!r}: give a Limit, as in limit=Limit(max_running=1).")
    return value


def check_rate_text(value: Any) -> str:
    check_rate(value, "rate")
    return str(value)


def check_whole(value: Any, what: str, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigError(f"{what}={value!r} is out of range: give a whole number from {low} to {high}.")
    return value


def check_aware(value: datetime, what: str, instead: str) -> datetime:
    """The datetime itself, if it has a UTC offset: a time zone alone may have none."""
    if value.utcoffset() is None:
        raise ConfigError(f"{what}={value!r} has no time zone. Use datetime.now(timezone.utc) + …, or {instead}.")
    return value


def check_moment(value: Any) -> float:
    if isinstance(value, datetime):
        return check_aware(value, "eta", "delay=…").timestamp()
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= 2 * CENTURY:
        raise ConfigError(f"eta={value!r} is not a moment: give an aware datetime or Unix seconds.")
    if abs(value) < _LONG_AGO:
        raise ConfigError(
            f"eta={value!r} is a moment of the year 1970: for a time from now give delay={value!r} (seconds)."
        )
    return float(value)


def check_identifier(value: Any, what: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 200 or not value.isprintable() or set(value) & set("|, "):
        raise ConfigError(f"{what}={value!r}: give text of 1 to 200 characters without spaces, commas and bars (|).")
    return value


def check_task_name(name: Any, what: str = "a task") -> str:
    """A name that a task or a schedule may have: any printable text.

    Raises:
        ConfigError: the text is not such a name.
    """
    if not isinstance(name, str) or not 0 < len(name) <= 300 or not name.isprintable():
        raise ConfigError(f"name={name!r} cannot name {what}: give printable text of 1 to 300 characters.")
    return name


def check_names(value: Any) -> tuple[str, ...]:
    names = (value,) if isinstance(value, str) else value
    if not isinstance(names, tuple | list | set | frozenset):
        raise ConfigError(f'aliases={value!r}: give a tuple of names, as in ("shop.old:render",).')
    return tuple(check_task_name(name) for name in names)


def check_backoff(value: Any) -> Backoff:
    if not callable(value):
        raise ConfigError(
            f"backoff={value!r}: give a function that takes the number of failed runs and returns seconds, as in "
            "backoff=exponential(base=0.5) or backoff=lambda failures: 0.5."
        )
    backoff: Backoff = value
    return backoff


def check_flag(value: Any, what: str) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"{what}={value!r}: give True or False.")
    return value


def check_one_of(value: Any, what: str, words: Sequence[str], others: str = "") -> str:
    """The value, which is one of these words; ``others``: what else may be given, for the error."""
    if value not in words:
        raise ConfigError(f"{what}={value!r}: give one of {', '.join(words)}{others}.")
    return str(value)


def check_text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"{what}={value!r}: give text.")
    return value


def check_exceptions(value: Any) -> tuple[type[Exception], ...]:
    kinds = tuple(value) if isinstance(value, tuple | list) else (value,)
    for kind in kinds:
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            raise ConfigError(f"retry_on={value!r}: give exception classes, as in (ConnectionError, TimeoutError).")
    return kinds


def check_expires(value: Any) -> float | datetime | None:
    if isinstance(value, datetime):
        return check_aware(value, "expires", "seconds")
    if not isinstance(value, int | float | timedelta | None):
        raise ConfigError(f"expires={value!r} is not a duration and not a moment: give seconds or an aware datetime.")
    return None if value is None else check_wait(check_positive(value, "expires"), "expires")


def check_unique(value: Any) -> str | float | None:
    if value is None or isinstance(value, str):
        return value and check_one_of(value, "unique", ("kept", "unfinished", "pending"), ", or a time in seconds")
    return check_wait(check_positive(value, "unique"), "unique")


def check_key(value: Any) -> str | Callable[..., object] | None:
    return value if value is None or callable(value) else check_identifier(value, "key")
