"""One check of ``aiotask doctor``."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Check", "State"]


class State(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Check:
    """One check; ``fix`` is the remedy if it did not pass."""

    name: str
    state: State
    detail: str
    fix: str = ""
