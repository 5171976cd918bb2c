"""What the one who measures tells an adapter, through the environment. Standard library only."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["BIN", "CHUNK", "CPU", "IN_FLIGHT", "KIND", "NAP", "RECOVERY", "SECRET", "URL", "environment"]

_PREFIX = "AIOTASK_PEER_"


def _told(name: str, default: str = "") -> str:
    return os.environ.get(_PREFIX + name, default)


URL = _told("URL", "redis://127.0.0.1:6379/0")
SECRET = _told("SECRET")
#: Which tasks ``noop`` means: ``async`` or ``sync``.
KIND = _told("KIND", "async")
CPU = _told("MODE") == "cpu"
RECOVERY = _told("MODE") == "recovery"
#: Scripts of the peer's environment.
BIN = str(Path(sys.executable).parent)
#: Jobs in one call of a bulk API; sends at a time where there is none.
CHUNK = 1000
IN_FLIGHT = 100
#: Seconds that a job of the recovery workload lasts.
NAP = 0.02


def environment(url: str, marks: Path, mode: str, kind: str, secret: str) -> dict[str, str]:
    """Variables for the processes of a peer."""
    told = {"URL": url, "MARKS": str(marks), "MODE": mode, "KIND": kind, "SECRET": secret}
    root = Path(__file__).resolve().parent.parent.parent
    return {**os.environ, **{_PREFIX + name: value for name, value in told.items()}, "PYTHONPATH": str(root)}
