"""A page of jobs on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .one_job import coloured, needs_text
from .output import ago, console, informative, page_table, plain, quoted

if TYPE_CHECKING:
    from aiotask.ops.jobs import Found

__all__ = ["SEARCH_TIME", "show_page"]

#: Seconds that a search takes before it says how far it has looked.
SEARCH_TIME = 2.0
#: Least width of the last column, in characters.
_LEAST_MORE = 8


def show_page(found: Found, *, is_first: bool, in_database: bool) -> None:
    """Print the jobs of a page, and where the next one begins.

    Args:
        is_first: it is the first page.
        in_database: jobs are rows, too.
    """
    terminal, page = console(), found.jobs
    goes_on = f"[dim]Next page: --after {quoted(found.after)}[/dim]"
    if not page and found.after:
        terminal.print(f"No job matches among the {found.looked:,} that were looked at so far.", soft_wrap=True)
        terminal.print(goes_on, soft_wrap=True)
        return
    if not page:
        elsewhere = "; finished rows are in their tables" if in_database else ""
        nothing = f"No unfinished job matches. For finished jobs: aiotask results{elsewhere}"
        terminal.print(nothing if is_first else "There are no more jobs.", soft_wrap=True)
        return
    columns = ["app", "id", "status", "task", "queue", "attempt", "sent", "more"]
    rows = [
        [
            plain(job["app"]),
            plain(job["id"]),
            coloured(job["status"]),
            plain(job.get("task", "?")),
            plain(job.get("queue", "?")),
            str(job.get("attempt", "")),
            ago(job.get("sent_at")),
            _more(job),
        ]
        for job in page
    ]
    # A cut moment says nothing, so these are shown whole.
    moments = [len(row[-1]) for job, row in zip(page, rows, strict=True) if "due_at" in job]
    table = page_table(*informative(columns, rows), terminal.width, last_width=max([_LEAST_MORE, *moments]))
    terminal.print(table)
    if found.after:
        terminal.print(goes_on, soft_wrap=True)


def _more(job: dict[str, Any]) -> str:
    if "error" in job:
        return plain(job["error"], 80)
    if "sealed" in job:
        return plain(job["sealed"])
    if "due_at" in job:
        return f"due {ago(job['due_at'])}"
    if "needs" in job:
        return needs_text(job["needs"])
    if job["status"] == "WAITING":
        return f"graph {plain(job.get('graph', ''))}"
    if job["status"] == "RUNNING":
        return plain(job.get("worker", ""))
    return plain(job.get("last_death", ""))
