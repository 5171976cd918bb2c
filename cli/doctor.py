"""``aiotask doctor``: checks of all that a deployment stands on, each with its fix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from .options import AppName, Database, Json, ResultDb, Url, option
from .output import console, plain, print_json

if TYPE_CHECKING:
    from rich.console import Console

    from aiotask.ops.checks import Check

__all__ = ["doctor"]


Live = Annotated[
    bool,
    option(
        "--live",
        help="Ask only the workers on this machine whether any of them hangs, as a liveness probe does.",
    ),
]
Ready = Annotated[
    bool,
    option(
        "--ready",
        help="Ask only the workers on this machine whether they run jobs, as a readiness probe does.",
    ),
]


def doctor(
    name: AppName = None,
    url: Url = None,
    database: Database = None,
    result_db: ResultDb = None,
    as_json: Json = False,
    live: Live = False,
    ready: Ready = False,
) -> None:
    """Check the server, the database, the workers and this machine, and say how to fix what is wrong.

    The exit code is 0 if no check fails (warnings are allowed), else 1. With --live or --ready only the workers of this
    machine are asked (those of this user, or the one at AIOTASK_HEALTH_PORT), and the answer is one line; with --name,
    only those that serve this app.

    [bold]Examples[/bold]

      aiotask doctor
      aiotask doctor --name shop --url redis://localhost:6379
      aiotask doctor --database postgresql://db/shop
      aiotask doctor --json
      aiotask doctor --live     [dim]# for a probe: exit code 0 or 1[/dim]
      aiotask doctor --ready --name shop
    """
    if live or ready:
        if live and ready:
            raise typer.BadParameter("--live and --ready cannot be combined. Give one of them.")
        raise typer.Exit(_probe("live" if live else "ready", name, as_json=as_json))
    import asyncio
    from dataclasses import asdict

    from aiotask.daemon.health.probe import nearby
    from aiotask.ops.checks import check_all
    from aiotask.ops.connection import Place

    checks = asyncio.run(check_all(Place(name, url, database), result_db, nearby))
    failed = any(check.state == "fail" for check in checks)
    if as_json:
        print_json({"ok": not failed, "checks": [asdict(check) for check in checks]})
    else:
        _show(checks)
    raise typer.Exit(1 if failed else 0)


def _probe(question: str, app: str | None, *, as_json: bool = False) -> int:
    from aiotask.daemon.health.probe import probe

    well, line = probe(question, app)
    if as_json:
        print_json({"ok": well, "why": line})
    else:
        print(line)
    return 0 if well else 1


_MARKS = {"ok": "[green]■[/green]", "warn": "[yellow]![/yellow]", "fail": "[red]×[/red]"}  # noqa: RUF001


def _show(checks: list[Check]) -> None:
    terminal = console()
    width = max(len(check.name) for check in checks)
    for check in checks:
        _show_line(terminal, f"{_MARKS[check.state]} {plain(check.name):<{width}}  ", plain(check.detail, 400))
        if check.fix:
            _show_line(terminal, " " * (width + 4), f"[bold]{plain(check.fix, 400)}[/bold]")
    states = [check.state.value for check in checks]
    terminal.print(f"\n{states.count('ok')} ok, {states.count('warn')} to look at, {states.count('fail')} failed")


def _show_line(terminal: Console, head: str, text: str) -> None:
    """One line for a pipe; on a terminal the text is wrapped into the column beside its head."""
    from rich.table import Table

    if not terminal.is_terminal:
        terminal.print(f"{head}{text}", soft_wrap=True)
        return
    line = Table.grid()
    line.add_column(no_wrap=True)
    line.add_column(overflow="fold")
    line.add_row(head, text)
    terminal.print(line)
