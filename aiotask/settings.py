"""Settings from the environment, under one name each."""

from __future__ import annotations

import ipaddress
import os
from urllib.parse import parse_qsl, urlsplit

from .errors import ConfigError

__all__ = ["environment", "is_private", "secrets_for"]


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
