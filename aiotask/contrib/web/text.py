"""Text of others on a page, as the templates write it: words of the views with what HTML adds."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

from markupsafe import Markup, escape

from ...ops.views.words import Long, ago_words, call_lines, clean, count, duration, per, rate, size, when_of

__all__ = ["FILTERS", "call", "finalize"]


def finalize(value: Any) -> Any:
    """What a template shows of a value: every text passes here, whatever the template forgot."""
    if value is None:
        return ""
    return clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def rowid(text: Any) -> str:
    """An id for a row, the same each time: by it the script knows a row again, and never takes one for another."""
    return f"r-{blake2b(str(text).encode('utf-8', 'backslashreplace'), digest_size=8).hexdigest()}"


def moment(at: Any, *, brief: bool = False) -> Markup:
    """A moment (Unix seconds) as an element that says it in UTC; the script of the page says it in the time of the
    reader."""
    when = when_of(at)
    if when is None:
        return Markup("")
    shown = when.strftime("%H:%M:%S" if brief else "%Y-%m-%d %H:%M:%S")
    machine = when.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return Markup('<time datetime="{}" data-shown="{}">{} UTC</time>').format(
        machine, "time" if brief else "date", shown
    )


def ago(at: Any) -> Markup:
    """A moment as ``3 min ago`` or ``in 5 s``, with the moment itself as its title."""
    when = when_of(at)
    if when is None:
        return Markup("")
    machine = when.isoformat(timespec="seconds").replace("+00:00", "Z")
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        machine, f"{when:%Y-%m-%d %H:%M:%S} UTC", ago_words(at)
    )


def call(arguments: Any) -> Markup:
    """The arguments of a call, a line each; values of names that sound secret are hidden."""
    lines = [(Markup("<i>{}=</i>").format(name) if name else "") + escape(text) for name, text in call_lines(arguments)]
    return Markup("\n").join(lines) if lines else Markup("<i>no arguments</i>")


FILTERS = {
    "ago": ago,
    "clean": clean,
    "count": count,
    "duration": duration,
    "long": Long,
    "moment": moment,
    "per": per,
    "rate": rate,
    "rowid": rowid,
    "size": size,
}
