"""``aiotask top`` on a terminal: keys, what is read again and again, and what was said about it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from rich.text import Text
from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Static

from aiotask.errors import AiotaskError, BrokerError
from aiotask.ops import views
from aiotask.ops.views import acts
from aiotask.ops.views.fields import Fields, Said
from aiotask.ops.views.runs import Running
from aiotask.ops.views.words import Long

from . import bars
from .deeds import BULK, Blank, Deed, bulk_deed, deed_of
from .details import stack_page
from .dialogs import Ask, Fill, Keys
from .page import Page, Row, Where, paragraph
from .session import Session
from .views import VIEWS, bulk_page
from .widgets import MARGIN, PageView

__all__ = ["Top"]

#: Seconds that reading a page may take; after a key ``g`` the seconds for the next one; seconds that a sentence stays.
_TIMEOUT, _CHORD, _SAID = 10.0, 3.0, 12.0
_BULK = "bulk"
_STACKS = "stacks"


@dataclass
class _Place:
    """A page that was opened: what it is of, and where the pages of the list before it begin."""

    where: Where
    before: list[str] = field(default_factory=list)
    #: What a page shows that is not read again; None: it is read.
    fixed: Callable[[int], Page] | None = None


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
        self._session = session
        self._interval = interval
        self._trail = [_Place(Where("overview"))]
        self._made: Callable[[int], Page] | None = None
        self._page = Page("")
        self._shown: Where | None = None
        self._view = PageView()
        self._head, self._foot = Static(id="head"), Static(id="foot")
        self._said = Static(id="said")
        self._is_held = False
        self._chord = 0.0
        self._sentence: tuple[bool, str, float] | None = None
        #: Since when there is no answer (monotonic), and why.
        self._lost: tuple[float, str] | None = None
        self._reading: asyncio.Task[None] | None = None
        self._acting = False

    # ---- what stands where

    def compose(self) -> ComposeResult:
        yield self._head
        yield self._view
        yield self._said
        yield self._foot

    def on_mount(self) -> None:
        self._view.focus()
        self._draw_bars()
        self.set_interval(self._interval, self._tick)
        self.look_again()

    @property
    def place(self) -> _Place:
        return self._trail[-1]

    @property
    def where(self) -> Where:
        return self.place.where

    def _width(self) -> int:
        # One column is that of the scroll bar.
        return max(self.size.width - MARGIN - 1, 30)

    def on_resize(self) -> None:
        self._lay_out()

    # ---- reading

    def _tick(self) -> None:
        if self._sentence is not None and time.monotonic() - self._sentence[2] > _SAID:
            self._sentence = None
        if not self._is_held and self.place.fixed is None:
            self.look_again()
        self._draw_bars()

    def look_again(self) -> None:
        """Read the page anew; if it is being read, that is enough."""
        if self._reading is not None and not self._reading.done():
            return
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        where = self.where
        try:
            async with asyncio.timeout(_TIMEOUT):
                if where.view == _BULK:
                    made = self._bulk(where.name)
                else:
                    made = await self._session.read(where)
        except (BrokerError, TimeoutError, OSError) as error:
            words = str(error) or f"The server has not answered for {_TIMEOUT:.0f} s."
            self._lost = (self._lost[0] if self._lost else time.monotonic(), words)
            self._view.set_old(True)
        except AiotaskError as error:
            self._lost = None
            self._arrive(where, _sentence_page(VIEWS[where.view].word.capitalize(), str(error)))
        else:
            self._lost = None
            self._arrive(where, made)
        self._draw_bars()
        if where is not self.where:
            # Another page was opened meanwhile.
            self._reading = None
            self.look_again()

    def _arrive(self, where: Where, made: Callable[[int], Page]) -> None:
        self._view.set_old(False)
        if where is self.where:
            self._made = made
            self._lay_out()

    def _bulk(self, id: str) -> Callable[[int], Page]:
        run = self._session.runs.get(id)
        if run is None:
            return _sentence_page("All that match", "This action is not known here any more. It is in the audit: g a")
        return lambda width: bulk_page(run, width)

    def _lay_out(self) -> None:
        made = self.place.fixed or self._made
        if made is None:
            return
        self._page = made(self._width())
        self._view.show(self._page, anew=self._shown is not self.where)
        self._shown = self.where
        self._draw_bars()

    # ---- the lines around the page

    def _draw_bars(self) -> None:
        width = self.size.width
        state = bars.State(
            self._session.app,
            self._session.apps,
            self._session.server,
            self._page.title,
            self.where.view,
            self._session.choices.read_only,
            self._is_held,
            self._lost,
            self._interval,
        )
        self._head.update(bars.head(state, width))
        self._said.update(self._message(width))
        row = self._view.row if self._view.row is not None else self._page.subject
        self._foot.update(bars.foot(row, self._page, self.where, bool(self.place.before), self._session, width))

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
        if self._view.is_all:
            return _wrapped("All that match are selected: not those of this page alone. * ends that.", width, "yellow")
        return Text("")

    def say(self, ok: bool, words: str) -> None:
        """Show a sentence below the page."""
        self._sentence = (ok, words, time.monotonic())
        self._draw_bars()

    # ---- going

    def go(self, where: Where, fixed: Callable[[int], Page] | None = None) -> None:
        """Open a page on top of this one."""
        self._trail = [*self._trail[-20:], _Place(where, fixed=fixed)]
        self._turn()

    def replace(self, where: Where, before: list[str] | None = None) -> None:
        """Show another page in the place of this one."""
        self._trail[-1] = _Place(where, before or [])
        self._turn()

    def _turn(self) -> None:
        self._made, self._chord, self._sentence = None, 0.0, None
        if self.place.fixed is not None:
            self._lay_out()
        else:
            self.look_again()
        self._draw_bars()

    def _back(self) -> None:
        if len(self._trail) > 1:
            self._trail.pop()
            self._turn()
        elif self.where.given:
            self.replace(Where(self.where.view))

    def _given(self, **changed: str) -> None:
        kept = {name: value for name, value in {**self.where.given, **changed}.items() if value and name != "after"}
        self.replace(Where(self.where.view, self.where.name, kept))

    def _choose(self, step: int) -> None:
        """The next or previous status, or range."""
        name, values, chosen = self._page.choices
        if name:
            at = values.index(chosen) if chosen in values else 0
            self._given(**{name: values[(at + step) % len(values)]})

    def _leaf(self, *, forward: bool) -> None:
        """The next page of the list, or the one before."""
        here, before = self.where, self.place.before
        if forward and self._page.after:
            after, before = self._page.after, [*before, here.given.get("after", "")]
        elif not forward and before:
            after, before = before[-1], before[:-1]
        else:
            return self.say(True, "There are no more." if forward else "This is the first page.")
        self.replace(replace(here, given={**here.given, "after": after} if after else _without(here.given)), before)

    def _open(self) -> None:
        row = self._view.row
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
                self._trail = []
                return self.go(Where(target.name))
        act = self._keys().get(key)
        if act is not None:
            event.stop()
            event.prevent_default()
            act()
            self._draw_bars()
        elif len(key) == 1 and key.isupper():
            event.stop()
            self._do(key)

    def _keys(self) -> Mapping[str, Callable[[], object]]:
        view = self._view
        return {
            "q": self._quit,
            "g": self._begin_chord,
            "/": self._find,
            "f": self._filter,
            "?": lambda: self.push_screen(Keys(bars.all_keys(self._session.choices.read_only))),
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
            "r": self.look_again,
        }

    def _begin_chord(self) -> None:
        self._chord = time.monotonic()

    def _hold(self) -> None:
        self._is_held = not self._is_held
        if not self._is_held:
            self.look_again()

    def _next_app(self) -> None:
        if self._session.next_app():
            self._trail = []
            self.go(Where("overview"))
        else:
            self.say(True, "There is one app here.")

    def _select(self) -> None:
        if self._view.select():
            self._view.move(1)
        else:
            self.say(False, "Jobs and dead letters can be selected; this row is none.")

    def _select_all(self) -> None:
        if self.where.view not in ("jobs", "running", "dead") or self.where.name:
            return self.say(False, "* selects all that match in the lists of jobs, running jobs and dead letters.")
        given = self.where.given
        if any(given.get(name) for name in ("since", "until", "q")):
            return self.say(
                False, "Jobs that were found by time or text have ended, and cannot be acted on as a whole."
            )
        self._view.is_all = not self._view.is_all
        self._view.selected.clear()
        self._view.refresh()

    def _quit(self) -> None:
        run = next((run for run in self._session.runs.all(self._session.app) if run.state == "running"), None)
        if run is None:
            return self.exit()

        def after(found: dict[str, str] | None) -> None:
            if found is not None:
                self.exit()

        question = "An action on all that match is running, and stops with this program. What is done stays done."
        self.push_screen(Ask(Deed(run.verb, "Quit", question, ())), after)

    async def on_unmount(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        await self._session.close()

    # ---- finding and filtering

    def _find(self) -> None:
        def after(found: dict[str, str] | None) -> None:
            if found and found["q"]:
                self._begin(self._lead_to(found["q"]))

        self.push_screen(Fill("Find", [Blank("q", "Id of a job, a task, a queue, or a text in ended jobs")], {}), after)

    async def _lead_to(self, text: str) -> None:
        target = await views.find(await self._session.look(self.where), text[:200])
        self.go(Where(target.view, target.name, {"q": target.text} if target.text else {}))

    def _filter(self) -> None:
        view = VIEWS.get(self.where.view)
        if view is None or not view.filters or self.where.name:
            return self.say(False, "This page has no filter.")

        def after(found: dict[str, str] | None) -> None:
            if found is not None:
                self._given(**found)

        blanks = [Blank(*each) for each in view.filters]
        self.push_screen(Fill(f"Filter {view.word}", blanks, self.where.given), after)

    # ---- acting

    def _do(self, key: str) -> None:
        if self.where.view == _BULK and key == "C":
            return self._begin(self._stop())
        if key == "A" and self._page.is_all_paused is not None:
            key = "P"
            row: Row | None = Row("all", "", None, self._page.is_all_paused)
        else:
            row = self._row_for(key)
        if row is None:
            return self.say(False, f"{key} does nothing here. ? shows the keys.")
        if self._session.choices.read_only:
            return self.say(False, "This top only looks: it was started with --read-only.")
        if self._view.is_all and (verb := BULK.get(row.kind, {}).get(key)) is not None:
            return self._begin(self._ask_bulk(verb))
        deed = deed_of(key, row, self._view.chosen(row.kind) if row == self._view.row else ())
        if deed is not None:
            self._ask(deed)

    def _row_for(self, key: str) -> Row | None:
        """What a key acts on: the row, what the page is about, or everything."""
        for row in (self._view.row, self._page.subject):
            if row is not None and deed_of(key, row, ()) is not None:
                return row
        return None

    async def _ask_bulk(self, verb: str) -> None:
        look = await self._session.look(self.where)
        if self.where.view == "running":
            look = replace(look, given={**look.given, "status": "running"})
        found = await views.new_bulk(look, verb)
        if not found["number"]:
            return self.say(False, f"No job matches: {found['subject']}.")
        self._ask(bulk_deed(found, found["fields"]))

    def _ask(self, deed: Deed) -> None:
        def after(found: dict[str, str] | None) -> None:
            if found is not None:
                self._begin(self._act(deed, deed.filled(found)))

        self.push_screen(Ask(deed), after)

    async def _act(self, deed: Deed, fields: Fields) -> None:
        look = await self._session.look(self.where)
        self.say(True, f"{deed.title} …")
        did = await acts.act(look, self._session.runs, deed.verb, fields)
        if isinstance(did, Running):
            self._view.is_all = False
            self.go(Where(_BULK, did.id))
        elif isinstance(did, Said):
            self._view.selected.clear()
            self.say(did.ok, did.text)
            self.look_again()
        else:
            job = fields.get("id")
            self.go(Where(_STACKS, job), lambda width: stack_page(did, width, job))

    async def _stop(self) -> None:
        await acts.stop(await self._session.look(self.where), self._session.runs, self.where.name)
        self.look_again()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something beside the keys, one at a time; an error becomes a sentence."""
        if self._acting:
            work.close()
            return self.say(False, "The action before is not over yet.")

        async def through() -> None:
            self._acting = True
            try:
                await work
            except AiotaskError as error:
                self.say(False, str(error))
            except (TimeoutError, OSError) as error:
                self.say(False, str(error) or "The server did not answer in time.")
            finally:
                self._acting = False

        self.run_worker(through(), exit_on_error=True)


def _without(given: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in given.items() if name != "after"}


def _sentence_page(title: str, words: str) -> Callable[[int], Page]:
    def made(width: int) -> Page:
        page = Page(title)
        page.add(*paragraph(words, width))
        return page

    return made


def _wrapped(words: str, width: int, style: str) -> Text:
    return Text("\n").join(paragraph(Long(words[:2000]), max(width - 2, 20), style, indent=1))
