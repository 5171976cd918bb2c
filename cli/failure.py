"""How an error leaves the command line."""

from __future__ import annotations

from aiotask.errors import AiotaskError, ConfigError, ImportFailed

from .output import say_error

__all__ = ["FAILED", "MISUSED", "report"]

#: Exit codes: what was asked for cannot be done as asked, or it failed.
MISUSED, FAILED = 2, 1


def report(error: AiotaskError) -> int:
    """Say it in red on stderr; the exit code."""
    say_error(str(error))
    return MISUSED if isinstance(error, (ConfigError, ImportFailed)) else FAILED
