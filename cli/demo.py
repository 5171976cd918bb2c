"""``aiotask demo``: real work on real input, checked against the same work done here."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .options import Concurrency, Url, count, option
from .output import console, plain, table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from .demo_run import Run

__all__ = ["demo"]

#: Load per CPU from which on the times cannot be compared.
_BUSY = 0.3

Files = Annotated[
    int | None,
    option(
        "--limit",
        "-l",
        parser=count,
        metavar="N",
        envvar="AIOTASK_DEMO_LIMIT",
        show_default="all",
        help="Number of files to measure.",
    ),
]


Web = Annotated[
    bool,
    option("--web", envvar="AIOTASK_DEMO_WEB", help="Run a service that goes on working, with its dashboard, instead."),
]


def demo(concurrency: Concurrency = None, limit: Files = None, url: Url = None, web: Web = False) -> None:
    """Measure every file of Python's standard library in worker processes.

    One job per file parses it and counts lines, functions, classes, branches and nesting.

    Then this process does the same alone: all numbers must agree, and the times are compared.

    [bold]Examples[/bold]

      aiotask demo
      aiotask demo --concurrency 8 --limit 500
      aiotask demo --url redis://localhost:6379
      aiotask demo --web
    """
    if url:
        os.environ["AIOTASK_URL"] = url
    from aiotask.daemon.cpus import cpu_count

    from . import demo_run, demo_tasks
    from .demo_workers import demo_workers, run_until_signalled

    terminal, load = console(), os.getloadavg()[0]
    processes = concurrency or cpu_count()
    if web:
        return _run_web(processes, url)
    files = demo_run.source_files()[:limit]
    history = _history()
    arguments = [demo_tasks.__name__, "--concurrency", str(processes), "--result-db", str(history)]
    terminal.print(f"{len(files):,} files of the standard library in {plain(demo_run.stdlib())}")
    with _progress(terminal) as progress:
        with demo_workers([*arguments, "--log-level", "warning"]) as workers:
            spread = run_until_signalled(demo_run.through_workers(files, processes, workers, progress))
        spread.cpu = workers.cpu_seconds()
        alone = demo_run.alone(files, progress)
    right = _report(terminal, spread, alone, load)
    line = f"aiotask results --task {demo_tasks.measure.name} --db {shlex.quote(str(history))}"
    terminal.print(f"\nThe history of these jobs is in SQLite:\n  [bold]{plain(line, 1000)}[/bold]", soft_wrap=True)
    raise typer.Exit(0 if right else 1)


def _run_web(processes: int, url: str | None) -> None:
    from aiotask.errors import ConfigError

    try:
        from .demo_web import run_web
    except ModuleNotFoundError as error:
        raise ConfigError(f"The dashboard needs {error.name}: pip install 'aiotask[web]'") from error
    run_web(processes, _history(), url)


def _history() -> Path:
    """The history file of the demo, in the state directory, apart from the jobs of the user."""
    from aiotask.embedded.state_directory import StateDirectory

    home = StateDirectory.locate()
    home.prepare()
    return home.path / "demo.db"


def _progress(terminal: Console) -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    return Progress(
        TextColumn("{task.description:<24}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("[dim]{task.fields[rate]}[/dim]"),
        TimeElapsedColumn(),
        console=terminal,
        disable=not terminal.is_terminal,
    )


# ---- the report


def _report(terminal: Console, spread: Run, alone: Run, load: float) -> bool:
    """Print the results; whether all of them are right."""
    _print_complex(terminal, spread)
    _print_times(terminal, spread, alone, load)
    return _print_check(terminal, spread, alone)


def _print_complex(terminal: Console, run: Run) -> None:
    numbers: tuple[Literal["lines", "functions", "classes", "branches", "nesting"], ...]
    numbers = ("lines", "functions", "classes", "branches", "nesting")
    made = table("The ten most complex files", "file", *numbers, right=numbers)
    from .demo_run import stdlib

    home = stdlib()
    for file, found in sorted(run.measures.items(), key=lambda item: (-item[1]["branches"], item[0]))[:10]:
        made.add_row(plain(os.path.relpath(file, home)), *(f"{found[name]:,}" for name in numbers))
    terminal.print(made)


def _print_times(terminal: Console, spread: Run, alone: Run, load: float) -> None:
    from aiotask.daemon.cpus import cpu_count

    numbers = ("files", "lines", "seconds", "CPU seconds", "files/s")
    made = table("", "", *numbers, right=numbers)
    processes = f"{spread.workers} worker process{'' if spread.workers == 1 else 'es'}"
    for label, run in ((processes, spread), ("this process alone", alone)):
        done = len(run.measures)
        lines = sum(found["lines"] for found in run.measures.values())
        rate = done / run.seconds if run.seconds else 0.0
        made.add_row(label, f"{done:,}", f"{lines:,}", f"{run.seconds:.2f}", f"{run.cpu:.2f}", f"{rate:,.0f}")
    terminal.print(made)
    if spread.seconds:
        terminal.print(f"{alone.seconds / spread.seconds:.2f} times as fast, with {cpu_count()} CPUs here.")
    if load > _BUSY * cpu_count():
        terminal.print(
            f"[yellow]Other programs were using the CPU (load {load:.1f} before the start), so the times are not "
            "reliable.[/yellow]"
        )


def _print_check(terminal: Console, spread: Run, alone: Run) -> bool:
    wrong = [file for file, found in alone.measures.items() if spread.measures.get(file) != found]
    unparsed = sum(1 for found in alone.measures.values() if found["error"])
    for file in wrong[:5]:
        found = spread.errors.get(file) or repr(spread.measures.get(file))
        terminal.print(f"[red]wrong: {plain(file)}: {plain(found, 300)}, here {plain(alone.measures[file], 300)}[/red]")
    if wrong:
        terminal.print(f"[red]{len(wrong):,} of {len(alone.measures):,} files do not agree.[/red]")
        return False
    also = f" {unparsed} files cannot be parsed, and both runs report the same error." if unparsed else ""
    terminal.print(f"[green]All {len(alone.measures):,} files agree with the direct run.[/green]{also}")
    return True
