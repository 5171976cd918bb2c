"""``aiotask results``: the history of finished jobs, from the file that workers record into."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Annotated, Any

from .filters import After, Ended, InQueue, JobIdOrNone, OfTask, Since, Until
from .options import File, Json, option
from .output import ago, call_text, console, informative, page_table, plain, print_json, quoted

if TYPE_CHECKING:
    from pathlib import Path

    from aiotask.history.resultdb import HistoryPage, JobRecord, ResultDB
    from aiotask.job import Status
    from aiotask.values.hidden import Hidden

__all__ = ["results"]

#: Jobs that are counted at most.
_COUNTED = 10_000


WithStatus = Annotated[
    Ended | None,
    option(
        "--status",
        "-s",
        envvar="AIOTASK_RESULT_STATUS",
        metavar="STATUS",
        case_sensitive=False,
        help=f"Only jobs with this status: {', '.join(Ended)}.",
    ),
]
OfGraph = Annotated[
    str | None,
    option("--graph", metavar="ID", envvar="AIOTASK_GRAPH", help="Only jobs of the graph with this ID."),
]
Limit = Annotated[int, option("--limit", "-l", min=1, max=10_000, metavar="N", help="Number of jobs per page.")]
WithText = Annotated[
    str | None,
    option("--text", metavar="TEXT", help="Only jobs with this text in their ID, arguments, result or error."),
]
Wide = Annotated[
    bool,
    option(
        "--wide",
        "-w",
        help="Show also the CPU time and memory that each job used, and its worker.",
    ),
]


def results(
    id: JobIdOrNone = None,
    task: OfTask = None,
    status: WithStatus = None,
    queue: InQueue = None,
    graph: OfGraph = None,
    text: WithText = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 20,
    after: After = "",
    db: File = None,
    wide: Wide = False,
    as_json: Json = False,
) -> None:
    """Show finished jobs, the latest first, or one of them.

    They are read from the history file (aiotask worker --result-db FILE). Nothing in it is unpickled or run.
    A page ends with the place where the next one begins. A search by queue or text stops after 2 seconds, and says how
    far it has looked.

    [bold]Examples[/bold]

      aiotask results
      aiotask results --status failed --since 10m
      aiotask results --task shop.tasks:render --limit 50
      aiotask results --queue mail --text ada@example.com
      aiotask results --since 1h --wide
      aiotask results --graph 00a1b2c3d4e5f6a7b-2a
      aiotask results 00a1b2c3d4e5f6a7b-2a
      aiotask results --json --since 2025-12-31
    """
    import asyncio

    from aiotask.history.resultdb import ResultDB
    from aiotask.job import Status
    from aiotask.ops.connection import hidden_here
    from aiotask.ops.describe import describe_record

    history = ResultDB(db)
    if id is not None:
        record, told = asyncio.run(_one(history, id))
        hidden = hidden_here().joined(told)
        print_json(describe_record(record, hidden)) if as_json else _show_one(_shown(record, hidden), history.path)
        return
    ended = Status(status.value.upper()) if status else None
    wanted: dict[str, Any] = {"task": task, "status": ended, "queue": queue, "graph": graph, "text": text}
    wanted |= {"since": since, "until": until}
    page, count, told = asyncio.run(_page(history, wanted, limit, after))
    hidden = hidden_here().joined(told)
    if as_json:
        described = [describe_record(record, hidden) for record in page.records]
        if page.after and described:
            described[-1]["after"] = page.after
        print_json(described)
        return
    _show_page([_shown(each, hidden) for each in page.records], page, count, history.path, wide, is_first=not after)


async def _one(history: ResultDB, id: str) -> tuple[JobRecord, Hidden]:
    """The job, and what the apps of the file hide."""
    from aiotask.errors import ResultExpired

    try:
        record, told = await history.fetch_record(id), await history.hidden()
    finally:
        await history.close()
    if record is None:
        raise ResultExpired(
            f'No finished job "{id}" is in "{history.path}". It may not have ended, or may not be recorded yet: '
            f"aiotask jobs {id}"
        )
    return record, told


async def _page(
    history: ResultDB, wanted: dict[str, Any], limit: int, after: str
) -> tuple[HistoryPage, int | None, Hidden]:
    """The page, how many jobs match, and what the apps of the file hide; None: counting takes long."""
    try:
        page = await history.page(**wanted, limit=limit, after=after)
        count = None if page.is_cut else await history.count_some(1.0, _COUNTED, **wanted)
        return page, count, await history.hidden()
    finally:
        await history.close()


# ---- for people


def _shown(record: JobRecord, hidden: Hidden) -> JobRecord:
    """The record with dots for what is hidden."""
    import json

    from msgspec.structs import replace

    from aiotask.ops.describe import describe_record, read_json

    found = describe_record(record, hidden)
    changed = [name for name in ("arguments", "result") if found[name] != read_json(getattr(record, name))]
    return replace(record, **{name: json.dumps(found[name], ensure_ascii=False) for name in changed})


def _show_page(
    records: list[JobRecord], page: HistoryPage, count: int | None, path: Path, wide: bool, *, is_first: bool
) -> None:
    terminal = console()
    if records:
        _show_records(records, wide)
    elif not page.is_cut:
        nothing = f"No finished job in {plain(path, 1000)} matches." if is_first else "There are no more jobs."
        terminal.print(nothing, soft_wrap=True)
        return
    shown, where = len(records), plain(path, 1000)
    if page.is_cut:
        looked = f"as far as those that ended {ago(page.until)}" if page.until else "at all with a time"
        terminal.print(f"[dim]{shown} found in {where}. The search has looked {looked}.[/dim]", soft_wrap=True)
    elif count is not None:
        total = f"{count:,}+" if count >= _COUNTED else f"{count:,}"
        terminal.print(f"[dim]{shown} of {total} in {where}[/dim]", soft_wrap=True)
    if page.after:
        goes_on = "Go on" if page.is_cut else "Next page"
        terminal.print(f"[dim]{goes_on}: --after {quoted(page.after)}[/dim]", soft_wrap=True)


def _show_records(page: list[JobRecord], wide: bool) -> None:
    terminal = console()
    used = ("cpu", "memory", "worker") if wide else ()
    columns = ["app", "id", "status", "task", "queue", "attempts", "ended", "took", *used, "result"]
    rows = [
        [
            plain(record.app),
            plain(record.id),
            _coloured(record.status),
            plain(record.task or "?"),
            plain(record.queue or "?"),
            plain(record.attempts or ""),
            ago(record.finished_at),
            _took(record),
            *([_cpu(record), _memory(record), plain(record.worker or "")] if wide else []),
            plain(record.error or record.result or "", 80),
        ]
        for record in page
    ]
    right = ("attempts", "took", "cpu", "memory")
    terminal.print(page_table(*informative(columns, rows), terminal.width, right=right))


def _show_one(record: JobRecord, path: Path) -> None:
    from aiotask.ops.describe import read_json

    terminal = console()
    shown = {
        "id": plain(record.id),
        "status": _coloured(record.status),
        "task": plain(record.task or "?"),
        "app": plain(record.app),
        "queue": plain(record.queue or "?"),
        "attempts": plain(record.attempts or "?"),
        "worker": plain(record.worker or ""),
        "sent": _when(record.sent_at),
        "started": _when(record.started_at),
        "ended": _when(record.finished_at),
        "took": _took(record),
        "cpu": _cpu(record),
        "memory": _memory(record),
        "sent by": plain(record.parent or ""),
        "graph": plain(record.graph or ""),
        "needed": plain(", ".join(record.deps), 1000),
        "arguments": plain(call_text(read_json(record.arguments) or ""), 10_000),
        "result": plain(record.result or "", 10_000),
        "earlier": _trail(record),
        "error": plain(record.error or "", 10_000),
        "file": plain(path, 1000),
    }
    for name, text in shown.items():
        if text:
            terminal.print(f"{name:<10} {text}", soft_wrap=True)
    for line in (record.traceback or "").splitlines():
        terminal.print(f"  {plain(line, 1000)}", soft_wrap=True)


def _trail(record: JobRecord) -> str:
    from aiotask.ops.describe import read_json

    runs = read_json(record.trail)
    if not isinstance(runs, list):
        return ""
    return "; ".join(
        f"{_when(run[0])} {plain(' '.join(map(str, run[1:])), 300)}" for run in runs if isinstance(run, list) and run
    )


_COLOURS = {"SUCCESS": "green", "FAILED": "red", "CANCELLED": "yellow", "EXPIRED": "yellow"}


def _coloured(status: Status | None) -> str:
    if status is None:
        return "?"
    colour = _COLOURS.get(status)
    return f"[{colour}]{status}[/{colour}]" if colour else status.value


def _took(record: JobRecord) -> str:
    from aiotask.log.events import in_words

    if not record.started_at or not record.finished_at:
        return ""
    return in_words(max(record.finished_at - record.started_at, 0.0))


def _cpu(record: JobRecord) -> str:
    from aiotask.log.events import in_words

    return "" if record.cpu is None else in_words(max(record.cpu, 0.0))


def _memory(record: JobRecord) -> str:
    return "" if record.memory is None else f"{record.memory / 1e6:,.0f} MB"


def _when(at: float | None) -> str:
    if not at:
        return ""
    try:
        local = datetime.datetime.fromtimestamp(at).astimezone().isoformat(sep=" ", timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        return f"{at} (no time)"
    return f"{local} ({ago(at)})"
