"""Durations as users give them."""

from __future__ import annotations

from datetime import timedelta

from .errors import ConfigError

__all__ = ["CENTURY", "seconds"]

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
