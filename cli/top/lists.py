"""The other lists as pages of text: each function takes what a view has read, and the width in characters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.text import Text

from aiotask.ops.series import RANGES
from aiotask.ops.views.marks import Mark, audit_mark, graph_mark, task_mark
from aiotask.ops.views.words import ago_words, count, duration, per, size

from .jobs_lists import empty, filtered
from .overview import host_lines, queue_lines, range_of
from .page import Column, Line, Page, Row, Where, cell, heading, marked, paragraph, table, task_cell

__all__ = ["audit", "graphs", "limits", "process_lines", "queues", "schedules", "tasks", "workers"]

Given = Mapping[str, str]

# ---- queues, tasks, workers


def queues(data: Mapping[str, Any], width: int, given: Given) -> Page:
    page = Page(data["title"], is_all_paused=data["all_paused"] is not None)
    if data["all_paused"]:
        page.add(cell("‖ Everything is paused.", "yellow"), row=Row("all", "", None, True))
        page.gap()
    page.lines += queue_lines(data, width)
    return page


_TASKS = (
    Column("task", cut="front"),
    Column("state"),
    Column("rate", right=True),
    Column("failed", 1, right=True),
    Column("p50", 3, right=True),
    Column("p95", 2, right=True),
    Column("p99", 5, right=True),
    Column("CPU", 4, right=True),
    Column("workers", 6, right=True),
)


def tasks(data: Mapping[str, Any], width: int, given: Given) -> Page:
    chosen = range_of(given)
    page = Page(
        f"{data['title']} ({count(data['total'])})", after=data["after"], choices=("range", tuple(RANGES), chosen)
    )
    page.add(cell(f"Counted over {chosen}; left and right change that.", "dim"))
    filtered(page, {name: value for name, value in given.items() if name == "q"})
    rows = []
    for task in data["tasks"]:
        total = data["totals"].get(task.task) or {}
        share = f"{100 * total['failed']:.1f} %" if total.get("failed") else ""
        cells: list[Text | str] = [
            task_cell(task.task),
            marked(task_mark(task)),
            per(total.get("rate")),
            cell(share, "red"),
            *(duration(total.get(name)) for name in ("p50", "p95", "p99")),
            f"{100 * total['cpu']:.0f} %" if total.get("cpu") else "",
            count(task.workers),
        ]
        is_paused = any(not pause.where for pause in task.pauses)
        rows.append((Row("task", task.task, Where("tasks", task.task), is_paused), cells))
    nothing = "No task of a live worker matches." if given.get("q") else "No live worker has a task."
    how = "Start a worker: aiotask worker your.module"
    page.lines += table(_TASKS, rows, width) if rows else empty(nothing, how, width)
    return page


_PROCESSES = (
    Column("worker", cut="front"),
    Column("pid", 3, right=True),
    Column("running", right=True),
    Column("started", 2, right=True),
    Column("memory", right=True),
    Column("CPU", 4, right=True),
    Column("loop lag", right=True),
)


def process_lines(host: Mapping[str, Any], width: int) -> list[Line]:
    rows: list[tuple[Row | None, list[Text | str]]] = [
        (
            None,
            [
                cell(", ".join(each["incarnations"])),
                str(each["pid"]),
                count(each["running"]),
                count(each["started"]),
                size(each["memory"]),
                duration(each["cpu"]),
                cell(f"still for {duration(each['still'])}", "red") if each["still"] > 1 else duration(each["lag"]),
            ],
        )
        for each in host["processes"]
    ]
    return table(_PROCESSES, rows, width)


def workers(data: Mapping[str, Any], width: int, given: Given) -> Page:
    page = Page(f"{data['title']} ({count(data['number'])})")
    for sentence in data["skews"]:
        page.add(*paragraph(sentence, width, "yellow"))
    page.lines += host_lines(data["hosts"], width)
    for host in data["hosts"]:
        if host.get("processes"):
            page.gap()
            page.add(heading(host.get("machine") or host["host"], f"{count(len(host['processes']))} processes"))
            page.lines += process_lines(host, width)
    return page


# ---- schedules, limits, audit


_SCHEDULES = (
    Column("schedule", cut="front"),
    Column("when", cut="end"),
    Column("next run"),
    Column("last run", 2),
    Column("runs", 3, right=True),
    Column("queue", 4, cut="end"),
    Column("task", 5, cut="front"),
)


def schedules(data: Mapping[str, Any], width: int, given: Given) -> Page:
    page = Page(data["title"], after=data["after"])
    rows = []
    for each in data["schedules"]:
        when = each["cron"] or (f"every {duration(each['every'])}" if each["every"] else "")
        cells: list[Text | str] = [
            cell(each["name"], "bold"),
            cell(each["unreadable"], "red") if each["unreadable"] else cell(when),
            marked(Mark("‖", "warn", "paused")) if each["paused"] else cell(ago_words(each["next_run"])),
            cell(ago_words(each["last_run"]), "dim"),
            count(each["runs"]),
            cell(each["queue"]),
            cell(each["task"] if each["task"] != each["name"] else "", "dim"),
        ]
        rows.append((Row("schedule", each["name"], Where("schedules", each["name"]), bool(each["paused"])), cells))
    how = "A task runs by itself with cron=… or every=…, or as app.schedules says."
    page.lines += table(_SCHEDULES, rows, width) if rows else empty("Nothing is scheduled.", how, width)
    return page


_LIMITS = (
    Column("limit", cut="front"),
    Column("allows", cut="end", least=34),
    Column("running", right=True),
    Column("waiting", right=True),
    Column("keys that may start", 2, right=True),
    Column("set by hand", 1),
    Column("declared by", 3, cut="end", least=30),
)


def limits(data: Mapping[str, Any], width: int, given: Given) -> Page:
    page = Page(data["title"])
    rows = []
    for each in data["limits"]:
        most = each["numbers"].get("max_running")
        full = bool(most) and each["running"] >= most
        numbers = f"{count(each['running'])} of {count(most)}" if most else count(each["running"] or "")
        cells: list[Text | str] = [
            cell(each["task"] or each["name"], "bold"),
            cell(each["allows"]),
            cell(numbers, "red" if full else ""),
            count(each["waiting"] or ""),
            count(each["open"]) if each["open"] else "",
            cell("± by hand" if each["declared"] is not None else "", "yellow"),
            cell(each["declared_by"], "dim"),
        ]
        rows.append((Row("limit", each["name"], Where("limits", each["name"])), cells))
    how = "A task gets one with max_running=, rate= or limit=Limit(…)."
    page.lines += table(_LIMITS, rows, width) if rows else empty("No task has a limit.", how, width)
    return page


_AUDIT = (
    Column("when"),
    Column("who", cut="end"),
    Column("verb"),
    Column("how many", 2, right=True),
    Column("ended"),
    Column("on what", cut="end"),
    Column("from", 3),
    Column("more", 4, cut="end"),
)


def audit(data: Mapping[str, Any], width: int, given: Given) -> Page:
    page = Page(data["title"], after=data["after"])
    filtered(page, given)
    rows = []
    for line in data["lines"]:
        cells: list[Text | str] = [
            cell(ago_words(line["at"]), "dim"),
            cell(line["who"], "bold"),
            line["verb"].replace("_", " "),
            count(line["number"]) if line["ended"] != "begun" else "",
            marked(audit_mark(line["ended"])),
            cell(line["subject"]),
            cell(line["source"], "dim"),
            cell(" · ".join(filter(None, (line["said"], line["action"] and f"action {line['action']}"))), "dim"),
        ]
        at = repr(line["at"])
        rows.append((Row("line", at, Where("audit", at)), cells))
    how = "Each pause, cancel, replay, purge and the like is a line here, and so is what was refused."
    nothing = "No action matches." if data["total"] else "Nobody has done anything yet."
    page.lines += table(_AUDIT, rows, width) if rows else empty(nothing, how, width)
    return page


# ---- graphs


_GRAPHS = (
    Column("task", cut="front"),
    Column("graph", 1),
    Column("state"),
    Column("jobs ended", right=True),
    Column("failed", right=True),
    Column("since", 2),
)


def graphs(data: Mapping[str, Any], width: int, given: Given) -> Page:
    page = Page(data["title"], after=data["after"])
    rows: list[tuple[Row, list[Text | str]]] = [
        (
            Row("graph", each["id"], Where("graphs", each["id"])),
            [
                cell(each["task"] or "(group)"),
                cell(each["id"], "dim"),
                marked(graph_mark(each["state"], each["failed"])),
                f"{count(each['total'] - each['left'])} of {count(each['total'])}",
                cell("?" if each["failed"] is None else count(each["failed"]) if each["failed"] else "", "red"),
                cell(ago_words(each["since"]), "dim"),
            ],
        )
        for each in data["graphs"]
    ]
    how = "Jobs that take the values of others are sent together, with task.s(…).cast, group or chain."
    page.lines += table(_GRAPHS, rows, width) if rows else empty("No graph is on the server.", how, width)
    return page
