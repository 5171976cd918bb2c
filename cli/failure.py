"""How an error leaves the command line."""

from __future__ import annotations

import os
import sys

from aiotask.errors import AiotaskError, ConfigError, ImportFailed

__all__ = ["FAILED", "MISUSED", "report"]

#: Exit codes: what was asked for cannot be done as asked, or it failed.
MISUSED, FAILED = 2, 1


def report(error: AiotaskError) -> int:
    """Say it in red on stderr; the exit code."""
    text = f"error: {error}"
    if sys.stderr.isatty() and not os.environ.get("NO_COLOR"):
        text = f"\x1b[31m{text}\x1b[0m"
    print(text, file=sys.stderr)
    return MISUSED if isinstance(error, (ConfigError, ImportFailed)) else FAILED
