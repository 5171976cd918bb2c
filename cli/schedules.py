"""``aiotask schedules``: what runs by itself and when; pause it, resume it, remove it, run it now."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from .group import ByDefault, add
from .options import AppName, Json, Url, count, option
from .output import ago, console, informative, page_table, plain, print_error, print_json

__all__ = ["app"]

app = typer.Typer(
    cls=ByDefault,
    help="List the schedules on the server; show, pause, resume, remove or run one.",
    rich_markup_mode="rich",
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the schedule, or of the task that declares it.")]
Why = Annotated[str, option("--why", metavar="TEXT", help="The reason, for those who find it paused.")]
Limit = Annotated[int, option("--limit", "-l", parser=count, metavar="N", help="Number of schedules per page.")]
After = Annotated[str, option("--after", metavar="NAME", help="Begin behind this schedule.")]

#: Characters of ``2026-11-29 08:49:00``.
_MOMENT = 19


def list_(limit: Limit = 20, after: After = "", name: AppName = None, url: Url = None, as_json: Json = False) -> None:
    """List the schedules on the server: those that are due next first, paused ones last.

    [bold]Examples[/bold]

      aiotask schedules
      aiotask schedules list --limit 100
      aiotask schedules --json | jq -r '.[] | select(.paused).name'
    """
    import asyncio

    from aiotask.ops.connection import Place
    from aiotask.ops.schedules import read_page

    page = asyncio.run(read_page(Place(name, url), after, limit))
    if as_json:
        print_json(page)
    else:
        _show_page(page, limit, after)


def show(schedule: Name, name: AppName = None, url: Url = None, as_json: Json = False) -> None:
    """Show one schedule with its next five runs, in its time zone and in UTC.

    Below them it explains what happens on days on which the clocks change.

    [bold]Examples[/bold]

      aiotask schedules show shop.tasks:report
      aiotask schedules show report-7 --json | jq '.next_runs[0]'
    """
    import asyncio

    from aiotask.ops.connection import Place
    from aiotask.ops.schedules import read_schedule

    found = asyncio.run(read_schedule(Place(name, url), schedule))
    if as_json:
        print_json(found)
    else:
        _show(found)


def pause(schedule: Name, why: Why = "", name: AppName = None, url: Url = None, as_json: Json = False) -> None:
    """Stop the runs of a schedule until it is resumed. A deploy does not resume it.

    [bold]Examples[/bold]

      aiotask schedules pause shop.tasks:report --why "the numbers are wrong"
      aiotask schedules pause shop.tasks:report --json
    """
    import asyncio

    from aiotask.ops.actions import Actions
    from aiotask.ops.connection import Place
    from aiotask.ops.visitors import operator

    done = asyncio.run(Actions(Place(name, url), operator()).pause_schedule(schedule, why))
    if as_json:
        print_json(done)
    else:
        paused = plain(done["name"])
        console().print(f"Paused {paused}. [dim]To resume it: aiotask schedules resume {paused}[/dim]", soft_wrap=True)


def resume(schedule: Name, name: AppName = None, url: Url = None, as_json: Json = False) -> None:
    """Resume a paused schedule from its next run on. Runs that were due in the meantime are skipped.

    The exit code is 1 if it was not paused.

    [bold]Examples[/bold]

      aiotask schedules resume shop.tasks:report
      aiotask schedules resume shop.tasks:report --json
    """
    _steer(
        "resume", "Resumed {name}. [dim]Next runs: aiotask schedules show {name}[/dim]", schedule, name, url, as_json
    )


def remove(schedule: Name, name: AppName = None, url: Url = None, as_json: Json = False) -> None:
    """Remove a schedule. One that the code of a running worker declares is declared again within a minute.

    [bold]Examples[/bold]

      aiotask schedules remove report-7
      aiotask schedules remove report-7 --json
    """
    _steer("remove", "Removed {name}.", schedule, name, url, as_json)


def run_now(schedule: Name, name: AppName = None, url: Url = None, as_json: Json = False) -> None:
    """Send the job of a schedule now, in addition to its regular runs.

    [bold]Examples[/bold]

      aiotask schedules run-now shop.tasks:report
      aiotask schedules run-now shop.tasks:report --json | jq -r .id
    """
    import asyncio

    from aiotask.ops.actions import Actions
    from aiotask.ops.connection import Place
    from aiotask.ops.visitors import operator

    sent = asyncio.run(Actions(Place(name, url), operator()).run_schedule(schedule))
    if as_json:
        print_json(sent)
    else:
        id = plain(sent["id"])
        console().print(f"Sent as job {id}. [dim]Watch: aiotask watch {id}[/dim]", soft_wrap=True)


def _steer(verb: str, said: str, schedule: str, name: str | None, url: str | None, as_json: bool) -> None:
    import asyncio

    from aiotask.ops.actions import Actions
    from aiotask.ops.connection import Place
    from aiotask.ops.visitors import Verb, operator

    done = asyncio.run(Actions(Place(name, url), operator()).steer_schedule(Verb(verb), schedule))
    if as_json:
        print_json(done)
    elif not done["done"]:
        name = plain(done["name"])
        print_error(f"Not paused: schedule {name}. Its next runs: aiotask schedules show {name}")
    else:
        text = said.format(name=plain(done["name"]))
        if verb == "remove" and done["declared_by"]:
            text += (
                f" [dim]The code of {plain(done['declared_by'])} declares it; while that runs, pause it instead.[/dim]"
            )
        console().print(text, soft_wrap=True)
    if not done["done"]:
        raise typer.Exit(1)


# ---- for people


def _show_page(page: list[dict[str, Any]], limit: int, after: str) -> None:
    terminal = console()
    if not page:
        terminal.print("There are no more schedules." if after else "There are no schedules on the server.")
        return
    columns = ["app", "schedule", "calls", "when", "last run", "next run (UTC)"]
    rows = [
        [
            plain(each["app"]),
            plain(each["name"]),
            plain("" if each["task"] == each["name"] else each["task"] or "?"),
            plain(_when(each)),
            ago(each["last_run"], brief=True) if each["last_run"] else "never",
            _next(each),
        ]
        for each in page
    ]
    terminal.print(page_table(*informative(columns, rows), terminal.width, last_width=_MOMENT))
    if len(page) >= limit:
        terminal.print(f"[dim]Next page: --after {plain(page[-1]['name'])}[/dim]", soft_wrap=True)
    for each in page:
        if each["paused"]:
            terminal.print(f"[yellow]Paused: {plain(each['name'])},[/yellow] {_pause(each)}", soft_wrap=True)
    terminal.print("[dim]One of them: aiotask schedules show NAME[/dim]")


def _when(schedule: dict[str, Any]) -> str:
    if schedule["unreadable"]:
        return "?"
    if schedule["every"]:
        return f"every {schedule['every']:g} s"
    return f"{schedule['cron']} {schedule['timezone']}"


def _next(schedule: dict[str, Any]) -> str:
    if schedule["unreadable"]:
        return "[red]unreadable[/red]"
    if schedule["paused"]:
        return "[yellow]paused[/yellow]"
    return _utc(schedule["next_run"]) if schedule["next_run"] else "(in a moment)"


def _pause(schedule: dict[str, Any]) -> str:
    by = f" by {plain(schedule['paused_by'])}" if schedule["paused_by"] else ""
    why = f": {plain(schedule['paused_why'], 1000)}" if schedule["paused_why"] else "."
    return f"{ago(schedule['paused'])}{by}{why}"


def _utc(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"


def _show(schedule: dict[str, Any]) -> None:
    terminal = console()
    terminal.print(f"[bold]Schedule {plain(schedule['name'])}[/bold] of app {plain(schedule['app'])}", soft_wrap=True)
    terminal.print(_facts(schedule), soft_wrap=True)
    for line in _next_lines(schedule["next_runs"], schedule["timezone"]):
        terminal.print(line, soft_wrap=True)
    for note in schedule["notes"]:
        terminal.print(f"[yellow]{plain(note)}[/yellow]", soft_wrap=True)


def _facts(schedule: dict[str, Any]) -> str:
    if schedule["unreadable"]:
        return f"[red]{plain(schedule['unreadable'])}[/red]"
    jitter = f", put off by up to {schedule['jitter']:g} s" if schedule["jitter"] else ""
    source = f"the code of {schedule['declared_by']}" if schedule["declared_by"] else "a call at run time"
    if also := " and ".join(schedule["also_declared_by"]):
        source += f", and that of {also}"
    times = f"{schedule['runs']:,} time{'' if schedule['runs'] == 1 else 's'}"
    ran = f"It has run {times}, last {ago(schedule['last_run'])}." if schedule["last_run"] else "It has not run yet."
    when = _when(schedule) if schedule["every"] else f"at {schedule['cron']} ({schedule['timezone']})"
    lines = [
        f"Calls {plain(schedule['task'])} {plain(when)}{jitter}. Missed runs: {schedule['missed']}.",
        f"Declared by {plain(source)}. {ran}",
    ]
    if schedule["paused"]:
        lines.append(f"[yellow]Paused[/yellow] {_pause(schedule)}")
    return "\n".join(lines)


def _next_lines(runs: Sequence[float], timezone: str) -> list[str]:
    if not runs:
        return []
    if timezone == "UTC":
        return ["Next runs (UTC):", *(f"  {_utc(each)}" for each in runs)]
    from zoneinfo import ZoneInfo

    zone = ZoneInfo(timezone)
    local = [f"{datetime.fromtimestamp(each, zone):%a %Y-%m-%d %H:%M:%S %z}" for each in runs]
    return [f"Next runs ({timezone}; UTC):", *(f"  {at}   {_utc(each)}" for at, each in zip(local, runs, strict=True))]


add(app, list_, name="list")
add(app, show)
add(app, pause)
add(app, resume)
add(app, remove)
add(app, run_now, name="run-now")
