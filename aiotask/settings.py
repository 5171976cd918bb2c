"""Settings from environment variables, and checks of their values."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from datetime import timedelta
from functools import cache

from .errors import ConfigError

__all__ = ["CENTURY", "check_modules", "check_name", "environment", "number", "own_version", "seconds", "switch"]

_NAME = re.compile(r"[A-Za-z0-9_.\-]{1,100}")


def environment(name: str) -> str | None:
    """The value of ``AIOTASK_{name}``; None where it is unset or empty."""
    return os.environ.get(f"AIOTASK_{name}") or None


def switch(name: str) -> bool:
    """Whether the variable ``AIOTASK_{name}`` is on; unset or empty, it is off.

    Raises:
        ConfigError: the value is neither of on nor of off.
    """
    text = (environment(name) or "0").strip().lower()
    if text not in _SWITCH:
        raise ConfigError(f'AIOTASK_{name}="{text}" is neither on nor off. Write 1 or 0.')
    return _SWITCH[text]


_SWITCH = {**dict.fromkeys(("1", "true", "yes", "on"), True), **dict.fromkeys(("0", "false", "no", "off"), False)}

#: Seconds in 100 years: a longer duration is a mistake, and clocks and servers cannot count it.
CENTURY = 100 * 366 * 86400.0


def seconds(value: float | timedelta, what: str) -> float:
    """A duration in float seconds.

    Raises:
        ConfigError: the value is negative or no duration.
    """
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= CENTURY:
        raise ConfigError(f"{what}={value!r} is not a duration: give seconds (0 to 100 years) or a timedelta.")
    return float(value)


def check_name(name: str, what: str) -> str:
    """A name that may stand in a key: letters, digits, ``_ . -``.

    Raises:
        ConfigError: the text is not such a name.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(f"{name!r} cannot name {what}: use 1 to 100 of the characters A-Z a-z 0-9 _ . -")
    return name


def check_modules(include: object) -> tuple[str, ...]:
    """Names of modules, given as one or several.

    Raises:
        ConfigError: the values are not names of modules.
    """
    given = [include] if isinstance(include, str) else list(include) if isinstance(include, Iterable) else [include]
    modules = tuple(name for name in given if isinstance(name, str))
    if len(modules) != len(given):
        raise ConfigError(f'include={include!r}: give a list of module names, as in ("shop.mail", "shop.render").')
    return modules


def number(given: float | None, name: str, default: float) -> float:
    """The given number, else that in the variable ``AIOTASK_{name}``, else the default.

    Raises:
        ConfigError: the variable holds no number.
    """
    if given is not None:
        return given
    text = environment(name)
    if text is None:
        return default
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f'AIOTASK_{name}="{text}" is not a number of seconds. Write one, as in 3600.') from None


@cache
def own_version() -> str:
    """The release of aiotask."""
    # Imported here: it takes several ms.
    from importlib.metadata import version

    return version("aiotask")
