"""Prints an error of aiotask, and chooses the exit code."""

from __future__ import annotations

from aiotask.errors import AiotaskError, ConfigError, ImportFailed

from .output import print_error

__all__ = ["FAILED", "MISUSED", "report"]

#: Exit codes: the command was used in a wrong way; it failed.
MISUSED, FAILED = 2, 1


def report(error: AiotaskError) -> int:
    """Print an error to stderr; the exit code for it."""
    print_error(str(error))
    return MISUSED if isinstance(error, (ConfigError, ImportFailed)) else FAILED
