"""Text of others in a view: bounded, without control characters; and numbers and times in words."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any

from ...log.events import in_words
from ...values.hidden import Secret

__all__ = [
    "LONG",
    "SHORT",
    "Long",
    "ago_words",
    "call_lines",
    "clean",
    "count",
    "duration",
    "per",
    "plain_call",
    "rate",
    "size",
    "value_text",
    "when_of",
]

#: Characters of a text in a view, and of a long one such as a traceback.
SHORT, LONG = 300, 20_000
#: Floats from here on are shown by their power of ten; and from here on, only their tenths are.
_MOST_EXACT, _TENTHS = 1e15, 1e5


class Long(str):
    """A text of several lines, of which more is shown."""


def clean(text: str) -> str:
    """A text that is safe to show: cut, and with escapes for control characters, for those that change the direction of
    what follows, and for halves of characters."""
    most = LONG if isinstance(text, Long) else SHORT
    cut = text if len(text) <= most else text[: most - 1] + "…"
    if cut.isprintable():
        return str(cut)
    keep = "\n\t" if isinstance(text, Long) else ""
    return "".join(
        char if char.isprintable() or char in keep else char.encode("unicode_escape").decode() for char in cut
    )


def count(number: Any) -> str:
    """``1,204``; whole numbers with all their digits, up to 15 of them."""
    if not isinstance(number, float):
        return f"{number:,}" if isinstance(number, int) else str(number)
    if abs(number) >= _MOST_EXACT:
        return f"{number:,g}"
    return f"{number:,.0f}" if number.is_integer() else f"{number:,.1f}" if abs(number) >= _TENTHS else f"{number:,g}"


def duration(seconds: Any) -> str:
    """``3.2 s``, ``12 min 4 s``; empty: not known."""
    return in_words(max(float(seconds), 0.0)) if isinstance(seconds, int | float) else ""


def size(number: Any) -> str:
    """``2.1 GB``."""
    if not isinstance(number, int | float):
        return ""
    value = float(number)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if value >= 100 or unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def rate(number: Any) -> str:
    """A number per second: ``842``, ``3.1``, ``0.04``."""
    if not isinstance(number, int | float):
        return ""
    return f"{number:,.0f}" if number >= 10 or not number else f"{number:.1f}" if number >= 0.95 else f"{number:.2g}"


def per(number: Any) -> str:
    """A number per second in a unit in which it can be read: ``842/s``, ``3.1/s``, ``7.2/min``, ``2/h``."""
    if not isinstance(number, int | float):
        return ""
    if number >= 0.5 or not number:
        return f"{rate(number)}/s"
    return f"{number * 60:.2g}/min" if number * 60 >= 0.5 else f"{number * 3600:.2g}/h"


def when_of(at: Any) -> datetime | None:
    """The moment of Unix seconds; None: it is not known, or there is no such moment."""
    try:
        return datetime.fromtimestamp(at, UTC) if isinstance(at, int | float) and at else None
    except (ValueError, OverflowError, OSError):
        return None


def ago_words(at: Any) -> str:
    """A moment (Unix seconds) as ``3 min ago`` or ``in 5 s``; empty: it is not known."""
    when = when_of(at)
    if when is None:
        return ""
    seconds = time.time() - when.timestamp()
    words = " ".join(in_words(abs(seconds)).split()[:2]) if abs(seconds) >= 1 else "1 s"
    return f"{words} ago" if seconds >= 0 else f"in {words}"


# ---- arguments and results


def call_lines(arguments: Any) -> list[tuple[str, str]]:
    """The arguments of a call: of each its name (empty where it has none) and its value as text, safe to show."""
    match arguments:
        case [list(args), dict(kwargs)]:
            given = [("", each) for each in args] + [(str(name), value) for name, value in kwargs.items()]
        case _:
            given = [("", arguments)]
    return [(clean(name), clean(Long(value_text(value)))) for name, value in given]


def value_text(value: Any) -> str:
    """A value as people read it, in the syntax of Python or JSON."""
    if isinstance(value, Secret):
        return str(value)
    if isinstance(value, str) and value.startswith("<") and value.endswith(">"):
        return value  # what a body says of itself that cannot be read without loading it
    if isinstance(value, dict | list):
        text = json.dumps(value, ensure_ascii=False, indent=2, default=str)
        return text if len(text) > 100 or text.count("\n") > 12 else json.dumps(value, ensure_ascii=False, default=str)
    return repr(value)


def plain_call(arguments: Any) -> str:
    """The same as plain text, whole, for a file."""
    return json.dumps(arguments, ensure_ascii=False, indent=2, default=str)
