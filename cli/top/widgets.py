"""The widget that shows a page: it scrolls, has a row at which the keys act, and rows that are selected."""

from __future__ import annotations

from rich.style import Style
from rich.text import Text
from textual import events
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from .page import Line, Page, Row

__all__ = ["PageView"]

#: Columns before each line: the mark of a selected row, and a blank.
MARGIN = 2
_AT, _DIM = Style(reverse=True), Style(dim=True)


class PageView(ScrollView, can_focus=True):
    """Lines of a page."""

    DEFAULT_CSS = """
    PageView {
        height: 1fr; overflow-x: hidden; overflow-y: auto; scrollbar-size-vertical: 1;
        scrollbar-color: ansi_bright_black; scrollbar-color-hover: ansi_white; scrollbar-color-active: ansi_white;
        scrollbar-background: ansi_default; scrollbar-background-hover: ansi_default;
        scrollbar-background-active: ansi_default;
    }
    """

    class Opened(Message):
        """A row was opened with the mouse."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: list[Line] = []
        #: The numbers of the lines that are rows, and which of these rows the keys act at.
        self._rows: list[int] = []
        self._at = 0
        self.selected: set[str] = set()
        self.is_all = False
        self.is_old = False

    # ---- what is shown

    def show(self, page: Page, *, anew: bool) -> None:
        """Show a page.

        Args:
            anew: it is another page than before: nothing is selected, and it is shown from its first line on.
        """
        before = None if anew else self.row
        rows = [number for number, line in enumerate(page.lines) if line.row is not None]
        if anew:
            self._at, self.selected, self.is_all = 0, set(), False
        elif before is not None:
            places = [at for at, number in enumerate(rows) if _same(page.lines[number].row, before)]
            # A row that is gone: the one that has come into its place.
            self._at = (
                min(places, key=lambda at: abs(at - self._at)) if places else min(self._at, max(len(rows) - 1, 0))
            )
        is_changed = page.lines != self._lines or anew
        self._lines, self._rows = page.lines, rows
        self.selected &= {line.row.name for line in page.lines if line.row is not None}
        self.virtual_size = Size(self.size.width, len(page.lines))
        if anew:
            self.scroll_to(0, 0, animate=False)
        if is_changed:
            self.refresh()

    def set_old(self, is_old: bool) -> None:
        """Grey what is shown: it is not known whether it is still so."""
        if is_old != self.is_old:
            self.is_old = is_old
            self.refresh()

    @property
    def row(self) -> Row | None:
        """The row at which keys act."""
        return self._lines[self._rows[self._at]].row if self._at < len(self._rows) else None

    def chosen(self, kind: str) -> list[Row]:
        """The selected rows of a kind, in their order, each once; empty: none is."""
        rows = [self._lines[number].row for number in self._rows]
        found = [row for row in rows if row is not None and row.kind == kind and row.name in self.selected]
        return list({row.name: row for row in found}.values())

    # ---- moving and selecting

    def move(self, step: int) -> None:
        """To the next or the previous row; where there is none, or it is far away, the page moves by a line."""
        top, height = self.scroll_offset.y, self.size.height
        if self._rows:
            line = self._rows[self._at]
            target = self._at + step
            is_seen = top <= line < top + height
            there = 0 <= target < len(self._rows)
            if is_seen and there and abs(self._rows[target] - line) <= height:
                self._at = target
                self._reveal()
                return
        self.scroll_to(y=top + step, animate=False)
        self._follow()

    def _follow(self) -> None:
        """Keys act at a row that is seen, if one is."""
        top, height = round(self.scroll_target_y), self.size.height
        seen = [at for at, number in enumerate(self._rows) if top <= number < top + height]
        if seen and self._at not in seen:
            self._at = min(seen, key=lambda at: abs(at - self._at))
        self.refresh()

    def page_by(self, step: int) -> None:
        self.scroll_to(y=self.scroll_offset.y + step * max(self.size.height - 2, 1), animate=False)
        self._follow()

    def to_end(self, *, last: bool) -> None:
        self._at = max(len(self._rows) - 1, 0) if last else 0
        self.scroll_to(y=len(self._lines) if last else 0, animate=False)
        self.refresh()

    def _reveal(self) -> None:
        line = self._rows[self._at]
        # The titles above the first row are shown with it.
        first = 0 if self._at == 0 else line
        self.scroll_to_region(Region(0, first, 1, line - first + 1), animate=False, force=True)
        self.refresh()

    def select(self) -> bool:
        """Select the row, or deselect it; False: it is none that can be selected."""
        row = self.row
        if row is None or row.kind not in ("job", "letter"):
            return False
        self.is_all = False
        self.selected ^= {row.name}
        self.refresh()
        return True

    def on_click(self, event: events.Click) -> None:
        line = event.y + self.scroll_offset.y
        if line in self._rows:
            self._at = self._rows.index(line)
            self.refresh()
            if event.chain == 2:
                self.post_message(self.Opened())

    # ---- drawing

    def render_line(self, y: int) -> Strip:
        number, width = y + self.scroll_offset.y, self.size.width
        if number >= len(self._lines):
            return Strip.blank(width)
        text, row = self._lines[number]
        is_selected = row is not None and row.kind in ("job", "letter") and (self.is_all or row.name in self.selected)
        whole = Text("", end="").append("* " if is_selected else "  ", "bold").append_text(text)
        if self._rows and self._at < len(self._rows) and number == self._rows[self._at]:
            # Without its colours, which would be blocks.
            whole = Text("", end="").append(whole.plain + " " * max(width - whole.cell_len, 0), _AT)
        strip = Strip(whole.render(self.app.console), whole.cell_len).adjust_cell_length(width)
        return strip.apply_style(_DIM) if self.is_old else strip


def _same(row: Row | None, other: Row) -> bool:
    return row is not None and row[:3] == other[:3]
