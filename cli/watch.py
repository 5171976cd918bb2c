"""``aiotask watch``: how far a job is, or a graph, until it has ended."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from .one_job import coloured
from .options import AppName, Json, Url
from .output import console, plain

if TYPE_CHECKING:
    from aiotask.ops.watch import View

__all__ = ["watch"]

#: Characters of the bar on a terminal of 80 columns.
_BAR = 24

JobId = Annotated[str, typer.Argument(metavar="ID", help="ID of the job, or of the graph.")]


def watch(id: JobId, name: AppName = None, url: Url = None, as_json: Json = False) -> None:
    """Show the progress of a job until it has ended: its status, and what it reports with `current_job().progress()`.

    Of a graph it shows how many of its jobs have ended. If the output is not a terminal, and with --json, each change
    is printed as a line. The exit code is 1 if the job does not end as SUCCESS.

    [bold]Examples[/bold]

      aiotask watch 00a1b2c3d4e5f6a7b-2a
      aiotask watch 00a1b2c3d4e5f6a7b-2a --json | jq .current
    """
    import asyncio

    from aiotask.ops.connection import Place

    last = asyncio.run(_follow(id, Place(name, url), as_json))
    if last.status != "SUCCESS":
        raise typer.Exit(1)


async def _follow(id: str, place: object, as_json: bool) -> View:
    from rich.live import Live

    from aiotask.ops.connection import Place
    from aiotask.ops.watch import watch as looks

    assert isinstance(place, Place)
    terminal = console()
    last: View | None = None
    if as_json or not terminal.is_terminal:
        async for last in looks(id, place):
            if as_json:
                print(json.dumps(last.described()), flush=True)
            else:
                terminal.print(_line(last, terminal.width), soft_wrap=True)
    else:
        with Live(console=terminal, auto_refresh=False) as live:
            async for last in looks(id, place):
                live.update(_line(last, terminal.width), refresh=True)
    assert last is not None
    return last


def _line(view: View, width: int) -> str:
    """A line that fits: the task is shortened, then the message."""
    from aiotask.ops.views.words import count

    progress = view.shown
    parts = [coloured(f"{view.status}")]
    room = width - len(view.status) - 1
    if progress is not None:
        numbers = count(progress.current) + ("" if progress.total is None else f"/{count(progress.total)}")
        if (fraction := progress.fraction) is not None:
            done = round(fraction * _BAR)
            parts.append(f"[green]{'━' * done}[/green][dim]{'━' * (_BAR - done)}[/dim] {fraction:4.0%}")
            room -= _BAR + 6
        parts.append(numbers)
        room -= len(numbers) + 1
        message = progress.message.replace("\n", " ")
        if message and room > 2:
            parts.append(f"[dim]{plain(message, min(len(message), max(2, room - 1)))}[/dim]")
            room -= min(len(message), room - 1) + 1
    if room > 8:
        parts.append(f"[dim]{plain(view.task, room - 1)}[/dim]")
    return " ".join(parts)
