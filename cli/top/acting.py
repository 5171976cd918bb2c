"""What is asked for with keys: to find, to filter, and to act."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aiotask.errors import AiotaskError
from aiotask.ops import views
from aiotask.ops.views import acts
from aiotask.ops.views.fields import Fields, Said
from aiotask.ops.views.runs import Running
from aiotask.ops.visitors import Verb

from .deeds import BULK, TO, Blank, Deed, bulk_deed, deed_of, kind_of
from .details import stack_page
from .dialogs import Ask, Fill
from .page import Row, Where
from .views import VIEWS

if TYPE_CHECKING:
    from .app import Top

__all__ = ["BULK_VIEW", "Acting"]

#: The pages of an action on all that match, and of stacks.
BULK_VIEW, _STACKS = "bulk", "stacks"


class Acting:
    """Asks in dialogs, and does what was asked for: one thing at a time, beside the keys."""

    def __init__(self, top: Top) -> None:
        self._top = top
        self._is_busy = False

    # ---- finding and filtering

    def find(self) -> None:
        def after(found: dict[str, str] | None) -> None:
            if found and found["q"]:
                self._begin(self._lead_to(found["q"]))

        blank = Blank("q", "Id of a job, a task, a queue, or a text in arguments and errors")
        self._top.push_screen(Fill("Find", [blank], {}), after)

    async def _lead_to(self, text: str) -> None:
        target = await views.find(await self._top.session.look(self._top.where), text[:200])
        self._top.go(Where(target.view, target.name, {"q": target.text} if target.text else {}))

    def filter(self) -> None:
        where = self._top.where
        view = VIEWS.get(where.view)
        if view is None or not view.filters or where.name:
            return self._top.say(False, "This page has no filter.")

        def after(found: dict[str, str] | None) -> None:
            if found is not None:
                self._top.ask_for(**found)

        blanks = [Blank(*each) for each in view.filters]
        self._top.push_screen(Fill(f"Filter {view.word}", blanks, where.given), after)

    # ---- acting

    def press(self, key: str) -> None:
        """What a capital letter does here."""
        top = self._top
        if top.where.view == BULK_VIEW and key == "C":
            return self._begin(self._stop())
        if top.view.is_all and (verb := BULK[kind_of(top.where)].get(key)) is not None:
            return None if self._refuse() else self._press_all(verb)
        row: Row | None
        if key == "A" and top.page.is_all_paused is not None:
            key, row = "P", Row("all", "", None, top.page.is_all_paused)
        else:
            row = self._row_for(key)
        if row is None:
            return top.say(False, f"{key} does nothing here. ? shows the keys.")
        deed = deed_of(key, row, [each.name for each in self._chosen(row.kind)] if row != top.subject else ())
        if deed is not None and not self._refuse():
            self._ask(deed)

    def _refuse(self) -> bool:
        """Whether nothing can be done here, which is said then."""
        is_refused = self._top.session.choices.read_only
        if is_refused:
            self._top.say(False, "Nothing was done: this top only looks, since it was started with --read-only.")
        return is_refused

    def _chosen(self, kind: str) -> list[Row]:
        return self._top.view.chosen(kind) if self._top.row is not None else []

    def _row_for(self, key: str) -> Row | None:
        """What a key acts on: the row or one of those that are selected, or what the page is about."""
        row, subject = self._top.row, self._top.subject
        rows = [row, *self._chosen(row.kind)] if row is not None else []
        rows += [subject] if subject is not None else []
        return next((each for each in rows if deed_of(key, each, ()) is not None), None)

    def _press_all(self, verb: Verb) -> None:
        """Act on all that match, once it is known where they go."""

        def after(found: dict[str, str] | None) -> None:
            if found and found["to"]:
                self._begin(self._ask_bulk(verb, found))

        if verb is Verb.MOVE:
            self._top.push_screen(Fill("Move all that match", [TO], {}), after)
        else:
            self._begin(self._ask_bulk(verb, {}))

    async def _ask_bulk(self, verb: Verb, more: Mapping[str, str]) -> None:
        where = self._top.where
        look = await self._top.session.look(where)
        own = {"running": {"status": "running"}, "history": {"of": "history"}}.get(where.view, {})
        look = replace(look, given={**look.given, **own, **more})
        found = await views.new_bulk(look, verb)
        if not found["number"]:
            return self._top.say(False, f"Nothing matches: {found['subject']}.")
        self._ask(bulk_deed(found, found["fields"]))

    def _ask(self, deed: Deed) -> None:
        def after(found: dict[str, str] | None) -> None:
            if found is not None:
                self._begin(self._act(deed, deed.filled(found)))

        self._top.push_screen(Ask(deed), after)

    async def _act(self, deed: Deed, fields: Fields) -> None:
        top = self._top
        look = await top.session.look(top.where)
        top.say(True, f"{deed.title} …")
        did = await acts.act(look, top.session.runs, deed.verb, fields)
        if isinstance(did, Running):
            top.view.is_all = False
            top.go(Where(BULK_VIEW, did.id))
        elif isinstance(did, Said):
            top.view.selected.clear()
            top.look_again()
            top.say(did.ok, did.text)
        else:
            job = fields.get("id")
            top.go(Where(_STACKS, job), lambda width: stack_page(did, width, job))

    async def _stop(self) -> None:
        top = self._top
        await acts.stop(await top.session.look(top.where), top.session.runs, top.where.name)
        top.look_again()

    def quit(self) -> None:
        """End; while an action on all that match runs, ask before."""
        top = self._top
        run = next((run for run in top.session.runs.all(top.session.app) if run.state == "running"), None)
        if run is None:
            return top.exit()

        def after(found: dict[str, str] | None) -> None:
            if found is not None:
                top.exit()

        question = "An action on all that match is running, and stops with this program. What is done stays done."
        top.push_screen(Ask(Deed(run.verb, "Quit", question, ())), after)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something beside the keys; an error becomes a sentence."""
        if self._is_busy:
            work.close()
            return self._top.say(False, "The action before is not over yet.")

        async def through() -> None:
            self._is_busy = True
            try:
                await work
            except AiotaskError as error:
                self._top.say(False, str(error))
            except (TimeoutError, OSError) as error:
                self._top.say(False, str(error) or "The server did not answer in time.")
            finally:
                self._is_busy = False

        self._top.run_worker(through(), exit_on_error=True)
