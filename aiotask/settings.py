"""Settings from the environment, under one name each."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable
from datetime import timedelta
from urllib.parse import parse_qsl, urlsplit

from .errors import ConfigError

__all__ = ["CENTURY", "check_modules", "environment", "is_private", "number", "seconds", "secrets_for"]


def environment(name: str) -> str | None:
    """The value of ``AIOTASK_{name}``; None where it is unset or empty."""
    return os.environ.get(f"AIOTASK_{name}") or None


def is_private(url: str) -> bool:
    """Whether only this machine can reach what answers there: a socket file, memory, or a loopback address."""
    parts = urlsplit(url)
    if parts.scheme in ("unix", "memory"):
        return True
    # redis-py takes a host from the query where none stands in its place.
    host = parts.hostname or dict(parse_qsl(parts.query)).get("host", "localhost")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def secrets_for(url: str, shown: str, secret: str | None) -> tuple[str, ...]:
    """The secrets to seal with, first the one in force (``new,old`` while one is rotated).

    Raises:
        ConfigError: the address is reachable from outside and there is none.
    """
    given = secret or environment("SECRET")
    if given:
        if not isinstance(given, str):
            raise ConfigError(f"secret must be text, not of type {type(given).__qualname__}.")
        secrets = tuple(part.strip() for part in given.split(",") if part.strip())
        if not secrets:
            raise ConfigError("The secret (AIOTASK_SECRET, or App(secret=…)) holds only blanks and commas.")
        return secrets
    if not is_private(url):
        raise ConfigError(
            f'The broker "{shown}" can be reached from other machines, so jobs must be sealed. Set the same secret for '
            "every client and worker: AIOTASK_SECRET=$(python -c 'import secrets; print(secrets.token_hex(32))'), "
            "or App(secret=…)."
        )
    return ("",)


#: Seconds in 100 years: longer ones are mistakes, and clocks and servers cannot count them.
CENTURY = 100 * 366 * 86400.0


def seconds(value: float | timedelta, what: str) -> float:
    """A duration in float seconds.

    Raises:
        ConfigError: it is negative or no duration.
    """
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= CENTURY:
        raise ConfigError(f"{what}={value!r} is not a duration: give seconds (0 to 100 years) or a timedelta.")
    return float(value)


def check_modules(include: object) -> tuple[str, ...]:
    """Names of modules, given as one or several.

    Raises:
        ConfigError: they are something else.
    """
    given = [include] if isinstance(include, str) else list(include) if isinstance(include, Iterable) else [include]
    modules = tuple(name for name in given if isinstance(name, str))
    if len(modules) != len(given):
        raise ConfigError(f'include={include!r}: give a list of module names, as in ("shop.mail", "shop.render").')
    return modules


def number(given: float | None, name: str, default: float) -> float:
    """What was given, else the variable ``AIOTASK_{name}``, else the default.

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
