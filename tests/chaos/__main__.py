"""``python -m tests.chaos``: hurt it in every way we know, and count what was lost. See the package's docstring."""

from __future__ import annotations

import random
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from .report import Report, headline, markdown
from .runner import perform
from .trial import Trial, names, registered, the_trial

console = Console(emoji=False)


class Server(StrEnum):
    REDIS = "redis"
    VALKEY = "valkey"


def main(
    trials: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Trials to perform.")] = None,
    list_them: Annotated[bool, typer.Option("--list", help="Show the trials and end.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Full sizes (about 3 minutes each); else some seconds.")] = False,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Repeat what was random in an earlier run.")] = None,
    table: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the results as Markdown.")] = None,
    server: Annotated[Server | None, typer.Option(help="Which server; default: the first that is there.")] = None,
) -> None:
    """Perform trials; without a name all of them. Exit code 1: one has failed.

    Examples: python -m tests.chaos --list · python -m tests.chaos massacre --seed 7 ·
    python -m tests.chaos --full --table results.md
    """
    if list_them:
        _list()
        return
    try:
        chosen = [the_trial(name) for name in trials] if trials else registered()
    except LookupError as error:
        raise typer.BadParameter(str(error)) from None
    seed = random.SystemRandom().randrange(1_000_000) if seed is None else seed
    console.print(f"seed {seed}")
    reports = []
    for trial in chosen:
        if lacking := trial.lacks():
            console.print(f"[yellow]skip[/yellow] {trial.number} [bold]{trial.name}[/bold] {lacking}")
            continue
        reports.append(_perform(trial, full, seed, server))
        if table is not None:
            # After each, so that an interrupted run leaves what it knows.
            table.write_text(markdown(reports))
    console.print(headline(reports))
    failed = [report.trial for report in reports if not report.passed]
    if failed:
        console.print(f"[red]{len(failed)} of {len(reports)} failed:[/red] {', '.join(failed)} (seed {seed})")
        raise typer.Exit(1)
    console.print(f"[green]{len(reports)} passed[/green]")


def _list() -> None:
    shown = Table("", "name", "what is done", "passes when", box=None, pad_edge=False)
    found = []
    for name in names():
        try:
            found.append(the_trial(name))
        except Exception as error:
            shown.add_row("", name, f"[red]{type(error).__name__}: {error}", "")
    for trial in sorted(found, key=lambda trial: trial.number):
        shown.add_row(str(trial.number), trial.name, trial.summary, "; ".join(trial.passes))
    console.print(shown)


def _perform(trial: Trial, full: bool, seed: int, server: Server | None) -> Report:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        line = progress.add_task(trial.name, total=None)

        def tell(text: str, done: float, total: float) -> None:
            progress.update(line, description=f"{trial.name}: {text}", completed=done, total=total or None)

        report = perform(trial, "full" if full else "short", seed, server=server and server.value, tell=tell)
    verdict = "[green]pass[/green]" if report.passed else "[red]FAIL[/red]"
    console.print(f"{verdict} {trial.number} [bold]{trial.name}[/bold] {report.seconds:.1f} s")
    for text in report.lines():
        console.print(f"     {text}", markup=False, highlight=False)
    if not report.passed:
        console.print(report.why(), markup=False, style="red", highlight=False)
    return report


if __name__ == "__main__":
    typer.run(main)
