"""One job or dead letter as a page of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.text import Text

from aiotask.ops.views.job import Bar
from aiotask.ops.views.marks import status_mark, trail_mark
from aiotask.ops.views.words import ago_words, call_lines, count, duration, size, when_of

from .page import Column, Line, Page, Row, Where, cell, facts, heading, marked, paragraph, table, task_cell

__all__ = ["job", "letter", "link", "moment"]

Given = Mapping[str, str]
#: Characters of a timeline.
_BAR = 30


def moment(at: Any) -> str:
    """A moment in the time of this machine, and how long ago that is."""
    when = when_of(at)
    return f"{when.astimezone():%Y-%m-%d %H:%M:%S}, {ago_words(at)}" if when else ""


def link(view: str, name: object) -> Row:
    """A row that opens something else; capital letters do nothing to it."""
    return Row("", str(name), Where(view, str(name)))


def _call(page: Page, title: str, value: Any, width: int) -> None:
    page.gap()
    page.add(heading(title))
    lines = call_lines(value)
    for name, text in lines:
        page.add(*paragraph(f"{name}={text}" if name else text, width))
    if not lines:
        page.add(cell("no arguments", "dim"))


def _error(page: Page, title: str, error: str, width: int) -> None:
    page.gap()
    page.add(heading(title))
    page.add(*paragraph(error, width, "red"))


# ---- jobs and letters


def job(data: Mapping[str, Any], width: int, given: Given, shows_values: bool) -> Page:
    """Args:
    shows_values: arguments and results are shown.
    """
    found = data["job"]
    page = Page(data["title"], subject=Row("job", data["id"], status=str(found["status"])))
    state = marked(status_mark(found["status"]))
    if (found.get("attempt") or 0) > 1 or found.get("retries"):
        retries = f" of {found['retries'] + 1}" if found.get("retries") else ""
        state.append_text(cell(f"  attempt {found.get('attempt')}{retries}"))
    if found.get("deaths"):
        state.append_text(cell(f"  {found['deaths']} death{'' if found['deaths'] == 1 else 's'}", "red"))
    if data["is_letter"]:
        state.append_text(cell("  a dead letter, too: enter", "yellow"))
    page.add(state, row=link("dead", data["id"]) if data["is_letter"] else None)
    if found.get("why"):
        page.add(*paragraph(f"It has not started: {found['why']}.", width, "yellow"))
    page.lines += _timeline(data["bars"], width)
    page.gap()
    page.lines += facts(_job_facts(found, data["limit_name"]), width)
    if not shows_values:
        page.gap()
        page.add(cell("Arguments and results are not shown here.", "dim"))
    elif found.get("arguments") is not None:
        _call(page, "Arguments", found["arguments"], width)
    else:
        page.gap()
        page.add(*paragraph(f"Its arguments are not known here. {found.get('sealed') or ''}", width, "dim"))
    if found.get("value") is not None and shows_values:
        _call(page, "Result", found["value"], width)
    if data["error"]:
        _error(page, "Error", data["error"], width)
    _attempts(page, found, width)
    for title, ids in (("Needs the values of", found.get("deps") or ()), ("Has sent", data["children"])):
        if ids:
            page.gap()
            page.add(heading(title, count(len(ids))))
            page.lines += [Line(cell(each), link("jobs", each)) for each in ids[:50]]
    return page


def _job_facts(found: Mapping[str, Any], limit: str) -> list[tuple[str, Text | str | None, Row | None]]:
    needs = str(found.get("needs") or "")
    progress = found.get("progress")
    done = ""
    if progress:
        total = f" of {count(progress['total'])}" if progress["total"] else ""
        done = f"{count(progress['current'])}{total} {progress['message']}"
    queue = str(found.get("queue") or "")
    priority = f", priority {found['priority']}" if "priority" in found and queue else ""
    ahead = f", {count(found['ahead'])} come before it" if found.get("ahead") is not None else ""
    ttl = found.get("result_ttl")
    moments = (("sent_at", "sent"), ("due_at", "due"), ("started_at", "started"), ("finished_at", "ended"))
    return [
        ("task", task_cell(found.get("task")), link("tasks", found["task"]) if found.get("task") else None),
        ("queue", f"{queue}{priority}", link("queues", queue) if queue else None),
        *((word, moment(found.get(name)), None) for name, word in (*moments, ("expires_at", "expires"))),
        ("worker", found.get("worker"), None),
        ("CPU", duration(found.get("cpu") or None), None),
        ("peak memory", size(found.get("memory") or None), None),
        ("progress", done, None),
        ("time limit", duration(found.get("timeout") or None), None),
        ("limit", f"{found['limit']}{ahead}" if found.get("limit") else "", link("limits", limit)),
        ("needs", "the end of a pause" if needs.startswith("pause:") else needs, None),
        ("keeps its result", duration(ttl) if ttl is not None else "", None),
        ("sent by", found.get("parent"), link("jobs", found.get("parent"))),
        ("trace", found.get("trace"), None),
        ("graph", found.get("graph"), link("graphs", found.get("graph"))),
        ("last death", cell(found.get("last_death"), "red"), None),
        ("from", cell(found.get("from"), "dim"), None),
    ]


def _timeline(bars: Sequence[Bar], width: int) -> list[Line]:
    """The waits and runs of a job, one below the other, each where it stands in the whole."""
    space = max((len(bar.label) for bar in bars), default=0) + 2
    room = max(min(_BAR, width - space - 30), 10)
    styles = {"good": "green", "bad": "red", "warn": "yellow", "run": "cyan"}
    lines = []
    for bar in bars:
        start = int(bar.start / 1000 * room)
        long = min(max(round(bar.width / 1000 * room), 1), max(room - start, 1))
        start = min(start, room - 1)
        text = cell(f"{bar.label:<{space}}", "dim").append_text(cell(" " * start))
        text.append_text(cell("━" * long, styles.get(bar.kind, "dim"))).append_text(cell(" " * (room - start - long)))
        lines.append(Line(text.append_text(cell(f"  {bar.words}"))))
    return lines


_TRAIL = (Column("ended as"), Column("worker", 2, cut="front"), Column("when", 1), Column("why", cut="end"))


def _attempts(page: Page, found: Mapping[str, Any], width: int) -> None:
    if trail := found.get("trail"):
        page.gap()
        page.add(heading("Attempts", "that ended without an outcome"))
        rows: list[tuple[Row | None, list[Text | str]]] = [
            (None, [marked(trail_mark(how)), cell(worker, "dim"), cell(ago_words(at), "dim"), cell(why)])
            for at, worker, how, why in reversed(trail)
        ]
        page.lines += table(_TRAIL, rows, width)
    if failures := found.get("failures"):
        page.gap()
        page.add(heading("Runs that failed"))
        for each in failures:
            page.add(*paragraph(f"{each['attempt']}  {each['worker']}  {each['at']}  {each['error']}", width))
    if columns := found.get("columns"):
        page.gap()
        page.add(heading("Columns of its row"))
        page.lines += facts([(str(name), cell(each), None) for name, each in columns.items()], width)


def letter(data: Mapping[str, Any], width: int, given: Given, shows_values: bool) -> Page:
    found = data["letter"]
    graph_id = str(found.get("graph") or "")
    page = Page(data["title"], subject=Row("letter", data["id"], graph=graph_id))
    queue = str(found.get("queue") or "")
    of = f" of {found['retries'] + 1}" if found.get("retries") else ""
    attempts = f"{found['attempt']}{of}" if found.get("attempt") else ""
    pairs: list[tuple[str, Text | str | None, Row | None]] = [
        ("job", data["id"], link("jobs", data["id"])),
        ("task", task_cell(found.get("task")), link("tasks", found.get("task"))),
        ("queue", queue, link("queues", queue)),
        *((word, moment(found.get(name)), None) for name, word in (("sent_at", "sent"), ("started_at", "started"))),
        ("given up", moment(found.get("dead_at")), None),
        ("attempts", attempts, None),
        ("deaths", count(found["deaths"]) if found.get("deaths") else "", None),
        ("worker", found.get("worker"), None),
        ("time limit", duration(found.get("timeout") or None), None),
        ("limit", found.get("limit"), None),
        ("sent by", found.get("parent"), link("jobs", found.get("parent"))),
        ("trace", found.get("trace"), None),
        ("graph", graph_id, link("graphs", graph_id)),
    ]
    page.lines += _timeline(data["bars"], width)
    page.gap()
    page.lines += facts(pairs, width)
    if not shows_values:
        page.gap()
        page.add(cell("Arguments are not shown here.", "dim"))
    elif data["arguments"] is not None:
        _call(page, "Arguments", data["arguments"], width)
    else:
        page.gap()
        page.add(*paragraph(f"Its arguments cannot be read here. {found.get('sealed') or ''}", width, "dim"))
    why = data["error"] or f"Its outcome cannot be read here. {found.get('outcome') or ''}"
    _error(page, "Why it was given up", why, width)
    _attempts(page, found, width)
    return page
