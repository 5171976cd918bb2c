"""A page of text: lines as wide as the terminal, of which some are rows that can be chosen.

Every text comes through ``cell``, which leaves nothing in it that a terminal would obey, and nothing is ever parsed as
markup.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rich.text import Text

from aiotask.ops.views.marks import Mark
from aiotask.ops.views.words import Long, clean

__all__ = [
    "Column",
    "Line",
    "Page",
    "Row",
    "Where",
    "cell",
    "facts",
    "heading",
    "marked",
    "paragraph",
    "spark",
    "table",
    "task_cell",
]

#: Styles of the kinds of marks, in the sixteen colours that every terminal has and its user has chosen.
STYLES = {"run": "cyan", "good": "green", "warn": "yellow", "bad": "bold red", "park": "magenta", "mute": "dim"}
_GAP = 2
#: Characters below which a cell is not cut, by where it may be cut: names of tasks are told apart by their ends.
_LEAST = {"end": 14, "front": 28}
_BLOCKS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class Where:
    """A view, the one thing that it is about (empty: it is a list), and what was asked for."""

    view: str
    name: str = ""
    given: Mapping[str, str] = field(default_factory=dict)


class Row(NamedTuple):
    """What a line stands for: ``kind`` is ``queue``, ``job``, ``letter`` and the like, ``name`` its name or id.

    ``to`` is what it opens; ``is_paused`` says that ``P`` resumes it, ``graph`` is that of a dead letter, and
    ``status`` that of a job.
    """

    kind: str
    name: str
    to: Where | None = None
    is_paused: bool = False
    graph: str = ""
    status: str = ""


class Line(NamedTuple):
    text: Text
    row: Row | None = None


@dataclass
class Page:
    """What a view shows.

    Attributes:
        subject: what the whole page is about, for actions where no row is meant; None: it is a list.
        after: where the next page begins; empty: this is the last one.
        is_all_paused: whether everything is paused; None: this page does not know.
        other_order: the order in which the list could be shown instead; empty: there is no other one.
        choices: the values between which the arrow keys choose, the name of what they are, and the chosen one.
    """

    title: str
    lines: list[Line] = field(default_factory=list)
    subject: Row | None = None
    after: str = ""
    is_all_paused: bool | None = None
    choices: tuple[str, tuple[str, ...], str] = ("", (), "")
    other_order: str = ""

    def add(self, *texts: Text, row: Row | None = None) -> None:
        self.lines += [Line(text, row) for text in texts]

    def gap(self) -> None:
        if self.lines:
            self.lines.append(Line(Text("")))


def cell(value: object, style: str = "") -> Text:
    """A text that a terminal shows as it is; None is empty."""
    # A part of its own has the style: what is appended to the text does not inherit it.
    return Text("", no_wrap=True, end="").append("" if value is None else clean(str(value)), style or None)


def marked(mark: Mark | None, more: str = "") -> Text:
    if mark is None:
        return cell(None)
    text = cell(f"{mark.glyph} {mark.word}", STYLES[mark.kind])
    return text.append_text(cell(f" {more}", "dim")) if more else text


def heading(title: str, note: str = "") -> Text:
    text = cell(title, "bold")
    return text.append_text(cell(f"  {note}", "dim")) if note else text


def paragraph(value: object, width: int, style: str = "", indent: int = 0) -> list[Text]:
    """A text of several lines, wrapped at blanks where there are some."""
    found = []
    for line in clean(Long(value)).split("\n"):
        text = Text(line.expandtabs(4), style=style, end="")
        for part in text.wrap(_CONSOLE, max(width - indent, 10)):
            part.rstrip()
            found.append(Text(" " * indent, end="").append_text(part))
    return found


def facts(pairs: Sequence[tuple[str, Text | str | None, Row | None]], width: int) -> list[Line]:
    """Names and values, one below the other; those without a value are left out."""
    known = [(name, value if isinstance(value, Text) else cell(value), row) for name, value, row in pairs if value]
    space = max((len(name) for name, _, _ in known), default=0) + _GAP
    lines = []
    for name, value, row in known:
        for number, part in enumerate(value.wrap(_CONSOLE, max(width - space, 10), no_wrap=False)):
            part.rstrip()
            label = cell(name if not number else "", "dim")
            label.pad_right(space - label.cell_len)
            lines.append(Line(label.append_text(part), row if not number else None))
    return lines


def spark(values: Sequence[float | int | None], width: int, style: str = "cyan") -> Text:
    """A small chart of the newest values: each character is as high as the highest value that it stands for."""
    known = [float(value or 0) for value in values]
    if not any(known) or width < 4:
        return cell("")
    per = max(-(-len(known) // width), 1)
    while len(known) % per:
        known.insert(0, 0.0)
    groups = [max(known[at : at + per]) for at in range(0, len(known), per)]
    top = max(groups)
    text = Text("", no_wrap=True, end="")
    for each in groups:
        text.append(_BLOCKS[min(int(8 * each / top), 7)] if each else "·", style if each else "dim")
    return text


# ---- tables


class Column(NamedTuple):
    """A column: of rank 0 it is always there; the others, from rank 1 on, where there is room.

    ``cut`` says where its cells may be cut: ``end``, ``front``, or empty: nowhere.
    """

    title: str
    rank: int = 0
    right: bool = False
    cut: str = ""
    #: Characters to which its cells are cut where a column of a higher rank needs room; 0: those of ``_LEAST``.
    least: int = 0


def table(
    columns: Sequence[Column],
    rows: Sequence[tuple[Row | None, Sequence[Text | str]]],
    width: int,
    *,
    steady: bool = False,
) -> list[Line]:
    """A line for the titles and one for each row.

    Args:
        steady: columns in which nothing stands now are shown, too, so that others stay where they are.
    """
    texts = [[each if isinstance(each, Text) else cell(each) for each in cells] for _, cells in rows]
    natural = [max([line[number].cell_len for line in texts] + [0]) for number in range(len(columns))]
    whole = [max(size, len(column.title)) for size, column in zip(natural, columns, strict=True)]
    least = [
        min(size, column.least or _LEAST[column.cut]) if column.cut else size
        for size, column in zip(whole, columns, strict=True)
    ]
    shown = [number for number, column in enumerate(columns) if not column.rank]
    for number in sorted(range(len(columns)), key=lambda number: columns[number].rank):
        is_wanted = columns[number].rank and (natural[number] or steady)
        if is_wanted and sum(least[each] + _GAP for each in [*shown, number]) - _GAP <= width:
            shown.append(number)
    widths = {number: whole[number] for number in sorted(shown)}
    excess = sum(widths.values()) + _GAP * (len(widths) - 1) - width
    while excess > 0:
        # The widest of the cells that may be cut is cut first; where there is no room for the least, all are.
        cuttable = [number for number in widths if columns[number].cut and widths[number] > least[number]]
        cuttable = cuttable or [number for number in widths if columns[number].cut and widths[number] > 3]
        if not cuttable:
            break
        widths[max(cuttable, key=lambda number: widths[number])] -= 1
        excess -= 1
    titles = [(cell(columns[number].title, "dim"), columns[number], size) for number, size in widths.items()]
    lines = [Line(_joined(titles))]
    lines += [
        Line(_joined([(line[number], columns[number], size) for number, size in widths.items()]), row)
        for (row, _), line in zip(rows, texts, strict=True)
    ]
    return lines


def _joined(cells: Sequence[tuple[Text, Column, int]]) -> Text:
    whole = Text("", no_wrap=True, end="")
    for number, (text, column, width) in enumerate(cells):
        if number:
            whole.append(" " * _GAP)
        whole.append_text(_fitted(text.copy(), width, column))
    whole.rstrip()
    return whole


def _fitted(text: Text, width: int, column: Column) -> Text:
    """The text in exactly this number of columns of the terminal."""
    if text.cell_len > width and column.cut == "front":
        text = _without_front(text, width)
    text.truncate(width, overflow="ellipsis")
    if column.right:
        text.pad_left(width - text.cell_len)
    else:
        text.pad_right(width - text.cell_len)
    return text


def _without_front(text: Text, width: int) -> Text:
    start = 0
    while start < len(text) and text[start:].cell_len > width - 1:
        start += 1
    return Text("…", style=text.style, end="").append_text(text[start:])


def task_cell(name: object) -> Text:
    """The name of a task."""
    return cell("not known here", "dim") if not name or name == "?" else cell(name)


def _console() -> Any:
    from rich.console import Console

    return Console(width=80, force_terminal=False)


_CONSOLE = _console()
