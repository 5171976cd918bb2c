"""``aiotask limits``: how many jobs may run, who is in, who waits and why; and other numbers."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from .group import ByDefault, add
from .options import AppName, Json, Url
from .output import console, informative, page_table, plain, print_error, print_json

__all__ = ["app"]

app = typer.Typer(
    cls=ByDefault,
    help="List the limits of tasks, show which jobs hold a slot and which wait, or change the numbers of a limit.",
    rich_markup_mode="rich",
)

LimitName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the limit, or of a task that has it.")]
Numbers = Annotated[
    list[str],
    typer.Argument(
        metavar="NUMBER=VALUE…",
        help="max_running, max_running_each, rate, rate_each, burst or burst_each; the value none: no limit.",
    ),
]
#: Keys that ``show`` lists at most.
_KEYS = 20
#: Characters of what a limit allows for which names are cut on a narrow terminal.
_ALLOWS = 40


def list_(name: AppName = None, url: Url = None, as_json: Json = False) -> None:
    """List the limits of tasks: what each allows, how many of its jobs run, and how many wait for it.

    [bold]Examples[/bold]

      aiotask limits
      aiotask limits --json | jq -r '.[] | select(.declared != null).name'
    """
    import asyncio

    from aiotask.ops.connection import Place
    from aiotask.ops.limits import read_limits

    found = asyncio.run(read_limits(Place(name, url)))
    if as_json:
        print_json(found)
    else:
        _show_all(found)


def show(limit: LimitName, name: AppName = None, url: Url = None, as_json: Json = False) -> None:
    """Show one limit: what it allows, which jobs hold a slot, how many jobs of each key wait, and why.

    For its keys, it reads 1,000 jobs that run and 1,000 that wait, at most.

    [bold]Examples[/bold]

      aiotask limits show stripe
      aiotask limits show shop.tasks:render
    """
    import asyncio

    from aiotask.ops.connection import Place
    from aiotask.ops.limits import read_limit

    found = asyncio.run(read_limit(Place(name, url), limit))
    if as_json:
        print_json(found)
    else:
        _show_one(found)


def set_(limit: LimitName, numbers: Numbers, name: AppName = None, url: Url = None, as_json: Json = False) -> None:
    """Change the numbers of a limit, at once and for all workers. They hold until they are reset, even across
    deploys.

    [bold]Examples[/bold]

      aiotask limits set stripe rate=20/s
      aiotask limits set shop.tasks:render max_running=1 max_running_each=none
    """
    import asyncio

    from aiotask.ops.actions import Actions
    from aiotask.ops.connection import Place
    from aiotask.ops.limits import numbers_of
    from aiotask.ops.visitors import operator

    _say(asyncio.run(Actions(Place(name, url), operator()).set_limit(limit, numbers_of(numbers))), as_json)


def reset(limit: LimitName, name: AppName = None, url: Url = None, as_json: Json = False) -> None:
    """Restore the numbers of a limit that its tasks declare.

    The exit code is 1 if it had no others.

    [bold]Examples[/bold]

      aiotask limits reset stripe
    """
    import asyncio

    from aiotask.ops.actions import Actions
    from aiotask.ops.connection import Place
    from aiotask.ops.visitors import operator

    found = asyncio.run(Actions(Place(name, url), operator()).reset_limit(limit))
    if found["done"] or as_json:
        _say(found, as_json)
    else:
        print_error(f"Nothing was reset: {_title(found)} has the numbers that its tasks give: {found['allows']}.")
    if not found["done"]:
        raise typer.Exit(1)


add(app, list_, name="list")
add(app, show, name="show")
add(app, set_, name="set")
add(app, reset, name="reset")


# ---- for people


def _title(limit: dict[str, Any]) -> str:
    return plain(limit["task"] or limit["name"])


def _say(limit: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(limit)
        return
    own = f" [dim](its tasks say: {limit['declared']})[/dim]" if limit["declared"] is not None else ""
    console().print(f"{_title(limit)} allows from now on: {limit['allows']}.{own}", soft_wrap=True)


def _show_all(limits: list[dict[str, Any]]) -> None:
    terminal = console()
    if not limits:
        terminal.print("No task has a limit yet. See docs/limits.md: @app.task(max_running=1)")
        return
    columns = ["app", "limit", "running", "waiting", "set by hand", "declared by", "allows"]
    rows = [
        [
            plain(each["app"]),
            _title(each),
            f"{each['running']:,}" if each["numbers"].get("max_running") else "",
            f"{each['waiting']:,}" if each["waiting"] else "",
            "" if each["declared"] is None else "yes",
            plain(each["declared_by"]),
            each["allows"],
        ]
        for each in limits
    ]
    width = min(_ALLOWS, max(len(each["allows"]) for each in limits))
    terminal.print(
        page_table(*informative(columns, rows), terminal.width, right=("running", "waiting"), last_width=width)
    )
    terminal.print("[dim]One of them, with who waits and why: aiotask limits show NAME[/dim]")


def _show_one(limit: dict[str, Any]) -> None:
    terminal = console()
    terminal.print(f"[bold]{_title(limit)}[/bold] of app {plain(limit['app'])} allows {limit['allows']}.")
    if limit["declared"] is not None:
        terminal.print(f"These numbers were set by hand; its tasks say: {limit['declared']}.")
    jobs = limit["jobs"]
    terminal.print(f"in           {plain(', '.join(jobs[:_KEYS]), 1000) or 'no job'}", soft_wrap=True)
    from aiotask.ops.views.words import duration

    oldest = limit["oldest"]
    since = "" if oldest is None else f", the oldest for {duration(oldest)}"
    terminal.print(f"waiting      {limit['waiting']:,}{since}")
    if limit["why"]:
        terminal.print(limit["why"], soft_wrap=True)
    if not limit["keys"]:
        return
    rows = [
        [plain(each["key"] or "(no key)"), f"{each['running']:,}", f"{each['waiting']:,}"]
        for each in limit["keys"][:_KEYS]
    ]
    terminal.print(page_table(["key", "running", "waiting"], rows, terminal.width, right=("running", "waiting")))
    if len(limit["keys"]) > _KEYS:
        terminal.print(f"[dim]{len(limit['keys']) - _KEYS:,} more keys: --json[/dim]")
