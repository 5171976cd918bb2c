"""Lists of jobs and dead letters as pages of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.text import Text

from aiotask.job import Status
from aiotask.ops.views.marks import more_of, status_mark
from aiotask.ops.views.words import ago_words, count

from .overview import error_lines, running_lines
from .page import Column, Line, Page, Row, Where, cell, heading, marked, paragraph, table, task_cell

__all__ = ["dead", "empty", "filter_words", "filtered", "history", "job_lines", "jobs", "running"]

Given = Mapping[str, str]
#: Dead letters by error of which the list shows the most frequent.
_GROUPS = 5


def empty(words: str, how: str, width: int) -> list[Line]:
    texts = [*paragraph(words, width), *(paragraph(how, width, "dim") if how else [])]
    return [Line(text) for text in texts]


def filter_words(given: Given) -> str:
    """What was asked for besides the status, the range and the place, in words."""
    hidden = ("status", "range", "after", "limit", "order", "looked")
    kept = [f"{name} {value}" for name, value in given.items() if name not in hidden]
    return ", ".join(kept)


def filtered(page: Page, given: Given) -> None:
    if words := filter_words(given):
        page.add(cell(f"Only: {words}  (f changes it)", "yellow"))


# ---- jobs


_JOBS = (
    Column("task", cut="front"),
    Column("job", 1),
    Column("status"),
    Column("queue", 3, cut="end"),
    Column("attempt", 5, right=True),
    Column("when", 2),
    Column("more", 4, cut="end"),
)


def job_lines(found: Sequence[Mapping[str, Any]], width: int) -> list[Line]:
    return table(_JOBS, [_job_row(job) for job in found], width)


def _job_row(job: Mapping[str, Any]) -> tuple[Row, list[Text | str]]:
    return Row("job", job["id"], Where("jobs", job["id"]), status=str(job["status"])), [
        task_cell(job.get("task")),
        cell(job["id"], "dim"),
        marked(status_mark(job["status"])),
        cell(job.get("queue")),
        str(job["attempt"]) if (job.get("attempt") or 0) > 1 else "",
        cell(ago_words(job.get("finished_at") or job.get("sent_at")), "dim"),
        cell(more_of(job), "dim"),
    ]


def jobs(data: Mapping[str, Any], width: int, given: Given) -> Page:
    chosen = str(data["status"] or "").lower()
    names = ("", *(status.lower() for status in Status))
    page = Page(data["title"], after=data["after"], choices=("status", names, chosen), other_order=data["other_order"])
    page.lines += _statuses(data["counts"], chosen, width)
    filtered(page, given)
    if data["order"]:
        page.add(*paragraph(f"{data['order']}{' (o)' if data['other_order'] else ''}", width, "dim"))
    page.lines += job_lines(data["jobs"], width) if data["jobs"] else empty("No job matches.", data["note"], width)
    if data["jobs"] and data["note"]:
        page.add(*paragraph(data["note"], width, "dim"))
    return page


def _statuses(counts: Mapping[Any, int], chosen: str, width: int) -> list[Line]:
    """The statuses, with how many jobs have each where that is counted, in as many lines as they need."""
    lines = [Text("", end="")]
    for name in ("", *(status.lower() for status in Status)):
        number = counts.get(name.upper(), 0)
        word = cell(f"{name or 'all'}{f' {count(number)}' if number else ''}", "reverse" if name == chosen else "")
        if lines[-1].cell_len + word.cell_len + 2 > width:
            lines.append(Text("", end=""))
        lines[-1].append_text(word).append("  ")
    for text in lines:
        text.rstrip()
    return [Line(text) for text in lines]


def running(data: Mapping[str, Any], width: int, given: Given) -> Page:
    page = Page(f"{data['title']} ({count(data['total'])})", after=data["after"])
    filtered(page, given)
    page.lines += running_lines(data["jobs"], width) or empty("No job runs now.", "", width)
    return page


def history(data: Mapping[str, Any], width: int, given: Given) -> Page:
    chosen = str(data["status"] or "").lower()
    found = data["page"]
    page = Page(
        data["title"], after=found.after, choices=("status", ("", "success", "failed", "cancelled", "expired"), chosen)
    )
    if chosen:
        page.add(cell(f"Only: {chosen}  (arrow keys)", "yellow"))
    filtered(page, given)
    page.lines += job_lines(found.jobs, width) if found.jobs else empty("No finished job matches.", found.note, width)
    if found.jobs and found.note:
        page.add(*paragraph(found.note, width, "dim"))
    if found.path:
        page.gap()
        left = data["unrecorded"]
        jobs = "1 finished job waits" if left == 1 else f"{count(left)} finished jobs wait"
        waiting = f"; {jobs} to be recorded" if left else ""
        page.add(*paragraph(f"From the history file {found.path}{waiting}.", width, "dim"))
    return page


# ---- dead letters


_LETTERS = (
    Column("task", cut="front"),
    Column("job", 1),
    Column("queue", 3, cut="end"),
    Column("given up", 2),
    Column("error", cut="end", least=40),
)


def dead(data: Mapping[str, Any], width: int, given: Given) -> Page:
    page = Page(f"{data['title']} ({count(data['total'])})", after=data["after"])
    filtered(page, given)
    if data["groups"] and not filter_words(given) and not given.get("after"):
        some = f"of the newest {count(data['grouped'])}" if data["grouped"] < data["total"] else ""
        page.add(heading("By error and task", some))
        page.lines += error_lines(data["groups"][:_GROUPS], width)
        page.gap()
    rows = []
    for letter in data["letters"]:
        error = str(letter.get("error") or letter.get("sealed") or "?").partition("\n")[0]
        cells: list[Text | str] = [
            task_cell(letter.get("task")),
            cell(letter["id"], "dim"),
            cell(letter.get("queue")),
            cell(ago_words(letter.get("dead_at")), "dim"),
            cell(error),
        ]
        row = Row("letter", letter["id"], Where("dead", letter["id"]), graph=str(letter.get("graph") or ""))
        rows.append((row, cells))
    how = "A dead letter is a job that failed in its last retry, or that killed three processes."
    nothing = "No dead letter matches." if filter_words(given) else "No job was given up."
    page.lines += table(_LETTERS, rows, width) if rows else empty(nothing, how, width)
    return page
