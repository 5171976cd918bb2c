"""What commands print: tables for people, JSON for programs."""

from __future__ import annotations

import codecs
import json
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["ago", "call_text", "console", "fitted", "in_bytes", "plain", "print_json", "table", "write_anything"]

#: What stands for our own glyphs on a terminal that cannot show them.
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
    """The value as JSON on stdout; what JSON has no word for becomes text."""
    is_utf8 = codecs.lookup(sys.stdout.encoding or "ascii").name == "utf-8"
    json.dump(value, sys.stdout, indent=2, default=str, ensure_ascii=not is_utf8)
    sys.stdout.write("\n")


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
        # What one copies stays in one piece.
        whole = column in right or column in ("id", "worker", "status")
        made.add_column(column, justify="right" if column in right else "left", overflow="fold", no_wrap=whole)
    return made


def fitted(made: Table, width: int) -> Table:
    """The table with its last column in one line each: it gets the room that the others leave, and ends in … there."""
    from rich.text import Text

    *others, last = made.columns
    taken = sum(
        3 + max(Text.from_markup(str(cell)).cell_len for cell in (column.header, *column.cells)) for column in others
    )
    last.no_wrap, last.overflow, last.max_width = True, "ellipsis", max(12, width - taken - 2)
    return made


def plain(text: object, length: int = 120) -> str:
    """Text of others, safe in a table: bounded, one line, no control characters, no markup."""
    from rich.markup import escape

    shown = str(text)
    if len(shown) > length:
        shown = shown[: length - 1] + "…"
    if not shown.isprintable():
        shown = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in shown)
    return escape(shown)


def call_text(arguments: Any) -> str:
    """The arguments of a call, as they stand in JSON, as one would write them: ``'leek', 100, per_kilo=2``."""
    match arguments:
        case [list(args), dict(kwargs)]:
            return ", ".join([*map(repr, args), *(f"{name}={value!r}" for name, value in kwargs.items())])
    return str(arguments)


def in_bytes(count: int) -> str:
    """A number of bytes as ``1.5 GB``."""
    amount = float(count)
    for unit in ("bytes", "KB", "MB", "GB"):
        if amount < 1024 or unit == "GB":
            break
        amount /= 1024
    return f"{amount:,.0f} {unit}" if unit == "bytes" else f"{amount:,.1f} {unit}"


def ago(at: float | None) -> str:
    """A moment (Unix seconds) as ``3 min 2 s ago`` or ``in 5 s``."""
    from aiotask.events import in_words

    if not at:
        return ""
    seconds = time.time() - at
    return f"{in_words(seconds)} ago" if seconds >= 0 else f"in {in_words(-seconds)}"
