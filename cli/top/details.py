"""One queue, task, host or the like as a page of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.text import Text

from aiotask.ops.ask import choose_processes
from aiotask.ops.hosts import drained
from aiotask.ops.series import RANGES, series_of
from aiotask.ops.views.marks import graph_mark, paused_words, queue_mark, status_mark, task_mark
from aiotask.ops.views.words import ago_words, count, duration, per, rate, size

from .jobs_details import link, moment
from .jobs_lists import job_lines
from .lists import process_lines
from .overview import range_of, running_lines
from .page import Column, Line, Page, Row, Where, cell, facts, heading, marked, paragraph, spark, table, task_cell

__all__ = ["audit_line", "graph", "host", "limit", "queue", "schedule", "stack_page", "task"]

Given = Mapping[str, str]


# ---- queues and tasks


def _charts(data: Mapping[str, Any], names: Sequence[tuple[str, str, str]], width: int, **of: str) -> list[Line]:
    series = series_of(data["ranged"], **of) if data["ranged"].minutes else None
    lines = []
    for name, word, style in names if series is not None else ():
        values = getattr(series, name)
        chart = spark(values, min(width - 30, 60), style)
        if chart:
            known = [each for each in values if each is not None]
            shown = duration if name.startswith(("run_", "wait_")) else per if name != "pending" else count
            text = cell(f"{word:<12}", "dim").append_text(chart)
            lines.append(Line(text.append_text(cell(f"  most {shown(max(known))}", "dim"))))
    return lines


def queue(data: Mapping[str, Any], width: int, given: Given, shows_values: bool) -> Page:
    found, pause, chosen = data["queue"], data["pause"], range_of(given)
    page = Page(data["title"], choices=("range", tuple(RANGES), chosen))
    page.subject = Row("queue", data["name"], is_paused=pause is not None)
    page.add(marked(queue_mark(found), paused_words(pause) if pause else ""))
    if not data["is_known"]:
        page.add(cell("No job has been in a queue of this name.", "yellow"))
    of = {"queue": data["name"]}
    oldest = f", the oldest for {duration(found.oldest)}" if found.oldest is not None else ""
    failed = count(found.ended.get("FAILED", 0))

    def jobs_of(view: str, **more: str) -> Row:
        return Row("", "", Where(view, given={**more, **of}))

    page.lines += facts(
        [
            ("pending", f"{count(found.pending)}{oldest}", jobs_of("jobs", status="pending")),
            ("running", f"{count(found.running)}, {count(found.consumers)} workers consume it", jobs_of("running")),
            ("scheduled", f"{count(found.scheduled)}, retries too", jobs_of("jobs", status="scheduled")),
            ("parked", f"{count(found.parked)}, no worker could run them", jobs_of("jobs", status="parked")),
            ("dead", f"{count(found.dead)}, given up", jobs_of("dead")),
            ("ended", f"{count(sum(found.ended.values()))}, {failed} failed", jobs_of("history")),
        ],
        width,
    )
    charts = (("pending", "pending", "cyan"), ("wait_p95", "wait p95", "yellow"), ("wait_p50", "wait p50", "cyan"))
    if lines := _charts(data, charts, width, queue=data["name"]):
        page.gap()
        page.add(heading("Over time", f"{chosen}; left and right change that"))
        page.lines += lines
    sample = data["sample"]
    if data["tasks"]:
        about = (
            f"about, from {count(sample.looked)} of {count(sample.pending)}" if sample.looked < sample.pending else ""
        )
        page.gap()
        page.add(heading("What is in it", about or "all that is pending"))
        for name, number in data["tasks"]:
            share = f"{100 * number / max(sample.pending, 1):3.0f} %  "
            page.add(cell(share).append_text(task_cell(name)), row=link("tasks", name))
    page.gap()
    page.add(heading("Next", data["order"]))
    page.lines += job_lines(data["jobs"], width) if data["jobs"] else [Line(cell("Nothing waits in it.", "dim"))]
    return page


def task(data: Mapping[str, Any], width: int, given: Given, shows_values: bool) -> Page:
    found, times, chosen = data["task"], data["times"], range_of(given)
    page = Page(data["title"], choices=("range", tuple(RANGES), chosen))
    is_paused = any(not pause.where for pause in found.pauses)
    page.subject = Row("task", data["name"], is_paused=is_paused)
    page.add(marked(task_mark(found)))
    if not data["is_known"]:
        page.add(cell("No live worker has a task of this name.", "yellow"))
    for pause in found.pauses:
        where = f"where {pause.where} " if pause.where else ""
        page.add(*paragraph(f"‖ Paused {where}{paused_words(pause)}", width, "yellow"))
    if times:
        page.lines += facts(
            [
                ("ended", f"{per(times['rate'])}, {count(times['ended'])} in {chosen}", None),
                (
                    "failed",
                    f"{rate(100 * times['failed'])} %, {count(times['retried'])} retried, "
                    f"{count(times['timed_out'])} timed out",
                    None,
                ),
                (
                    "run time",
                    ", ".join(
                        f"{name} {duration(times[name])}" for name in ("p50", "p95", "p99") if times[name] is not None
                    ),
                    None,
                ),
                ("CPU", f"{100 * times['cpu']:.0f} % of what all tasks use", None),
            ],
            width,
        )
    charts = (("succeeded", "ended", "green"), ("failed", "failed", "red"), ("run_p95", "run p95", "cyan"))
    if lines := _charts(data, charts, width, task=data["name"]):
        page.gap()
        page.add(heading("Over time", f"{chosen}; left and right change that"))
        page.lines += lines
    _deploy(page, data["deploy"], width)
    if data["histogram"]:
        page.gap()
        page.add(heading("Run times", "how many runs took how long"))
        for word, number, share in data["histogram"]:
            bar = cell("━" * round(share * max(width - 30, 10)), "cyan")
            page.add(cell(f"{word:>12}  ").append_text(bar).append_text(cell(f" {count(number)}")))
    for title, jobs, nothing in (
        ("Not finished", data["jobs"], "No job of it is unfinished."),
        ("Ended last", data["ended"], data["note"] or "The history has none."),
    ):
        page.gap()
        page.add(heading(title))
        page.lines += job_lines(jobs, width) if jobs else [Line(text) for text in paragraph(nothing, width, "dim")]
    return page


_DEPLOY = (
    Column(""),
    *(Column(title, right=True) for title in ("rate", "failed", "run p50", "run p95", "run p99")),
)


def _deploy(page: Page, deploy: Mapping[str, Any] | None, width: int) -> None:
    """The numbers of a task before the last deploy and since then."""
    if deploy is None:
        return
    page.gap()
    page.add(heading("Before and after a deploy", f"release {deploy['release']}, {ago_words(deploy['at'])}"))
    rows: list[tuple[Row | None, list[Text | str]]] = [
        (None, [word, *(values or [cell("nothing was counted", "dim")] + [""] * 4)]) for word, values in deploy["rows"]
    ]
    page.lines += table(_DEPLOY, rows, width)


# ---- hosts, schedules, limits, graphs, the audit


def host(data: Mapping[str, Any], width: int, given: Given, shows_values: bool) -> Page:
    found = data["host"]
    page = Page(data["title"], subject=Row("host", found["host"], is_paused=bool(found.get("drained_at"))))
    if found.get("is_silent"):
        page.add(cell("× silent", "bold red"))  # noqa: RUF001
    elif found.get("stopping"):
        page.add(cell("⊘ stops", "yellow"))
    if words := drained(found):
        page.add(*paragraph(f"‖ It {words}", width, "yellow"))
    if found["age"] is None:
        page.lines += facts([("name", found["host"], None), ("report", "none yet", None)], width)
    else:
        exits = ", ".join(f"{count(number)} {why}" for why, number in found["exits"].items())
        page.lines += facts(
            [
                ("name", found["host"], None),
                ("heard of", f"{duration(found['age'])} ago", None),
                ("workers", f"{found['serving']} of {found['wanted']}", None),
                ("aiotask, Python", f"{found['aiotask']}, {found['python']}", None),
                ("release", found["release"], None),
                ("memory", size(found["memory"]), None),
                ("broker answers in", duration(found["broker"]), None),
                ("given back", f"{count(found['recovered'])} jobs of dead workers", None),
                ("exits", exits or "none", None),
            ],
            width,
        )
    if found.get("processes"):
        page.gap()
        page.add(heading("Worker processes"))
        page.lines += process_lines(found, width)
    page.gap()
    page.add(heading("Runs longest"))
    page.lines += running_lines(data["running"], width) or [Line(cell("No job runs here for long now.", "dim"))]
    for title, names, view in (("Queues", data["queues"], "queues"), ("Tasks", data["tasks"], "tasks")):
        page.gap()
        page.add(heading(title))
        page.lines += [Line(cell(name), link(view, name)) for name in names]
    return page


def schedule(data: Mapping[str, Any], width: int, given: Given, shows_values: bool) -> Page:
    found = data["schedule"]
    page = Page(data["title"], subject=Row("schedule", data["name"], is_paused=bool(found["paused"])))
    page.add(cell("‖ paused", "yellow") if found["paused"] else cell("▸ runs", "green"))
    queue = str(found["queue"] or "")
    page.lines += facts(
        [
            ("calls", task_cell(found["task"]), link("tasks", found["task"])),
            ("cron", found["cron"], None),
            ("every", duration(found["every"] or None), None),
            ("time zone", found["timezone"], None),
            ("jitter", duration(found["jitter"] or None), None),
            ("missed runs", str(found["missed"]), None),
            ("queue", f"{queue}, priority {found['priority']}" if queue else "", link("queues", queue)),
            ("runs so far", count(found["runs"]), None),
            ("last run", moment(found["last_run"]), None),
            ("paused", moment(found["paused"]), None),
            ("declared by", found["declared_by"] or "a program, at run time", None),
            ("unreadable", cell(found["unreadable"], "red"), None),
        ],
        width,
    )
    page.gap()
    page.add(heading("Next runs"))
    page.add(*(cell(moment(at)) for at in found["next_runs"]))
    if not found["next_runs"]:
        nothing = "It runs no more until it is resumed." if found["paused"] else "Its next runs are not known here."
        page.add(cell(nothing, "dim"))
    for each in found["notes"]:
        page.add(*paragraph(each, width, "dim"))
    return page


_KEYS = (Column("key", cut="end"), Column("running", right=True), Column("waiting", right=True))


def limit(data: Mapping[str, Any], width: int, given: Given, shows_values: bool) -> Page:
    found = data["limit"]
    page = Page(data["title"], subject=Row("limit", found["name"]))
    waits = f", the oldest for {duration(found['oldest'])}" if found["oldest"] is not None else ""
    if found["declared"] is not None:
        page.add(cell("± set by hand", "yellow"))
    if found["why"]:
        page.add(*paragraph(found["why"], width, "yellow"))
    page.lines += facts(
        [
            ("allows", cell(found["allows"], "bold"), None),
            ("its tasks say", found["declared"], None),
            ("running", count(found["running"]), None),
            ("waiting", f"{count(found['waiting'])}{waits}", None),
            ("keys that may start", count(found["open"]), None),
            ("name", found["name"], None),
            ("task", found["task"], link("tasks", found["task"])),
            ("declared by", found["declared_by"] or "?", None),
        ],
        width,
    )
    page.gap()
    page.add(heading("By key", "most waiting jobs first"))
    keys: list[tuple[Row | None, list[Text | str]]] = [
        (None, [cell(each["key"] or "(none)"), count(each["running"] or ""), count(each["waiting"] or "")])
        for each in data["keys"]
    ]
    page.lines += table(_KEYS, keys, width) if keys else [Line(cell("No job of it runs or waits.", "dim"))]
    if data["jobs"]:
        page.gap()
        page.add(heading("Who is in"))
        page.lines += [Line(cell(each), link("jobs", each)) for each in data["jobs"]]
    return page


def graph(data: Mapping[str, Any], width: int, given: Given, shows_values: bool) -> Page:
    info = data["graph"].info
    page = Page(data["title"], subject=Row("graph", data["id"]))
    if info is not None:
        page.add(marked(graph_mark(info.state)))
    left = f", {count(min(info.left, data['total']))} not ended" if info is not None else ""
    page.add(heading("Jobs", f"{count(data['total'])}{left}"))
    states = cell("")
    for word, number in data["statuses"]:
        states.append_text(marked(status_mark(word))).append_text(cell(f" {count(number)}  ", "dim"))
    page.add(states)
    page.gap()
    for line in data["lines"]:
        first, space = line.nodes[0], cell("  " * min(line.depth, 12))
        if len(line.nodes) == 1:
            text = space.append_text(marked(status_mark(first.status))).append_text(cell(f" {first.task} "))
            text.append_text(cell(f"{first.id}{' (above)' if line.is_repeat else ''}", "dim"))
            page.add(text, row=link("jobs", first.id))
        else:
            page.add(space.append_text(cell(f"{count(len(line.nodes))} jobs ", "bold")).append_text(cell(first.task)))
    if data["is_cut"]:
        page.add(cell(f"More of it: aiotask graph {data['id']}", "dim"))
    page.add(
        *paragraph("Below each job stand those whose values it takes, or which its run has returned.", width, "dim")
    )
    return page


def audit_line(line: Mapping[str, Any], width: int) -> Page:
    page = Page("Audit")
    page.lines += facts(
        [
            ("when", moment(line["at"]), None),
            ("who", line["who"], None),
            ("from", line["source"], None),
            ("verb", line["verb"].replace("_", " "), None),
            ("on what", line["subject"], None),
            ("how many", count(line["number"]), None),
            ("ended", line["ended"], None),
            ("more", line["said"], None),
            ("action", line["action"], None),
        ],
        width,
    )
    return page


# ---- stacks


def stack_page(answers: Mapping[str, Any], width: int, job: str) -> Page:
    """Where processes stand, as their hosts have answered; ``job``: the one that runs it alone; empty: all."""
    page = Page("Stacks")
    kinds = {"loop": "event loop", "sync": "thread of sync jobs"}
    for name, answer in sorted(answers.items()):
        if answer is None:
            page.add(*paragraph(f"{name} did not answer within 5 s.", width, "red"))
            continue
        for process in choose_processes(answer, job or None)["processes"]:
            page.gap()
            page.add(heading(process["name"], f"pid {process['pid']} on {name}"))
            if process.get("still"):
                page.add(cell(f"Its event loop has stood still for {duration(process['still'])}.", "red"))
            if process.get("silence"):
                page.add(*paragraph(process["silence"], width, "dim"))
            for each in process["jobs"]:
                blocks = "  ◑ blocks its loop" if each.get("blocks") else ""
                words = f"{each['id']} {each['task']} for {duration(each['seconds'])}{blocks}"
                page.add(cell(words, "cyan"), row=link("jobs", each["id"]))
                _frames(page, each.get("awaits") or (), width)
            for thread in process["threads"]:
                page.add(cell(kinds.get(thread["kind"], "other thread"), "bold"))
                _frames(page, thread["frames"], width)
        if answer.get("note") and not job:
            page.add(*paragraph(f"{name}: {answer['note']}", width, "dim"))
    if not page.lines:
        page.add(*paragraph("No host has this process. The job may have ended, or waits.", width, "dim"))
    return page


def _frames(page: Page, frames: Sequence[Sequence[Any]], width: int) -> None:
    for file, line, function in frames:
        page.add(*paragraph(f"{file}:{line} in {function}", width, indent=2))
