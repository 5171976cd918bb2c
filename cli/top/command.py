"""``aiotask top``: the command."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer

from ..options import AppName, Database, File, Url, duration, option

__all__ = ["top"]

#: Seconds between two looks, at least: the server counts once in two seconds, however many programs ask it.
_SHORTEST = 0.5


def _top(*flags: str, help: str, **settings: Any) -> Any:
    """An option whose variable begins with ``AIOTASK_TOP_``."""
    name = flags[0].removeprefix("--").replace("-", "_").upper()
    return option(*flags, help=help, envvar=f"AIOTASK_TOP_{name}", **settings)


Interval = Annotated[
    float, _top("--interval", "-i", parser=duration, metavar="TIME", show_default="2s", help="Time between two looks.")
]
Once = Annotated[bool, _top("--once", help="Print the overview once, as plain text, and end.")]
ReadOnly = Annotated[bool, _top("--read-only", help="Show everything, change nothing.")]
Allow = Annotated[
    str,
    _top(
        "--allow",
        metavar="VERBS",
        show_default="every verb",
        help="Only these verbs, separated by commas, as for aiotask web.",
    ),
]
HideArguments = Annotated[bool, _top("--hide-arguments", help="Show neither arguments nor results of jobs.")]


def top(
    name: AppName = None,
    url: Url = None,
    database: Database = None,
    db: File = None,
    interval: Interval = 2.0,
    once: Once = False,
    read_only: ReadOnly = False,
    allow: Allow = "",
    hide_arguments: HideArguments = False,
) -> None:
    """Show the dashboard in the terminal: queues, jobs, workers, dead letters, schedules and limits, and act on them.

    It looks through the broker, and imports no code of the apps. The keys are on the last line; ? shows all of them.
    Where the output is no terminal, or TERM is dumb, it prints the overview once.

    [bold]Examples[/bold]

      aiotask top
      aiotask top --url redis://queue.internal --name shop --read-only
      aiotask top --interval 5s
      aiotask top --once
      watch -n 10 aiotask top --once
    """
    from aiotask.errors import ConfigError
    from aiotask.ops.connection import Place
    from aiotask.ops.views.look import Choices
    from aiotask.ops.visitors import ACTS, verbs_named

    from .session import Session

    if interval < _SHORTEST:
        raise ConfigError(f"--interval {interval:g} is too short: give {_SHORTEST:g}s or more.")
    verbs = verbs_named(allow.split(",")) if allow else ACTS
    choices = Choices(frozenset() if read_only else verbs, hide_arguments, result_db=db)
    session = Session(Place(name, url, database), choices)
    if once or not _has_screen():
        from .once import once as page

        return print(page(session, _width()))
    try:
        from .app import Top
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"aiotask top needs {error.name}, which is not installed: pip install 'aiotask[top]'. "
            "aiotask top --once does without it."
        ) from error
    screen = Top(session, interval)
    screen.run()
    if screen.return_code:
        raise typer.Exit(screen.return_code)


def _has_screen() -> bool:
    """Whether there are keys to read, and a terminal that obeys what the screen is drawn with."""
    # The screen is written to stderr.
    is_terminal = sys.stdin.isatty() and sys.stdout.isatty() and sys.stderr.isatty()
    return is_terminal and os.environ.get("TERM", "") not in ("", "dumb")


def _width() -> int:
    import shutil

    return (
        max(shutil.get_terminal_size((80, 24)).columns, 40) if "COLUMNS" in os.environ or sys.stdout.isatty() else 120
    )
