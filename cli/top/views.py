"""The views of ``aiotask top``: the key of each, what it reads, and how that becomes a page of text."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from aiotask.ops import views
from aiotask.ops.views.look import Look, NotFound
from aiotask.ops.views.marks import bulk_mark, word_of
from aiotask.ops.views.runs import BROKEN_OFF, Running
from aiotask.ops.views.words import ago_words, count

from . import details, jobs_details, jobs_lists, lists
from .overview import overview
from .page import Page, Where, cell, facts, marked, paragraph

__all__ = ["VIEWS", "View", "bulk_page", "read_page"]

Data = Mapping[str, Any]
Given = Mapping[str, str]


class View(NamedTuple):
    """One view: its list, and the page of one thing in it."""

    name: str
    word: str
    read: Callable[[Look], Awaitable[dict[str, Any]]]
    build: Callable[[Data, int, Given], Page]
    read_one: Callable[[Look, str], Awaitable[dict[str, Any]]] | None = None
    build_one: Callable[[Data, int, Given, bool], Page] | None = None
    #: What the list can be filtered by, with an example of each.
    filters: tuple[tuple[str, str, str], ...] = ()

    @property
    def key(self) -> str:
        """The letter after ``g``."""
        return self.name[0]


_QUEUE, _TASK = ("queue", "Queue", "default"), ("task", "Task", "shop.tasks:render")
_SINCE, _UNTIL = ("since", "Ended since", "1h"), ("until", "until", "10m")
_FOUND: list[View] = [
    View("overview", "overview", views.overview, overview),
    View(
        "jobs",
        "jobs",
        views.jobs,
        jobs_lists.jobs,
        views.job,
        jobs_details.job,
        (
            *(_QUEUE, _TASK, ("key", "Key of the task", "order-7"), ("prefix", "Id begins with", "")),
            *(_SINCE, _UNTIL, ("q", "Text in arguments and errors", "")),
        ),
    ),
    View("running", "running", views.running, jobs_lists.running, filters=(_QUEUE, _TASK)),
    View("queues", "queues", views.queues, lists.queues, views.queue, details.queue),
    View(
        "dead",
        "dead",
        views.dead,
        jobs_lists.dead,
        views.letter,
        jobs_details.letter,
        (_QUEUE, _TASK, ("error", "Error contains", "")),
    ),
    View("tasks", "tasks", views.tasks, lists.tasks, views.task, details.task, (("q", "Name contains", "shop"),)),
    View("workers", "workers", views.workers, lists.workers, views.host, details.host),
    View("schedules", "schedules", views.schedules, lists.schedules, views.schedule, details.schedule),
    View("limits", "limits", views.limits, lists.limits, views.limit, details.limit),
    View("graphs", "graphs", views.graphs, lists.graphs, views.graph, details.graph),
    View(
        "history",
        "history",
        views.history,
        jobs_lists.history,
        filters=(_QUEUE, _TASK, _SINCE, _UNTIL, ("q", "Text", "")),
    ),
    View(
        "audit",
        "audit",
        views.audit,
        lists.audit,
        filters=(("verb", "Verb", "cancel"), ("ended", "Ended", "refused"), ("q", "Text", "")),
    ),
]
VIEWS: dict[str, View] = {view.name: view for view in _FOUND}


async def read_page(look: Look, where: Where) -> Callable[[int], Page]:
    """What a view shows now: a function that lays it out for a width.

    Raises:
        NotFound: there is no such thing.
        AiotaskError: what reading raises.
    """
    view, given = VIEWS[where.view], where.given
    if not where.name:
        data = await view.read(look)
        return lambda width: view.build(data, width, given)
    if where.view == "audit":
        lines = (await views.audit(look))["lines"]
        line = next((each for each in lines if repr(each["at"]) == where.name), None)
        if line is None:
            raise NotFound("This line of the audit is kept no more.")
        return lambda width: details.audit_line(line, width)
    read, build = view.read_one, view.build_one
    if read is None or build is None:
        raise NotFound("There is no such view.")
    data = await read(look, where.name)
    shows_values = not look.choices.hide_arguments
    return lambda width: build(data, width, given, shows_values)


def bulk_page(run: Running, width: int) -> Page:
    """How far an action on all that match is."""
    page = Page("All that match")
    page.add(cell(f"{word_of(run.verb).capitalize()} {run.subject}", "bold"))
    page.add(marked(bulk_mark(run.state)))
    room = min(width - 10, 60)
    bar = cell("━" * round(room * run.share), "red" if run.state == "failed" else "green")
    page.add(bar.append_text(cell("━" * (room - round(room * run.share)), "dim")))
    more = " or more" if run.is_more else ""
    asked = (
        f", {count(run.progress.asked)} of them by workers that were asked to end them" if run.progress.asked else ""
    )
    page.lines += facts(
        [
            ("looked at", f"{count(run.progress.seen)} of {count(run.number)}{more}", None),
            ("done", f"{count(run.progress.done)}{asked}", None),
            *(("skipped", f"{count(number)}: {why}", None) for why, number in run.progress.skipped.items()),
            ("begun", f"{ago_words(run.started)} by {run.who}", None),
            ("ended", ago_words(run.ended), None),
            ("why", cell(run.error, "red"), None),
        ],
        width,
    )
    if run.state == "failed":
        page.add(*paragraph(BROKEN_OFF, width))
    page.gap()
    page.add(cell("C stops it; what is done stays done." if run.state == "running" else "esc leads back.", "dim"))
    return page
