"""``aiotask top`` on a terminal: keys, what is read again and again, and what was said about it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import ClassVar

from rich.text import Text
from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Static

from aiotask.errors import AiotaskError, BrokerError

from . import bars
from .acting import BULK_VIEW, Acting
from .deeds import all_words, kind_of
from .dialogs import Keys
from .page import Page, Row, Where, paragraph
from .session import Session
from .trail import Trail
from .views import VIEWS, bulk_page
from .widgets import MARGIN, PageView

__all__ = ["Top"]

logger = logging.getLogger("aiotask.top")

#: Seconds that reading a page may take; after a key ``g`` the seconds for the next one; seconds that a sentence stays.
_TIMEOUT, _CHORD, _SAID = 10.0, 3.0, 12.0
#: Seconds for which a key waits for the page on which it is typed.
_AHEAD = 2.0


class Top(App[None]):
    """The views of the dashboard in a terminal.

    Args:
        interval: seconds between two looks.
    """

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    Screen { layout: vertical; }
    #head { height: 2; }
    #said { height: auto; max-height: 6; }
    #foot { height: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+c", "quit", show=False, priority=True)]

    def __init__(self, session: Session, interval: float) -> None:
        super().__init__(ansi_color=True)
        self.theme = "ansi-dark"
        self.session = session
        self.view = PageView()
        self.page = Page("")
        self._interval = interval
        self._trail = Trail()
        self._acting = Acting(self)
        self._made: Callable[[int], Page] | None = None
        #: What the page that is shown is of.
        self._shown: Where | None = None
        self._head, self._foot = Static(id="head"), Static(id="foot")
        self._said = Static(id="said")
        self._is_held = False
        #: When ``g`` was pressed (monotonic).
        self._chord = 0.0
        self._sentence: tuple[bool, str, float] | None = None
        #: Since when there is no answer (monotonic), and why.
        self._lost: tuple[float, str] | None = None
        self._reading: asyncio.Task[None] | None = None

    # ---- what stands where

    def compose(self) -> ComposeResult:
        yield self._head
        yield self.view
        yield self._said
        yield self._foot

    def on_mount(self) -> None:
        self.view.focus()
        self._draw_bars()
        self.set_interval(self._interval, self._tick)
        self.look_again()

    @property
    def where(self) -> Where:
        return self._trail.where

    @property
    def row(self) -> Row | None:
        """The row at which keys act; None: there is none, or the page is still that of another view."""
        return self.view.row if self._shown is self.where else None

    @property
    def subject(self) -> Row | None:
        """What the page as a whole is about."""
        return self.page.subject if self._shown is self.where else None

    def _width(self) -> int:
        # The scroll bar has a column, and a blank before it.
        return max(self.size.width - MARGIN - 2, 30)

    def on_resize(self) -> None:
        self._lay_out()

    # ---- reading

    def _tick(self) -> None:
        if self._sentence is not None and time.monotonic() - self._sentence[2] > _SAID:
            self._sentence = None
        if not self._is_held and self._trail.place.fixed is None:
            self.look_again()
        self._draw_bars()

    def look_again(self) -> None:
        """Read the page anew; if it is being read, that is enough."""
        if self._reading is not None and not self._reading.done():
            return
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        """Read the page that is open, until it is the one that was read: others may be opened meanwhile."""
        where = None
        while where is not self.where:
            where = self.where
            await self._read_once(where)
            self._draw_bars()

    async def _read_once(self, where: Where) -> None:
        try:
            async with asyncio.timeout(_TIMEOUT):
                made = self._bulk(where.name) if where.view == BULK_VIEW else await self.session.read(where)
                # What cannot be laid out is an error of this page, too.
                made(self._width())
        except (BrokerError, TimeoutError, OSError) as error:
            words = str(error) or f"It has not answered for {_TIMEOUT:.0f} s."
            self._lost = (self._lost[0] if self._lost else time.monotonic(), words)
            self.view.set_old(True)
            return
        except AiotaskError as error:
            made = _sentence_page(_word(where), str(error))
        except Exception as error:
            logger.exception("A page ended with an error")
            made = _sentence_page(_word(where), f"This page ended with an error: {type(error).__name__}: {error}")
        self._lost = None
        self._arrive(where, made)

    def _arrive(self, where: Where, made: Callable[[int], Page]) -> None:
        self.view.set_old(False)
        if where is self.where:
            self._made = made
            self._lay_out()

    def _bulk(self, id: str) -> Callable[[int], Page]:
        run = self.session.runs.get(id)
        if run is None:
            return _sentence_page("All that match", "This action is not known here any more. It is in the audit: g a")
        return lambda width: bulk_page(run, width)

    def _lay_out(self) -> None:
        made = self._trail.place.fixed or self._made
        if made is None:
            return
        self.page = made(self._width())
        self.view.show(self.page, anew=self._shown is not self.where)
        self._shown = self.where
        self._draw_bars()

    # ---- the lines around the page

    def _draw_bars(self) -> None:
        width = self.size.width
        state = bars.State(
            self.session.app,
            self.session.apps,
            self.session.server,
            self.page.title,
            self.where.view,
            self.session.choices.read_only,
            self._is_held,
            self._lost,
            self._interval,
        )
        self._head.update(bars.head(state, width))
        self._said.update(self._message(width))
        row = self.row
        is_later, is_all = bool(self._trail.place.before), self.view.is_all
        self._foot.update(bars.foot(row, self.page, self.where, is_later, is_all, self.session, width))

    def _message(self, width: int) -> Text:
        """What there is to say, below the page."""
        if self._lost is not None:
            words = f"The server cannot be reached: {self._lost[1]} This page comes back by itself."
            return _wrapped(words, width, "bold red")
        if time.monotonic() - self._chord < _CHORD:
            return _wrapped(
                "g, then: " + "  ".join(f"{view.key} {view.word}" for view in VIEWS.values()), width, "cyan"
            )
        if self._sentence is not None:
            ok, words, _ = self._sentence
            return _wrapped(words, width, "green" if ok else "bold red")
        if self.view.is_all:
            words = f"All {all_words(self.where)} that match are selected, on every page. * ends that."
            return _wrapped(words, width, "yellow")
        return Text("")

    def say(self, ok: bool, words: str) -> None:
        """Show a sentence below the page."""
        self._sentence = (ok, words, time.monotonic())
        self._draw_bars()

    # ---- going

    def go(self, where: Where, fixed: Callable[[int], Page] | None = None) -> None:
        """Open a page on top of this one."""
        self._trail.go(where, fixed)
        self._turn()

    def ask_for(self, **changed: str) -> None:
        """Show the same view with other conditions."""
        self._trail.ask(**changed)
        self._turn()

    def _turn(self) -> None:
        self._made, self._chord, self._sentence = None, 0.0, None
        if self._trail.place.fixed is not None:
            self._lay_out()
        else:
            self.look_again()
        self._draw_bars()

    def _back(self) -> None:
        if self._trail.back():
            self._turn()

    def _choose(self, step: int) -> None:
        if self._trail.choose(self.page.choices, step):
            self._turn()

    def _leaf(self, *, forward: bool) -> None:
        if self._trail.leaf(self.page.after, forward=forward):
            self._turn()
        else:
            self.say(True, "This is the last page." if forward else "This is the first page.")

    def _turn_round(self) -> None:
        if self._shown is self.where and self.page.other_order:
            self.ask_for(order=self.page.other_order)
        else:
            self.say(False, "This list has one order.")

    def _open(self) -> None:
        row = self.row
        if row is not None and row.to is not None:
            self.go(row.to)

    def on_page_view_opened(self) -> None:
        self._open()

    # ---- keys

    async def on_key(self, event: events.Key) -> None:
        if len(self.screen_stack) > 1:
            return
        key = event.character if event.character and event.is_printable else event.key
        if time.monotonic() - self._chord < _CHORD:
            self._chord = 0.0
            target = next((view for view in VIEWS.values() if view.key == key), None)
            if target is not None:
                event.stop()
                self._trail.begin(Where(target.name))
                return self._turn()
        if key not in ("q", "escape", "g", "?", "p"):
            await self._arrived()
        act = self._keys().get(key)
        if act is not None:
            event.stop()
            event.prevent_default()
            act()
            self._draw_bars()
        elif len(key) == 1 and key.isupper():
            event.stop()
            self._acting.press(key)

    async def _arrived(self) -> None:
        """Wait for the page that was opened last: keys that are typed ahead are meant for its rows."""
        if self._shown is not self.where and self._reading is not None and not self._reading.done():
            await asyncio.wait([self._reading], timeout=_AHEAD)

    def _keys(self) -> Mapping[str, Callable[[], object]]:
        view = self.view
        return {
            "q": self._acting.quit,
            "g": self._begin_chord,
            "/": self._acting.find,
            "f": self._acting.filter,
            "?": lambda: self.push_screen(Keys(bars.all_keys(self.session.choices.read_only))),
            "p": self._hold,
            "j": lambda: view.move(1),
            "down": lambda: view.move(1),
            "k": lambda: view.move(-1),
            "up": lambda: view.move(-1),
            "pagedown": lambda: view.page_by(1),
            "space": lambda: view.page_by(1),
            " ": lambda: view.page_by(1),
            "pageup": lambda: view.page_by(-1),
            "home": lambda: view.to_end(last=False),
            "end": lambda: view.to_end(last=True),
            "x": self._select,
            "*": self._select_all,
            "enter": self._open,
            "escape": self._back,
            "backspace": self._back,
            "left": lambda: self._choose(-1),
            "right": lambda: self._choose(1),
            ">": lambda: self._leaf(forward=True),
            "<": lambda: self._leaf(forward=False),
            "tab": self._next_app,
            "o": self._turn_round,
            "r": self.look_again,
        }

    def _begin_chord(self) -> None:
        self._chord = time.monotonic()

    def _hold(self) -> None:
        self._is_held = not self._is_held
        if not self._is_held:
            self.look_again()

    def _next_app(self) -> None:
        if self.session.next_app():
            self._trail.begin(Where("overview"))
            self._turn()
        else:
            self.say(True, "There is one app here.")

    def _select(self) -> None:
        if self.view.select():
            self.view.move(1)
        else:
            self.say(False, "Jobs and dead letters can be selected; this row is none.")

    def _select_all(self) -> None:
        if not kind_of(self.where):
            return self.say(
                False, "* selects all that match in the lists of jobs, running jobs, dead letters and the history."
            )
        if self.where.given.get("key"):
            return self.say(False, "Jobs that were found by their key are few: x selects each of them.")
        self.view.is_all = not self.view.is_all
        self.view.selected.clear()
        self.view.refresh()

    async def on_unmount(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        await self.session.close()


def _word(where: Where) -> str:
    return VIEWS[where.view].word.capitalize() if where.view in VIEWS else "All that match"


def _sentence_page(title: str, words: str) -> Callable[[int], Page]:
    def made(width: int) -> Page:
        page = Page(title)
        page.add(*paragraph(words, width))
        return page

    return made


def _wrapped(words: str, width: int, style: str) -> Text:
    return Text("\n").join(paragraph(words[:2000], max(width - 2, 20), style, indent=1))
