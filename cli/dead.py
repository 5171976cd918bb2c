"""``aiotask dead``: jobs that were given up. Look at them, run them again, or remove them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from .asking import confirm, progress
from .group import Group, add
from .one_job import show_one
from .options import AppName, Json, Url, count, option
from .output import ago, console, informative, page_table, plain, print_json
from .results import InQueue, OfTask, Since, Until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiotask.ops.connection import Connection
    from aiotask.ops.letters import Done, Filter, Verb

__all__ = ["app"]

app = typer.Typer(
    cls=Group,
    help="""Show, run again or remove dead letters: jobs that were given up.

    [bold]Examples[/bold]

      aiotask dead list --since 1h
      aiotask dead show 00a1b2c3d4e5f6a7b-2a
      aiotask dead replay --task shop.tasks:render
      aiotask dead delete --all
    """,
    no_args_is_help=True,
    rich_markup_mode="rich",
)

JobId = Annotated[str, typer.Argument(metavar="ID", help="ID of the job.")]
JobIds = Annotated[list[str] | None, typer.Argument(metavar="ID", help="IDs of the jobs.")]
WithError = Annotated[
    str | None,
    option("--error", "-e", metavar="TEXT", help="Only jobs whose error contains this text (case is ignored)."),
]
Limit = Annotated[int, option("--limit", "-l", parser=count, metavar="N", help="Number of jobs per page.")]
Offset = Annotated[int, option("--offset", min=0, metavar="N", help="Number of jobs to skip.")]
Everything = Annotated[bool, option("--all", metavar="", help="Every dead letter.")]
Yes = Annotated[bool, option("--yes", "-y", metavar="", help="Do not ask for confirmation.")]


def list_(
    task: OfTask = None,
    queue: InQueue = None,
    error: WithError = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 20,
    offset: Offset = 0,
    name: AppName = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """List the dead letters, the latest first.

    A dead letter is a job that killed three processes, or that failed in its last retry. The latest 10,000 are kept,
    with their arguments.

    [bold]Examples[/bold]

      aiotask dead list
      aiotask dead list --task shop.tasks:render --since 1h
      aiotask dead list --error SIGSEGV --json
    """
    import asyncio

    from aiotask.ops.letters import Filter, read_page

    wanted = Filter(task, queue, error, since, until)
    found = asyncio.run(read_page(name, url, wanted, limit, offset))
    if as_json:
        print_json(found)
        return
    _show_page(found, limit, offset)


def show(id: JobId, name: AppName = None, url: Url = None, as_json: Json = False) -> None:
    """Show one dead letter: its arguments, its error, and what is known about the process that it killed.

    [bold]Examples[/bold]

      aiotask dead show 00a1b2c3d4e5f6a7b-2a
      aiotask dead show 00a1b2c3d4e5f6a7b-2a --json
    """
    import asyncio

    from aiotask.ops.letters import read_letter

    letter = asyncio.run(read_letter(id, name, url))
    print_json(letter) if as_json else show_one(letter)


def replay(
    ids: JobIds = None,
    task: OfTask = None,
    queue: InQueue = None,
    error: WithError = None,
    since: Since = None,
    until: Until = None,
    everything: Everything = False,
    yes: Yes = False,
    name: AppName = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Run dead letters again: by ID, by filter, or all.

    Each becomes a job with the same ID, as if it had just been sent: its retries and deaths are counted from zero, and
    its new outcome replaces the old one. Repeating the command does no harm: a dead letter is replayed once.

    [bold]Examples[/bold]

      aiotask dead replay 00a1b2c3d4e5f6a7b-2a
      aiotask dead replay --task shop.tasks:render --since 1h
      aiotask dead replay --error ConnectionRefused --yes
      aiotask dead replay --all
    """
    from aiotask.ops.letters import Filter

    wanted = Filter(task, queue, error, since, until)
    done = _act("replay", ids or [], wanted, everything, yes, name, url)
    if as_json:
        of_graphs = {"of_graphs": done.of_graphs} if done.of_graphs else {}
        print_json({"replayed": done.moved, "missing": done.missing, "outdated": done.outdated, **of_graphs})
    else:
        _print_done("Replayed", done, bool(ids))
    if done.unknown or done.outdated or done.of_graphs:
        raise typer.Exit(1)


