"""``aiotask audit``: what people have done."""

from __future__ import annotations

from typing import Annotated, Any

from .options import AppName, Json, Url, count, option
from .output import ago, console, informative, page_table, plain, print_json

__all__ = ["audit"]

Limit = Annotated[int, option("--limit", "-l", parser=count, metavar="N", help="Number of actions; 1,000 are kept.")]

_COLOURS = {
    "done": "green",
    "refused": "red",
    "failed": "red",
    "stopped": "yellow",
    "begun": "cyan",
    "unreadable": "red",
}


def audit(limit: Limit = 20, name: AppName = None, url: Url = None, as_json: Json = False) -> None:
    """List what people have done to jobs and queues, the latest action first.

    Each action of a command or of the dashboard is one line: who did it and from where, with how many jobs, and how it
    ended; refusals too. An action on all that match a filter, or on more than five ids, is a line when it begins, too:
    if no line with the same action tells of its end, it still runs, or its process was killed. The server keeps the
    newest 1,000 actions of an app, and 250 refusals; the logger aiotask.audit has all actions.

    [bold]Examples[/bold]

      aiotask audit
      aiotask audit --limit 100 --name shop
      aiotask audit --json | jq -r '.[] | select(.ended == "refused").who'
    """
    import asyncio

    from aiotask.ops.audit import read_audit
    from aiotask.ops.connection import Place

    lines = asyncio.run(read_audit(Place(name, url), limit))
    if as_json:
        return print_json(lines)
    terminal = console()
    if not lines:
        terminal.print("The audit has no actions yet. Pauses, cancels and replays are actions, for example.")
        return
    columns = ["app", "when", "who", "from", "verb", "jobs", "ended", "on what"]
    terminal.print(page_table(*informative(columns, [_row(line) for line in lines]), terminal.width, right=("jobs",)))


def _row(line: dict[str, Any]) -> list[str]:
    ended = plain(line["ended"], 20)
    action = f"action {line['action']}" if line["action"] else ""
    more = "; ".join(filter(None, (plain(line["said"], 300), plain(action))))
    said = f" ({more})" if more else ""
    return [
        plain(line["app"]),
        ago(line["at"], brief=True),
        plain(line["who"], 60),
        plain(line["source"], 60),
        plain(line["verb"], 20),
        f"{line['number']:,}" if line["ended"] != "begun" else "",
        f"[{colour}]{ended}[/{colour}]" if (colour := _COLOURS.get(line["ended"])) else ended,
        f"{plain(line['subject'], 200)}{said}",
    ]
