"""``aiotask dead``: jobs that were given up. Look at them, run them again, or remove them."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .described import described_letter, show_one
from .options import AppName, Json, Url, count, option
from .output import ago, console, fitted, plain, print_json, table
from .results import InQueue, OfTask, Since, Until

if TYPE_CHECKING:
    from rich.progress import Progress

    from .connection import Connection

__all__ = ["app"]

#: Letters that are read at a time, and that are moved at a time.
_PAGE, _BATCH = 200, 50

app = typer.Typer(
    help="""Jobs that were given up: look at them, run them again, or remove them.

    [bold]Examples[/bold]

      aiotask dead list --since 1h
      aiotask dead show 00a1b2c3d4e5f6a7b-2a
      aiotask dead replay --task shop.tasks:render
      aiotask dead delete --all
    """,
    no_args_is_help=True,
    rich_markup_mode="rich",
)

JobId = Annotated[str, typer.Argument(metavar="ID", help="Id of the job.")]
JobIds = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Ids of the jobs.")]
WithError = Annotated[
    str | None, option("--error", "-e", metavar="TEXT", help="Only jobs whose error contains this, in any case.")
]
Limit = Annotated[int, option("--limit", "-l", parser=count, metavar="N", help="Jobs on a page.")]
Offset = Annotated[int, option("--offset", min=0, metavar="N", help="Jobs to skip.")]
Everything = Annotated[bool, option("--all", metavar="", help="All that there are.")]
Yes = Annotated[bool, option("--yes", "-y", metavar="", help="Do it without asking.")]


@dataclass(frozen=True)
class _Filter:
    """Which letters are meant; nothing given means all."""

    task: str | None
    queue: str | None
    error: str | None
    since: float | None
    until: float | None

    @property
    def is_open(self) -> bool:
        return self == _Filter(None, None, None, None, None)

    def fits(self, letter: dict[str, Any]) -> bool:
        return (
            (self.task is None or letter.get("task") == self.task)
            and (self.queue is None or letter.get("queue") == self.queue)
            and (self.error is None or self.error.casefold() in str(letter.get("error", "")).casefold())
            and (self.since is None or letter["dead_at"] >= self.since)
            and (self.until is None or letter["dead_at"] < self.until)
        )


@dataclass
class _Done:
    """What became of each id."""

    moved: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    outdated: list[str] = field(default_factory=list)
    #: Of those that are missing: no job of that id is known at all.
    unknown: list[str] = field(default_factory=list)


@app.command("list")
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
    """List the jobs that were given up, the last one first.

    A dead letter is a job that took three processes with it, or that failed in its last retry. The newest 10,000 are
    kept, with their arguments.

    [bold]Examples[/bold]

      aiotask dead list
      aiotask dead list --task shop.tasks:render --since 1h
      aiotask dead list --error SIGSEGV --json
    """
    import asyncio

    wanted = _Filter(task, queue, error, since, until)
    page = asyncio.run(_page(name, url, wanted, limit, offset))
    if as_json:
        print_json(page)
        return
    _show_page(page, limit, offset)


@app.command()
def show(id: JobId, name: AppName = None, url: Url = None, as_json: Json = False) -> None:
    """Show one dead letter: its arguments, its error, and what is known of the process that died of it.

    [bold]Examples[/bold]

      aiotask dead show 00a1b2c3d4e5f6a7b-2a
      aiotask dead show 00a1b2c3d4e5f6a7b-2a --json
    """
    import asyncio

    letter = asyncio.run(_one(id, name, url))
    print_json(letter) if as_json else show_one(letter)


@app.command()
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
    """Run dead letters again: these, those that fit, or all.

    Each becomes a job of the same id, as if it had been sent just now: its retries and deaths are counted anew, and
    its new outcome takes the place of the old one. Repeating the command does no harm: a job is replayed once.

    [bold]Examples[/bold]

      aiotask dead replay 00a1b2c3d4e5f6a7b-2a
      aiotask dead replay --task shop.tasks:render --since 1h
      aiotask dead replay --error ConnectionRefused --yes
      aiotask dead replay --all
    """
    wanted = _Filter(task, queue, error, since, until)
    done = _act("replay", ids or [], wanted, everything, yes, name, url)
    if as_json:
        print_json({"replayed": done.moved, "missing": done.missing, "outdated": done.outdated})
    else:
        _say("Replayed", done, bool(ids))
    if done.unknown or done.outdated:
        raise typer.Exit(1)


@app.command()
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
    """Remove dead letters for good: these, those that fit, or all.

    The outcome of such a job stays until its result TTL is over, and in the history. What is gone already is no error.

    [bold]Examples[/bold]

      aiotask dead delete 00a1b2c3d4e5f6a7b-2a
      aiotask dead delete --until 30d --yes
      aiotask dead delete --all
    """
    wanted = _Filter(task, queue, error, since, until)
    done = _act("delete", ids or [], wanted, everything, yes, name, url)
    if as_json:
        print_json({"deleted": done.moved, "missing": done.missing})
    else:
        _say("Deleted", done, bool(ids))


# ---- reading


async def _fitting(connection: Connection, wanted: _Filter) -> AsyncIterator[dict[str, Any]]:
    """Letters of one app, the last one first."""
    offset = 0
    while page := await connection.inspector.dead(limit=_PAGE, offset=offset):
        for letter in page:
            if wanted.since is not None and letter.at < wanted.since:
                return
            described = described_letter(connection, letter)
            if wanted.fits(described):
                yield described
        offset += len(page)


async def _page(name: str | None, url: str | None, wanted: _Filter, limit: int, offset: int) -> list[dict[str, Any]]:
    from .connection import inspectors

    found: list[dict[str, Any]] = []
    async with inspectors(name, url) as opened:
        for each in opened:
            async for letter in _fitting(each, wanted):
                found.append(letter)
                if len(found) >= offset + limit:
                    return found[offset:]
    return found[offset:]


async def _one(id: str, name: str | None, url: str | None) -> dict[str, Any]:
    from aiotask.errors import ResultExpired

    from .connection import inspectors

    async with inspectors(name, url) as opened:
        for each in opened:
            letter = await each.inspector.dead_letter(id)
            if letter is not None:
                return described_letter(each, letter)
    raise ResultExpired(
        f'There is no dead letter "{id}" (any more): it was replayed or deleted, or never given up. '
        f"All that is known of the job: aiotask jobs {id}"
    )


# ---- moving


def _act(
    verb: str,
    ids: Sequence[str],
    wanted: _Filter,
    everything: bool,
    yes: bool,
    name: str | None,
    url: str | None,
) -> _Done:
    """Do it to these ids, or to what fits once somebody has agreed."""
    import asyncio

    from aiotask.errors import ConfigError

    given = bool(ids) + everything + (not wanted.is_open and not everything)
    if given != 1:
        which = "ids go with neither --all nor filters" if given else "which ones is not said"
        raise ConfigError(
            f"Nothing was done: {which}. Name ids (aiotask dead {verb} ID), or filter (--task, --queue, --error, "
            "--since, --until), or say --all."
        )
    return asyncio.run(_moved(verb, list(dict.fromkeys(ids)), wanted, yes, name, url))


async def _moved(verb: str, ids: list[str], wanted: _Filter, yes: bool, name: str | None, url: str | None) -> _Done:
    from .connection import inspectors

    done = _Done()
    async with inspectors(name, url) as opened:
        if ids:
            for connection in opened:
                # What one app has is not asked of the next.
                ids = await _move(verb, connection, ids, done)
            done.missing = ids
            done.unknown = [id for id in ids if not await _is_known(opened, id)]
            return done
        picked = [(each, [letter["id"] async for letter in _fitting(each, wanted)]) for each in opened]
        number = sum(len(found) for _, found in picked)
        if number and not yes:
            _ask(verb, number)
        with _progress(verb, number) as progress:
            for connection, found in picked:
                done.missing += await _move(verb, connection, found, done, progress)
    return done


async def _move(
    verb: str, connection: Connection, ids: list[str], done: _Done, progress: Progress | None = None
) -> list[str]:
    """In batches; the ids that are not there."""
    from aiotask.broker import Replayed

    missing: list[str] = []
    for start in range(0, len(ids), _BATCH):
        batch = ids[start : start + _BATCH]
        if verb == "replay":
            became = await connection.broker.replay(batch)
        else:
            were_there = await connection.broker.discard(batch)
            became = [Replayed.DONE if was else Replayed.MISSING for was in were_there]
        lists = {Replayed.DONE: done.moved, Replayed.MISSING: missing, Replayed.OUTDATED: done.outdated}
        for id, what in zip(batch, became, strict=True):
            lists[what].append(id)
        if progress is not None:
            progress.advance(progress.task_ids[0], len(batch))
    return missing


async def _is_known(opened: list[Connection], id: str) -> bool:
    for each in opened:
        (look,) = await each.broker.look([id])
        if look.status is not None or look.outcome is not None:
            return True
    return False


def _ask(verb: str, number: int) -> None:
    from aiotask.errors import ConfigError

    what = f"{number:,} dead letter{'s' if number > 1 else ''}"
    if not sys.stdin.isatty():
        raise ConfigError(
            f"Nothing was done: this would {verb} {what}, and there is nobody to ask. Look with aiotask dead list, "
            "then add --yes."
        )
    # All of it on stderr: what is on stdout may be read by a program.
    print(f"{verb.capitalize()} {what}? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().casefold() not in ("y", "yes"):
        raise typer.Abort


@contextmanager
def _progress(verb: str, number: int) -> Iterator[Progress | None]:
    """A bar where somebody watches, and it takes a while."""
    terminal = console(stderr=True)
    if number <= _PAGE or not terminal.is_terminal:
        yield None
        return
    from rich.progress import Progress

    with Progress(console=terminal, transient=True) as progress:
        progress.add_task(f"{verb.capitalize()} dead letters", total=number)
        yield progress


# ---- for people


def _say(done_word: str, done: _Done, is_named: bool) -> None:
    terminal = console()
    number = len(done.moved)
    terminal.print(f"{done_word} {number:,} dead letter{'' if number == 1 else 's'}.")
    for id in done.missing if is_named else ():
        known = "" if id in done.unknown else f" Its job is known: aiotask jobs {plain(id)}"
        terminal.print(f"[yellow]{plain(id)} is not there (any more).[/yellow]{known}", soft_wrap=True)
    for id in done.outdated:
        terminal.print(
            f"[yellow]{plain(id)} was left: a job of this id goes on, or ended later.[/yellow] "
            f"See aiotask jobs {plain(id)}",
            soft_wrap=True,
        )


def _show_page(page: list[dict[str, Any]], limit: int, offset: int) -> None:
    terminal = console()
    if not page:
        terminal.print("There are no more." if offset else "There is no dead letter that fits.")
        return
    several = len({letter["app"] for letter in page}) > 1
    made = table("", *(["app"] if several else []), "id", "task", "queue", "given up", "error")
    for letter in page:
        made.add_row(
            *([plain(letter["app"])] if several else []),
            plain(letter["id"]),
            plain(letter.get("task", "?")),
            plain(letter.get("queue", "?")),
            ago(letter["dead_at"]),
            plain(str(letter.get("error", letter.get("sealed", ""))).partition("\n")[0], 300),
        )
    terminal.print(fitted(made, terminal.width))
    if len(page) >= limit:
        terminal.print(f"[dim]The next page: --offset {offset + limit}[/dim]")
    terminal.print("[dim]All of one: aiotask dead show ID. Run it again: aiotask dead replay ID[/dim]")