def delete(
    ids: JobIds = None,
    task: OfTask = None,
    queue: InQueue = None,
    error: WithError = None,
    since: Since = None,
    until: Until = None,
    everything: Everything = False,
    yes: Yes = False,
    name: AppName = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Remove dead letters for good: by ID, by filter, or all.

    The outcome of the job is kept until its result TTL is over, and in the history. An ID without a dead letter
    is not an error.

    [bold]Examples[/bold]

      aiotask dead delete 00a1b2c3d4e5f6a7b-2a
      aiotask dead delete --until 30d --yes
      aiotask dead delete --all
    """
    from aiotask.ops.letters import Filter

    wanted = Filter(task, queue, error, since, until)
    done = _act("delete", ids or [], wanted, everything, yes, name, url)
    if as_json:
        print_json({"deleted": done.moved, "missing": done.missing})
    else:
        _print_done("Deleted", done, bool(ids))


def _act(
    verb: Verb,
    ids: Sequence[str],
    wanted: Filter,
    everything: bool,
    yes: bool,
    name: str | None,
    url: str | None,
) -> Done:
    """Replay or delete the letters with these ids, or, once the user has confirmed, those that match the filter."""
    import asyncio

    from aiotask.errors import ConfigError

    given = bool(ids) + everything + (not wanted.is_open and not everything)
    if given != 1:
        which = "IDs cannot be combined with --all or filters" if given else "no jobs were named"
        raise ConfigError(
            f"Nothing was done: {which}. Give IDs (aiotask dead {verb} ID), filters (--task, --queue, --error, "
            "--since, --until), or --all."
        )
    return asyncio.run(_moved(verb, list(dict.fromkeys(ids)), wanted, everything, yes, name, url))


async def _moved(
    verb: Verb, ids: list[str], wanted: Filter, everything: bool, yes: bool, name: str | None, url: str | None
) -> Done:
    from aiotask.ops.connection import inspectors
    from aiotask.ops.letters import move_ids, move_picked, pick

    async with inspectors(name, url) as opened:
        if ids:
            return await move_ids(verb, opened, ids)
        if everything and name is None:
            _refuse_several(verb, opened)
        picked = await pick(opened, wanted)
        number = sum(len(found) for _, found in picked)
        if number and not yes:
            confirm(verb, f"{number:,} dead letter{'s' if number > 1 else ''}", "aiotask dead list")
        with progress(f"{verb.capitalize()} dead letters", number) as show:
            return await move_picked(verb, picked, show)


def _refuse_several(verb: Verb, opened: list[Connection]) -> None:
    """Refuse ``--all`` where several apps are on the server."""
    from aiotask.errors import ConfigError

    if len(opened) > 1:
        raise ConfigError(
            f"Nothing was done: several apps are on this server ({', '.join(each.app.name for each in opened)}), "
            f"and --all would {verb} the dead letters of each. Name one app: aiotask dead {verb} --all --name NAME"
        )


# ---- for people


def _print_done(done_word: str, done: Done, is_named: bool) -> None:
    terminal = console()
    number = len(done.moved)
    terminal.print(f"{done_word} {number:,} dead letter{'' if number == 1 else 's'}.")
    for id in done.missing if is_named else ():
        known = "" if id in done.unknown else f" Its job is known: aiotask jobs {plain(id)}"
        terminal.print(f"[yellow]{plain(id)} does not exist (any more).[/yellow]{known}", soft_wrap=True)
    for id in done.outdated:
        terminal.print(
            f"[yellow]{plain(id)} was skipped: a newer job with this id is unfinished, or ended later.[/yellow] "
            f"See aiotask jobs {plain(id)}",
            soft_wrap=True,
        )
    for id in done.of_graphs:
        terminal.print(
            f"[yellow]{plain(id)} was skipped: it belongs to a graph, which runs again as a whole.[/yellow] "
            "Use aiotask graphs replay with the ID of the graph.",
            soft_wrap=True,
        )


def _show_page(page: list[dict[str, Any]], limit: int, offset: int) -> None:
    terminal = console()
    if not page:
        terminal.print("There are no more dead letters." if offset else "No dead letter matches.")
        return
    rows = [
        [
            plain(letter["app"]),
            plain(letter["id"]),
            plain(letter.get("task", "?")),
            plain(letter.get("queue", "?")),
            ago(letter["dead_at"]),
            plain(str(letter.get("error", letter.get("sealed", ""))).partition("\n")[0], 300),
        ]
        for letter in page
    ]
    columns = ["app", "id", "task", "queue", "given up", "error"]
    terminal.print(page_table(*informative(columns, rows), terminal.width))
    if len(page) >= limit:
        terminal.print(f"[dim]Next page: --offset {offset + limit}[/dim]")
    terminal.print("[dim]Details of one: aiotask dead show ID. Run it again: aiotask dead replay ID[/dim]")


add(app, list_, name="list")
add(app, show, replay, delete)
