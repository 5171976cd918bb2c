"""The ``aiotask`` command: its sub-commands, and how an error leaves it."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from .audit import audit
from .cancel import cancel
from .dead import app as dead_app
from .demo import demo
from .doctor import doctor
from .graph import graph
from .graphs import app as graphs_app
from .group import ByDefault, Group, add
from .job import job
from .jobs import app as jobs_app
from .limits import app as limits_app
from .pauses import tasks_app
from .prune import prune
from .queues import app as queues_app
from .results import results
from .schedules import app as schedules_app
from .server import app as server_app
from .sql import sql
from .stack import stack
from .top.command import top
from .version import version, version_of
from .watch import watch
from .web import web, web_user
from .worker import worker
from .workers import app as workers_app

__all__ = ["app", "main"]

app = typer.Typer(
    name="aiotask",
    help="Run Python functions in worker processes and get their values back.",
    epilog="Start with [bold]aiotask demo[/bold], then [bold]aiotask worker your.module[/bold]. "
    "Every flag has an environment variable, shown in the help of its command.",
    cls=Group,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"aiotask {version_of('aiotask')}")
        raise typer.Exit


ShowVersion = Annotated[
    bool,
    typer.Option("--version", "-V", is_eager=True, callback=_print_version, help="Print the version and exit."),
]


@app.callback()
def _options(show_version: ShowVersion = False) -> None:
    """Options of ``aiotask`` itself."""


add(app, worker, demo)
app.add_typer(jobs_app, name="jobs")
add(app, job, cancel)
app.add_typer(queues_app, name="queues")
app.add_typer(tasks_app, name="tasks")
app.add_typer(workers_app, name="workers")
results_app = typer.Typer(cls=ByDefault, rich_markup_mode="rich", help="Show finished jobs, or remove old ones.")
add(results_app, results, name="list")
add(results_app, prune)
app.add_typer(results_app, name="results")
add(app, watch, graph)
app.add_typer(graphs_app, name="graphs")
app.add_typer(schedules_app, name="schedules")
app.add_typer(limits_app, name="limits")
add(app, top, web, web_user, audit, stack, doctor, sql, version)
app.add_typer(dead_app, name="dead")
app.add_typer(server_app, name="server")


def main() -> None:
    """Run the command line; an error of aiotask ends it with one line and no traceback."""
    # Answered without typer, since some versions of it load pydantic.
    if sys.argv[1:] in (["--version"], ["-V"]):
        return print(f"aiotask {version_of('aiotask')}")
    if sys.argv[1:] == ["version"] and not {"AIOTASK_JSON", "AIOTASK_SERVER"} & os.environ.keys():
        return version()
    try:
        app(prog_name="aiotask")
    except Exception as error:
        from aiotask.errors import AiotaskError

        from .failure import report

        if not isinstance(error, AiotaskError):
            raise
        sys.exit(report(error))


if __name__ == "__main__":
    main()
