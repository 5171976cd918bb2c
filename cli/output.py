"""What commands print: tables for people, JSON for programs."""

from __future__ import annotations

import codecs
import json
import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = [
    "ago",
    "call_text",
    "console",
    "informative",
    "page_table",
    "plain",
    "print_json",
    "quoted",
    "table",
    "write_anything",
]

#: Columns that are left out on a narrow terminal, in this order.
_LEAST = (
    *("attempts", "attempt", "declared by", "app", "queue", "took", "sent", "given up", "ended", "failed"),
    *("last run", "calls"),
)
#: Columns of names that are cut in front, since what tells them apart is at the end; a table has one or none of them.
_NAMED = ("task", "limit", "schedule")
#: Least width, in characters, of the last column and of a name.
_LAST_COLUMN, _NAME_COLUMN = 8, 11
#: Replacements for aiotask's glyphs on a terminal that cannot show them.
_PLAIN = str.maketrans({"■": "+", "×": "x", "⊘": "/", "…": "~", "↻": "r", "–": "-", "→": ">", "µ": "u", "•": "*"})  # noqa: RUF001


def write_anything() -> None:
    """Let stdout and stderr take every character: one that their encoding lacks is written as an escape."""
    codecs.register_error("aiotask", _replaced)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="aiotask")


def _replaced(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    lacking = error.object[error.start : error.end].translate(_PLAIN)
    return lacking.encode("ascii", "backslashreplace").decode(), error.end


def print_json(value: Any) -> None:
    """Print the value as JSON; values of types that JSON lacks become text."""
    is_utf8 = codecs.lookup(sys.stdout.encoding or "ascii").name == "utf-8"
    json.dump(value, sys.stdout, indent=2, default=str, ensure_ascii=not is_utf8)
    sys.stdout.write("\n")


def print_error(message: str) -> None:
    """Print one error to stderr, in red on a terminal."""
    text = f"error: {message}"
    if sys.stderr.isatty() and not os.environ.get("NO_COLOR"):
        text = f"\x1b[31m{text}\x1b[0m"
    print(text, file=sys.stderr)


def console(*, stderr: bool = False) -> Console:
    """The terminal, or a page wide enough that a pipe gets whole lines."""
    from rich.console import Console

    made = Console(stderr=stderr, highlight=False)
    if not made.is_terminal:
        made.width = 240
    return made


def table(title: str, *columns: str, right: tuple[str, ...] = ()) -> Table:
    """An empty table; the columns in ``right`` hold numbers."""
    from rich import box
    from rich.table import Table

    made = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        # Columns that users copy from are not wrapped.
        whole = column in right or column in ("id", "worker", "status")
        made.add_column(column, justify="right" if column in right else "left", overflow="fold", no_wrap=whole)
    return made


def page_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int,
    *,
    right: tuple[str, ...] = (),
    last_width: int = _LAST_COLUMN,
) -> Table:
    """A table of one line a row, as wide as the terminal at most.

    The last column gets the width that the others leave, and is cut with …. Where that is less than ``last_width``,
    names of tasks, limits and schedules are cut in front (``…tiles:render``) first; then the columns of ``_LEAST`` go,
    in that order.
    """
    from rich.markup import escape
    from rich.text import Text

    def width_of(name: str) -> int:
        at = columns.index(name)
        return 3 + max(Text.from_markup(cell).cell_len for cell in (name, *(row[at] for row in rows)))

    kept = list(columns)
    named = next((name for name in _NAMED if name in kept), "")
    room = width - 2 - last_width - sum(width_of(name) for name in kept[:-1])
    shortest = room
    if named:
        shortest += width_of(named) - min(width_of(named), 3 + _NAME_COLUMN)
    for name in _LEAST:
        if shortest < 0 and name in kept:
            room, shortest = room + width_of(name), shortest + width_of(name)
            kept.remove(name)
    cut = max(_NAME_COLUMN, width_of(named) - 3 + room) if named and room < 0 else None
    made = table("", *kept, right=right)
    for row in rows:
        cells = dict(zip(columns, row, strict=True))
        if cut is not None:
            whole = Text.from_markup(cells[named]).plain
            cells[named] = escape(whole if len(whole) <= cut else "…" + whole[-(cut - 1) :])
        made.add_row(*(cells[name] for name in kept))
    *others, last = made.columns
    taken = sum(3 + max(Text.from_markup(str(cell)).cell_len for cell in (one.header, *one.cells)) for one in others)
    last.no_wrap, last.overflow, last.max_width = True, "ellipsis", max(last_width, width - taken - 2)
    for one in others:
        one.no_wrap = True
    return made


def informative(columns: list[str], rows: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    """The columns and rows without the columns that have the usual value in every row, or only one app."""
    empty = {""}
    usual = {
        "queue": {"default"},
        "attempt": {"1", ""},
        "attempts": {"1", ""},
        "failed": empty,
        "calls": empty,
        "paused": empty,
        "running": empty,
        "waiting": empty,
        "set by hand": empty,
    }
    dull = [
        at
        for at, name in enumerate(columns)
        if (found := {row[at] for row in rows}) <= usual.get(name, set()) or (name == "app" and len(found) < 2)
    ]

    def rest(row: list[str]) -> list[str]:
        return [cell for at, cell in enumerate(row) if at not in dull]

    return rest(columns), [rest(row) for row in rows]


def plain(text: object, length: int = 120) -> str:
    """Text of others, safe in a table: bounded, one line, no control characters, no markup."""
    from rich.markup import escape

    shown = str(text)
    if len(shown) > length:
        shown = shown[: length - 1] + "…"
    if not shown.isprintable():
        shown = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in shown)
    return escape(shown)


def quoted(text: str) -> str:
    """A text as a shell takes it, safe on a terminal."""
    import shlex

    return plain(shlex.quote(text), 500)


def call_text(arguments: Any) -> str:
    """The arguments of a call, given as in JSON, in Python syntax: ``'leek', 100, per_kilo=2``."""
    match arguments:
        case [list(args), dict(kwargs)]:
            return ", ".join([*map(repr, args), *(f"{name}={value!r}" for name, value in kwargs.items())])
    return str(arguments)


def ago(at: float | None, *, brief: bool = False) -> str:
    """A moment (Unix seconds) as ``3 min 2 s ago`` or ``in 5 s``; ``brief``: as ``3 min ago``."""
    from aiotask.log.events import in_words

    if not at:
        return ""
    seconds = time.time() - at
    words = in_words(abs(seconds)).split()[: 2 if brief else None]
    return f"{' '.join(words)} ago" if seconds >= 0 else f"in {' '.join(words)}"
