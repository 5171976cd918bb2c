"""What is asked on top of a page: before an action, for a text to find, for a filter; and the keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table
from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from .deeds import Blank, Deed
from .page import cell, paragraph

__all__ = ["Ask", "Fill", "Keys"]

#: Characters of a text that is filled in, at most.
_LONGEST = 300
_WIDTH = 70
#: Characters of labels up to which they stand beside what is filled in.
_BESIDE = 30
_STYLE = """
{name} {{ align: center middle; background: $background 60%; }}
{name} > Vertical {{ width: 76; max-width: 100%; height: auto; max-height: 100%; border: round $primary;
    padding: 0 2; background: $surface; }}
{name} Static {{ height: auto; }}
{name} Horizontal {{ height: 1; }}
{name} .label {{ width: auto; }}
{name} Input, {name} Input:focus {{ width: 1fr; background: ansi_bright_black; color: ansi_bright_white; }}
"""


class _Form(ModalScreen[dict[str, str] | None]):
    """Blanks to fill in; it gives what was filled in, or None if it was left with escape."""

    DEFAULT_CSS = _STYLE.format(name="_Form")

    def __init__(
        self, title: str, question: str, blanks: Sequence[Blank], values: Mapping[str, str], hint: str
    ) -> None:
        super().__init__()
        self._heading = title
        self._question = question
        self._blanks = blanks
        self._values = values
        self._hint = hint

    def compose(self) -> ComposeResult:
        space = max((len(blank.label) for blank in self._blanks), default=0) + 2
        with Vertical():
            yield Static(_lines(self._heading, "bold"))
            if self._question:
                yield Static(_lines(self._question))
            for number, blank in enumerate(self._blanks):
                label = cell(f"{blank.label:<{space}}")
                field = Input(
                    self._values.get(blank.field, ""),
                    placeholder=blank.example,
                    id=f"blank{number}",
                    max_length=_LONGEST,
                    compact=True,
                    select_on_focus=False,
                )
                if space <= _BESIDE:
                    yield Horizontal(Static(label, classes="label"), field)
                else:
                    yield Static(label, classes="label")
                    yield field
            yield Static(Text(""), id="wrong")
            yield Static(cell(self._hint, "dim"))

    def filled(self) -> dict[str, str]:
        inputs = [self.query_one(f"#blank{number}", Input) for number in range(len(self._blanks))]
        return {blank.field: each.value.strip() for blank, each in zip(self._blanks, inputs, strict=True)}

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.accept()

    def accept(self) -> None:
        self.dismiss(self.filled())

    def on_key(self, event: events.Key) -> None:
        # Textual calls the handlers of all base classes: there is one, and a method that others replace.
        if self.pressed(event.key):
            event.stop()
            event.prevent_default()

    def pressed(self, key: str) -> bool:
        """Whether the key was one of this dialog."""
        if key == "escape":
            self.dismiss(None)
        elif key in ("down", "up") and self._blanks:
            self.focus_next() if key == "down" else self.focus_previous()
        else:
            return False
        return True


class Ask(_Form):
    """A question before an action: what has to be typed is checked."""

    DEFAULT_CSS = _STYLE.format(name="Ask")

    def __init__(self, deed: Deed) -> None:
        blanks = list(deed.blanks)
        if deed.typed:
            blanks.append(Blank("typed", f"Type {cell(deed.typed).plain} to confirm"))
        hint = "enter: yes   esc: no" if blanks else "y or enter: yes   n or esc: no"
        super().__init__(f"{deed.title}?", deed.question, blanks, {}, hint)
        self._typed = deed.typed

    def accept(self) -> None:
        found = self.filled()
        if self._typed and found["typed"] != self._typed:
            self.query_one("#wrong", Static).update(cell(f"Type {cell(self._typed).plain} first.", "bold red"))
            return
        self.dismiss(found)

    def pressed(self, key: str) -> bool:
        if self._blanks or key not in ("y", "enter", "n", "q"):
            return super().pressed(key)
        self.dismiss({} if key in ("y", "enter") else None)
        return True


class Fill(_Form):
    """A text to find, or a filter."""

    DEFAULT_CSS = _STYLE.format(name="Fill")

    def __init__(self, title: str, blanks: Sequence[Blank], values: Mapping[str, str]) -> None:
        super().__init__(title, "", blanks, values, "enter: go   up, down: other field   esc: leave it")


class Keys(ModalScreen[None]):
    """The keys."""

    DEFAULT_CSS = _STYLE.format(name="Keys") + "Keys VerticalScroll { height: auto; max-height: 1fr; }"

    def __init__(self, keys: Sequence[tuple[str, str]]) -> None:
        super().__init__()
        self._keys = keys

    def compose(self) -> ComposeResult:
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True)
        for key, word in self._keys:
            table.add_row(cell(key, "bold"), Text(word))
        with Vertical():
            yield Static(cell("Keys", "bold"))
            with VerticalScroll():
                yield Static(table)
            yield Static(cell("up, down: the others   esc: close", "dim"))

    def on_key(self, event: events.Key) -> None:
        if event.key in ("escape", "q", "enter", "question_mark"):
            event.stop()
            self.dismiss(None)


def _lines(value: str, style: str = "") -> Text:
    """A text of several lines, as wide as a dialog."""
    return Text("\n").join(paragraph(value, _WIDTH, style))
