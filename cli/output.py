"""What commands print: tables for people, JSON for programs."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["ago", "console", "fitted", "in_bytes", "plain", "print_json", "table"]


def print_json(value: Any) -> None:
    """The value as JSON on stdout; what JSON has no word for becomes text."""
    json.dump(value, sys.stdout, indent=2, default=str, ensure_ascii=False)
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
