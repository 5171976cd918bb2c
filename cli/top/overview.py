"""The overview as a page of text, and the rows that other pages show as well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.text import Text

from aiotask.ops.attention import Attention
from aiotask.ops.series import RANGES, series_of
from aiotask.ops.views.marks import Number, paused_words, queue_mark, run_mark
from aiotask.ops.views.words import ago_words, count, duration, per, size

from .page import Column, Line, Page, Row, Where, cell, heading, marked, paragraph, spark, table, task_cell

__all__ = ["error_lines", "host_lines", "overview", "queue_lines", "range_of", "running_lines"]

#: Seconds of waiting, and of a late event loop, from which on a number is red.
_LONG, _LATE = 60.0, 1.0
#: Characters from which on a page is wide.
_WIDE = 130


def overview(data: Mapping[str, Any], width: int, given: Mapping[str, str]) -> Page:
    chosen = range_of(given)
    page = Page(data["title"], choices=("range", tuple(RANGES), chosen))
    page.is_all_paused = data["all_paused"] is not None
    for each in data["attention"]:
        page.lines += _notice(each, data, width)
    page.gap()
    page.lines += _numbers(data["numbers"], data["ranged"], chosen, width)
    page.gap()
    page.add(heading("Queues"))
    page.lines += queue_lines(data, width)
    page.gap()
    page.add(heading("Running longest", f"all {count(data['stats'].running)}: g r"))
    page.lines += running_lines(data["running"], width) or [Line(cell("No job runs for long now.", "dim"))]
    page.gap()
    is_by_minute = bool(data["failures"] and data["failures"][0]["line"])
    about = "by error" if is_by_minute else "dead letters by error"
    page.add(heading("Failures", f"{about}; {count(data['stats'].dead)} dead letters: g d"))
    page.lines += error_lines(data["failures"], width) or [Line(cell("No run has failed.", "dim"))]
    page.gap()
    page.add(heading("Hosts"))
    page.lines += host_lines(data["hosts"], width)
    return page


def range_of(given: Mapping[str, str]) -> str:
    return given.get("range") or "1h"


def _notice(each: Attention, data: Mapping[str, Any], width: int) -> list[Line]:
    """A sentence on what is wrong; its first line leads to what it is about."""
    glyph, style = ("×", "bold red") if each.is_bad else ("•", "yellow")  # noqa: RUF001
    is_paused = each.kind == "all" or (each.kind == "queue" and each.name in data["paused"])
    # What is paused is resumed with a key.
    fix = "" if is_paused else each.fix
    texts = paragraph(f"{glyph} {each.what} {each.rest} {fix}".strip(), width, style)
    views = {
        "dead": "dead",
        "queue": "queues",
        "task": "tasks",
        "job": "jobs",
        "workers": "workers",
        "history": "history",
    }
    to = Where(views[each.kind], each.name) if each.kind in views else None
    if each.kind == "parked":
        to = Where("jobs", given={"status": "parked"})
    row = Row(each.kind, each.name, to, is_paused) if to is not None or each.kind == "all" else None
    return [Line(text, row if not number else None) for number, text in enumerate(texts)]


def _numbers(numbers: Sequence[Number], ranged: Any, chosen: str, width: int) -> list[Line]:
    """The six numbers, each with its line over the range that is chosen."""
    series = series_of(ranged) if ranged.minutes else None
    charts: dict[str, tuple[Sequence[Any], str]] = {}
    if series is not None:
        charts = {
            "Ended": (series.succeeded, "green"),
            "Failed": (series.failed, "red"),
            "Run time p95": (series.run_p95, "cyan"),
            "Wait p95": (series.wait_p95, "yellow"),
            "Pending": (series.pending, "cyan"),
        }
    left = [(each, f"{each.value} {each.unit}".strip(), charts.get(each.title, ((), ""))) for each in numbers]
    values = max(len(value) for _, value, _ in left)
    notes = max(len(each.note) for each in numbers)
    room = width - 13 - values - 2 - notes - 2
    lines = []
    for number, (each, value, (points, style)) in enumerate(left):
        text = cell(f"{each.title:<13}").append_text(cell(f"{value:<{values}}  ", "bold"))
        text.append_text(cell(f"{each.note:<{notes}}  ", "dim"))
        text.append_text(spark(points, min(room, 60), style))
        if not number and charts and room > 70:
            text.append_text(cell(f"  {chosen}", "dim"))
        text.rstrip()
        to = Where(each.view, given={"status": each.status} if each.status else {}) if each.view else None
        lines.append(Line(text, Row("", each.title, to) if to else None))
    return lines


# ---- queues


_QUEUE = (
    Column("queue", cut="end"),
    Column("state", cut="end"),
    Column("pending", right=True),
    Column("last hour", 6),
    Column("oldest waits", 2, right=True),
    Column("running", 1, right=True),
    Column("later", 4, right=True),
    Column("rate", 3, right=True),
    Column("empty in", 5, right=True),
)


def queue_lines(data: Mapping[str, Any], width: int) -> list[Line]:
    if not data["queues"]:
        return [
            Line(cell("No queue has had a job yet.", "dim")),
            Line(cell("Send a job, or start a worker: aiotask worker your.module", "dim")),
        ]
    return table(_QUEUE, [_queue_row(each, data, width) for each in data["queues"]], width, steady=True)


def _queue_row(queue: Any, data: Mapping[str, Any], width: int) -> tuple[Row, list[Text | str]]:
    pause = data["paused"].get(queue.name)
    why = paused_words(pause) if pause else "with everything" if queue.paused and data["all_paused"] else ""
    rate, empty = data["rates"].get(queue.name, (None, None))
    oldest = cell(duration(queue.oldest), "red" if (queue.oldest or 0) > _LONG else "")
    later = queue.scheduled + queue.parked
    line = spark(data["sparks"].get(queue.name, ()), 15, "yellow" if queue.paused else "cyan")
    return Row("queue", queue.name, Where("queues", queue.name), pause is not None), [
        cell(queue.name, "bold"),
        # Who has paused it stands on its page, too.
        marked(queue_mark(queue), why if width >= _WIDE else ""),
        count(queue.pending),
        line,
        oldest,
        count(queue.running) if queue.running else "",
        count(later) if later else "",
        per(rate),
        duration(empty) if empty is not None else "—" if queue.pending and rate is not None else "",
    ]


# ---- what runs, what has failed, and where


_RUNNING = (
    Column("task", cut="front"),
    Column("job", 1),
    Column("queue", 3, cut="end"),
    Column("worker", 4),
    Column("attempt", 5, right=True),
    Column("for"),
    Column("of", 2),
    Column("how"),
)


def running_lines(jobs: Sequence[Mapping[str, Any]], width: int) -> list[Line]:
    if not jobs:
        return []
    rows: list[tuple[Row, list[Text | str]]] = []
    for job in jobs:
        runs = job.get("runs", job) or {}
        seconds, left = runs.get("seconds"), runs.get("left")
        whole = "" if seconds is None else "no limit" if left is None else duration(seconds + left)
        is_late = seconds is not None and left is not None and seconds > 0.8 * (seconds + left)
        rows.append(
            (
                Row("job", job["id"], Where("jobs", job["id"]), status="RUNNING"),
                [
                    task_cell(job.get("task")),
                    cell(job["id"], "dim"),
                    str(job.get("queue") or ""),
                    cell(job.get("worker"), "dim"),
                    str(job["attempt"]) if (job.get("attempt") or 0) > 1 else "",
                    cell(duration(seconds), "red" if is_late else ""),
                    cell(whole, "dim"),
                    marked(run_mark(job)),
                ],
            )
        )
    return table(_RUNNING, rows, width)


_ERRORS = (
    Column("error", cut="end", least=30),
    Column("task", 1, cut="front"),
    Column("jobs", right=True),
    Column("by minute", 4),
    Column("latest", 3),
    Column("message", 2, cut="end"),
)


def error_lines(groups: Sequence[Mapping[str, Any]], width: int) -> list[Line]:
    if not groups:
        return []
    rows: list[tuple[Row, list[Text | str]]] = []
    for group in groups:
        given = {"error": group["error"], **({"task": group["task"]} if group["task"] != "?" else {})}
        cells: list[Text | str] = [
            cell(group["error"], "bold"),
            cell(group["task"]),
            count(group["number"]),
            spark(group["line"], 15, "red"),
            cell(ago_words(group["latest"]), "dim"),
            cell(group["message"], "dim"),
        ]
        rows.append((Row("error", group["error"], Where("dead", given=given)), cells))
    return table(_ERRORS, rows, width)


_HOST = (
    Column("host", cut="end"),
    Column("workers"),
    Column("in flight", 1, right=True),
    Column("memory", 3, right=True),
    Column("loop lag", 1, right=True),
    Column("exits", 5, cut="end"),
    Column("release", 4),
    Column("heard of", 2),
)


def host_lines(hosts: Sequence[Mapping[str, Any]], width: int) -> list[Line]:
    if not hosts:
        return [Line(cell("No worker is live. Start one: aiotask worker your.module", "dim"))]
    return table(_HOST, [_host_row(host) for host in hosts], width)


def _host_row(host: Mapping[str, Any]) -> tuple[Row, list[Text | str]]:
    row = Row("host", host["host"], Where("workers", host["host"]), bool(host.get("drained_at")))
    name = cell(host.get("machine") or host["host"], "bold")
    if host["age"] is None:
        return row, [name, count(len(host["live"])), "", "", "", "", "", cell("never", "dim")]
    if row.is_paused:
        name.append_text(cell(" ‖ drained", "yellow"))
    serving = cell(f"{count(host['serving'])} of {count(host['wanted'])}")
    if host["serving"] < host["wanted"]:
        serving.stylize("red")
    late = host["late"]
    exits = ", ".join(f"{count(number)} {why}" for why, number in (host["exits"] or {}).items())
    return row, [
        name,
        serving,
        count(host["in_flight"]),
        size(host["memory"]) if host["memory"] else "",
        cell(duration(late), "red" if (late or 0) > _LATE else ""),
        cell(exits, "dim"),
        cell(host["release"] or host["aiotask"]),
        cell(f"{duration(host['age'])} ago", "bold red" if host["is_silent"] else "dim"),
    ]
