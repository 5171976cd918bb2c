"""``aiotask dead``: jobs that were given up. Look at them, run them again, or remove them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from .asking import confirm, progress
from .bulk import told
from .filters import After, InQueue, Limit, OfTask, Since, Until, WithError
from .group import ByDefault, add
from .one_job import show_one
from .options import AppName, Database, Json, Url, Yes, option
from .output import ago, console, informative, page_table, plain, print_json, quoted

if TYPE_CHECKING:
    from aiotask.ops.connection import Connection
    from aiotask.ops.letters import Done, Filter, Verb

__all__ = ["app"]

app = typer.Typer(
    cls=ByDefault,
    help="List the dead letters, which are jobs that were given up; show, run again or remove them.",
    rich_markup_mode="rich",
)

JobId = Annotated[str, typer.Argument(metavar="ID", help="ID of the job.")]
JobIds = Annotated[list[str] | None, typer.Argument(metavar="ID", help="IDs of the jobs.")]
Everything = Annotated[bool, option("--all", help="Every dead letter.")]

#: Graphs that are named when their jobs were skipped.
_MOST_GRAPHS = 10


@dataclass(frozen=True)
class Chosen:
    """The letters that a command acts on, as the user chose them: by ID, by filter, or all. The fields are options."""

    ids: JobIds = None
    task: OfTask = None
    queue: InQueue = None
    error: WithError = None
    since: Since = None
    until: Until = None
    everything: Everything = False
    yes: Yes = False
    name: AppName = None
    url: Url = None
    database: Database = None
    as_json: Json = False


def _on_chosen(command: Callable[[Chosen], None]) -> Callable[..., None]:
    """The command with the fields of ``Chosen`` as its options."""

    @wraps(command)
    def run(**options: Any) -> None:
        command(Chosen(**options))

    run.__signature__ = inspect.signature(Chosen, eval_str=True)  # type: ignore[attr-defined]
    run.__annotations__ = get_type_hints(Chosen, include_extras=True)
    return run


def list_(
    task: OfTask = None,
    queue: InQueue = None,
    error: WithError = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 20,
    after: After = "",
    name: AppName = None,
    url: Url = None,
    database: Database = None,
    as_json: Json = False,
) -> None:
    """List the dead letters, the latest first.

    A dead letter is a job that killed three processes, or that failed in its last retry. The latest 10,000 are kept,
    with their arguments. With --database, rows that have FAILED are listed too; all of them are kept.

    [bold]Examples[/bold]

      aiotask dead list
      aiotask dead list --task shop.tasks:render --since 1h
      aiotask dead list --error SIGSEGV --json
      aiotask dead list --queue thumbnails --database sqlite:///shop.db
    """
    import asyncio

    from aiotask.ops.connection import Place
    from aiotask.ops.letters import Filter, read_page

    wanted = Filter(task, queue, error, since, until)
    found = asyncio.run(read_page(Place(name, url, database), wanted, after, limit))
    if as_json:
        print_json(found)
        return
    _show_page(found, is_first=not after)


def show(id: JobId, name: AppName = None, url: Url = None, database: Database = None, as_json: Json = False) -> None:
    """Show one dead letter: its arguments, its error, and what is known about the process that it killed.

    [bold]Examples[/bold]

      aiotask dead show 00a1b2c3d4e5f6a7b-2a
      aiotask dead show 00a1b2c3d4e5f6a7b-2a --json
    """
    import asyncio

    from aiotask.ops.connection import Place
    from aiotask.ops.letters import read_letter

    letter = asyncio.run(read_letter(id, Place(name, url, database)))
    print_json(letter) if as_json else show_one(letter)


@_on_chosen
def replay(chosen: Chosen) -> None:
    """Run dead letters again: by ID, by filter, or all.

    Each becomes a job with the same ID, as if it had just been sent: its retries and deaths are counted from zero, and
    its new outcome replaces the old one. Repeating the command does no harm: a dead letter is replayed once.

    A job of a graph runs again with what depends on it: [bold]aiotask graphs replay[/bold]. Here it is skipped.

    [bold]Examples[/bold]

      aiotask dead replay 00a1b2c3d4e5f6a7b-2a
      aiotask dead replay --task shop.tasks:render --since 1h
      aiotask dead replay --error ConnectionRefused --yes
      aiotask dead replay --all
      aiotask dead replay thumbnails/42 --database sqlite:///shop.db
    """
    done = _act("replay", chosen)
    if chosen.as_json:
        print_json(
            {"replayed": done.moved, "missing": done.missing, "outdated": done.outdated, "of_graphs": done.of_graphs}
        )
    else:
        _print_done("Replayed", done, bool(chosen.ids))
    if done.unknown or done.outdated or done.of_graphs:
        raise typer.Exit(1)


@_on_chosen
def delete(chosen: Chosen) -> None:
    """Remove dead letters for good: by ID, by filter, or all.

    The outcome of the job is kept until its result TTL is over, and in the history. An ID without a dead letter
    is not an error. A row stays in its table, as CANCELLED.

    The letter of a job of a graph stays until the graph runs again ([bold]aiotask graphs replay[/bold]) or is no longer
    kept. Here it is skipped.

    [bold]Examples[/bold]

      aiotask dead delete 00a1b2c3d4e5f6a7b-2a
      aiotask dead delete --until 30d --yes
      aiotask dead delete --all
    """
    done = _act("delete", chosen)
    if chosen.as_json:
        print_json({"deleted": done.moved, "missing": done.missing, "of_graphs": done.of_graphs})
    else:
        _print_done("Deleted", done, bool(chosen.ids))
    if done.of_graphs:
        raise typer.Exit(1)


def _act(verb: Verb, chosen: Chosen) -> Done:
    """Replay or delete the letters with these ids, or, once the user has confirmed, those that match the filter."""
    import asyncio

    from aiotask.errors import ConfigError
    from aiotask.ops.letters import Filter

    wanted = Filter(chosen.task, chosen.queue, chosen.error, chosen.since, chosen.until)
    given = bool(chosen.ids) + chosen.everything + (not wanted.is_open and not chosen.everything)
    if given != 1:
        which = "IDs cannot be combined with --all or filters" if given else "no jobs were named"
        raise ConfigError(
            f"Nothing was done: {which}. Give IDs (aiotask dead {verb} ID), filters (--task, --queue, --error, "
            "--since, --until), or --all."
        )
    return asyncio.run(_moved(verb, chosen, wanted))


async def _moved(verb: Verb, chosen: Chosen, wanted: Filter) -> Done:
    from aiotask.ops.actions import Actions
    from aiotask.ops.connection import Place
    from aiotask.ops.letters import Done
    from aiotask.ops.visitors import operator

    actions = Actions(Place(chosen.name, chosen.url, chosen.database), operator())
    if chosen.ids:
        return await actions.move_letters(verb, list(dict.fromkeys(chosen.ids)))
    async with actions.letters(verb, wanted) as found:
        if chosen.everything and chosen.name is None:
            _refuse_several(verb, found.opened)
        number, done = found.count(), Done()
        if number and not chosen.yes:
            confirm(verb, f"{number:,} dead letter{'s' if number > 1 else ''}", "aiotask dead list")
        with told(lambda: _letters(done)), progress(f"{verb.capitalize()} dead letters", number) as show:
            await found.run(done, show)
        return done


def _letters(done: Done) -> str:
    number = len(done.moved) + len(done.missing) + len(done.outdated)
    return f"{number:,} dead letter{'' if number == 1 else 's'}"


def _refuse_several(verb: Verb, opened: Sequence[Connection]) -> None:
    """Refuse ``--all`` where several apps are on the server."""
    from aiotask.errors import ConfigError

    if len({each.name for each in opened}) > 1:
        raise ConfigError(
            f"Nothing was done: several apps are on this server ({', '.join(each.label for each in opened)}), "
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
    graphs = list(dict.fromkeys(done.of_graphs.values()))
    for graph in graphs[:_MOST_GRAPHS]:
        skipped = [id for id, of in done.of_graphs.items() if of == graph]
        what = plain(skipped[0]) if len(skipped) == 1 else f"{len(skipped):,} dead letters"
        terminal.print(
            f"[yellow]Skipped {what}, of graph {plain(graph)}.[/yellow] Run it again: "
            f"aiotask graphs replay {plain(graph)}",
            soft_wrap=True,
        )
    if len(graphs) > _MOST_GRAPHS:
        terminal.print(f"[yellow]Skipped also jobs of {len(graphs) - _MOST_GRAPHS:,} other graphs.[/yellow]")


def _show_page(page: list[dict[str, Any]], *, is_first: bool) -> None:
    terminal = console()
    if not page:
        terminal.print("No dead letter matches." if is_first else "There are no more dead letters.")
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
    if following := page[-1].get("after"):
        terminal.print(f"[dim]Next page: --after {quoted(following)}[/dim]", soft_wrap=True)
    terminal.print("[dim]Details of one: aiotask dead show ID. Run it again: aiotask dead replay ID[/dim]")
    if any("graph" in letter for letter in page):
        terminal.print("[dim]A job of a graph runs again with its graph: aiotask graphs replay ID[/dim]")


add(app, list_, name="list")
add(app, show, replay, delete)
