"""The lines around a page: which app and view it is, how fresh, and what keys do here."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from rich.text import Text

from aiotask.ops.views.marks import word_of
from aiotask.ops.views.words import clean, duration
from aiotask.ops.visitors import Verb

from .deeds import BULK, keys_of, kind_of
from .page import Page, Row, Where, cell
from .session import Session
from .views import VIEWS

__all__ = ["State", "all_keys", "foot", "head"]


class State(NamedTuple):
    """What the first lines say."""

    app: str
    apps: Sequence[str]
    server: str
    title: str
    view: str
    is_read_only: bool
    is_held: bool
    #: Since when there is no answer (monotonic), and why; None: there is one.
    lost: tuple[float, str] | None
    interval: float


def head(state: State, width: int) -> Text:
    """Two lines."""
    right = cell("")
    if state.is_read_only:
        right.append_text(cell("read only  ", "yellow"))
    if state.lost is not None:
        right.append_text(cell(f"× no answer for {duration(time.monotonic() - state.lost[0])} ", "bold red"))  # noqa: RUF001
    elif state.is_held:
        right.append_text(cell("‖ held, p goes on ", "yellow"))
    else:
        right.append_text(cell(f"● live, every {state.interval:g} s ", "green"))
    left = cell(f" {state.app or 'aiotask'}", "bold")
    if len(state.apps) > 1:
        left.append_text(cell(f" ({list(state.apps).index(state.app) + 1} of {len(state.apps)}, tab)", "dim"))
    left.append_text(cell(f"  {state.title}", "bold cyan"))
    server = cell(f"  {state.server}", "dim")
    if state.server and left.cell_len + server.cell_len + right.cell_len + 2 <= width:
        left.append_text(server)
    room = width - right.cell_len - 1
    left.truncate(max(room, 1), overflow="ellipsis", pad=True)
    return left.append(" ").append_text(right).append("\n").append_text(_tabs(state.view, width))


def _tabs(current: str, width: int) -> Text:
    """The views, with the letter that follows ``g``; where there is no room for all, graphs are left out."""
    names = [view for view in VIEWS.values() if width >= 88 or view.name != "graphs" or current == "graphs"]
    if sum(len(view.word) + 1 for view in names) > width:
        # Another one goes for the current one.
        names = [view for view in names if view.name != "audit"]
    line = cell(" ")
    for view in names:
        style = "reverse" if view.name == current else ""
        line.append_text(cell(view.word[0], f"{style} underline".strip())).append_text(cell(view.word[1:], style))
        line.append(" ")
    line.rstrip()
    return line


def _acts(row: Row | None, page: Page, where: Where, is_all: bool) -> dict[str, tuple[Verb, str]]:
    """Keys that act: on all that match where these are selected, else on the row and on what the page is about."""
    if is_all and (kind := kind_of(where)):
        return {key: (verb, word_of(verb)) for key, verb in BULK[kind].items()}
    return keys_of(page.subject) | keys_of(row)


def foot(row: Row | None, page: Page, where: Where, is_later: bool, is_all: bool, session: Session, width: int) -> Text:
    """What keys do here: the least important are left out where there is no room."""
    acts: dict[str, str] = {}
    if not session.choices.read_only:
        found = _acts(row, page, where, is_all)
        acts = {key: word for key, (verb, word) in found.items() if verb in session.choices.allow}
    if page.is_all_paused is not None and {Verb.PAUSE, Verb.RESUME} <= set(session.choices.allow):
        acts["A"] = "resume all" if page.is_all_paused else "pause all"
    view = VIEWS.get(where.view)
    name, _, _ = page.choices
    keys = [
        *acts.items(),
        *([("*", "none")] if is_all else []),
        *([(">", "next page")] if page.after else []),
        *([("<", "page before")] if is_later else []),
        *([("enter", "open")] if row is not None and row.to is not None else []),
        *([("x", "select")] if row is not None and row.kind in ("job", "letter") and not where.name else []),
        *([("*", "all")] if kind_of(where) and not is_all else []),
        *([("f", "filter")] if view is not None and view.filters and not where.name else []),
        *([("←→", name)] if name else []),
        *([("o", page.other_order)] if page.other_order else []),
        *([("esc", "back")] if where.name or where.given else []),
        ("g", "go"),
        ("/", "find"),
        ("p", "hold"),
    ]
    last = [("?", "keys"), ("q", "quit")]
    line = cell("")
    room = width - sum(len(key) + len(word) + 3 for key, word in last)
    for key, word in keys:
        if line.cell_len + len(key) + len(word) + 3 > room:
            continue
        line.append_text(_key(key, word))
    for key, word in last:
        line.append_text(_key(key, word))
    return line


def _key(key: str, word: str) -> Text:
    return cell(f" {key} ", "reverse").append_text(cell(f"{clean(word)} "))


def all_keys(is_read_only: bool) -> list[tuple[str, str]]:
    """Every key with what it does."""
    go = [(f"g {view.key}", view.word) for view in VIEWS.values()]
    acts = [
        ("P", "pause or resume a queue, a task, a schedule; drain or resume a host"),
        ("C", "cancel a job, a graph"),
        ("R", "replay a dead letter, a graph; reset a limit"),
        ("D", "delete a dead letter, remove a schedule"),
        ("S", "send a job again as a new one; set a limit"),
        ("N", "run now: a scheduled job, a schedule"),
        ("X", "purge a queue"),
        ("M", "move a job to another queue"),
        ("Y", "recycle a host: replace its worker processes"),
        ("T", "where a job, or every process of the hosts, stands now"),
        ("A", "pause or resume everything"),
    ]
    return [
        ("/", "find: the id of a job, a task, a queue, or a text"),
        ("f", "filter this list"),
        ("j k, arrows", "next and previous row"),
        ("space, end", "a screen further, to the end"),
        ("enter, esc", "open the row, go back"),
        ("left, right", "other status, or other range of time"),
        ("> <", "next page of the list, page before"),
        ("o", "jobs that came last first, or those that are claimed first"),
        ("x", "select a job or a dead letter"),
        ("*", "select all that match, on all pages"),
        *([] if is_read_only else acts),
        ("p", "hold the page as it is"),
        ("r", "read it now"),
        ("tab", "next app"),
        *go,
        ("q", "quit"),
    ]
