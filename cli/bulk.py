"""Bulk actions of the commands: what matches is counted, the user confirms, and the end is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .asking import confirm, progress
from .options import option
from .output import console, plain, print_error, print_json

if TYPE_CHECKING:
    from aiotask.job import Status
    from aiotask.ops.actions import Matching
    from aiotask.ops.bulk import Action, Done
    from aiotask.ops.connection import Place
    from aiotask.ops.ended import OfHistory

__all__ = ["Chosen", "DryRun", "act", "check_alone", "print_each", "told"]

DryRun = Annotated[bool, option("--dry-run", help="Say how many jobs match, and do nothing.")]

#: Status, queue, task, and first characters of the ids.
Chosen = tuple["Status | None", str | None, str | None, str]


def check_alone(*filters: Any) -> None:
    """IDs were given.

    Raises:
        ConfigError: so were filters.
    """
    from aiotask.errors import ConfigError

    if any(filters):
        raise ConfigError("Nothing was done: IDs cannot be combined with --all or filters. Give one of them.")


def act(
    action: Action,
    chosen: Chosen,
    place: Place,
    *,
    yes: bool,
    dry_run: bool,
    as_json: bool,
    everything: bool = False,
    to: str = "",
    text: str = "",
    error: str = "",
    of_history: OfHistory | None = None,
) -> None:
    """Do something with all jobs that match, once the user has confirmed, and print what became of them.

    Args:
        everything: the user has asked for every job.
        to: the queue to which they are moved.
        text: that their envelopes contain.
        error: that the errors of jobs contain that are sent again.
        of_history: the jobs of the history that are sent again.

    Raises:
        ConfigError: no filter was given; or several apps are there, and every job of each would be concerned.
    """
    import asyncio

    from aiotask.errors import ConfigError
    from aiotask.inspector import JobFilter

    wanted = JobFilter(*chosen, text)
    if (wanted == JobFilter() and not error and not of_history) != everything:
        which = "--all cannot be combined with filters" if everything else "no jobs were named"
        raise ConfigError(f"Nothing was done: {which}. Give IDs, or filters such as --queue and --task; see --help.")
    asyncio.run(
        _act(
            action,
            (wanted, to, error, of_history),
            place,
            yes=yes,
            dry_run=dry_run,
            as_json=as_json,
            everything=everything,
        )
    )


async def _act(
    action: Action,
    what: tuple[Any, str, str, OfHistory | None],
    place: Place,
    *,
    yes: bool,
    dry_run: bool,
    as_json: bool,
    everything: bool,
) -> None:
    from aiotask.errors import ConfigError
    from aiotask.ops.actions import Actions
    from aiotask.ops.bulk import MOST_COUNTED, Done
    from aiotask.ops.visitors import operator

    async with Actions(place, operator()).matching(action, *what) as found:
        opened = found.opened
        if everything and place.name is None and len({each.name for each in opened}) > 1:
            raise ConfigError(
                f"Nothing was done: several apps are here ({', '.join(each.label for each in opened)}), and --all "
                f"would {action} the jobs of each. Name one app: --name NAME"
            )
        done = Done()
        number = await found.count()
        is_more = number >= MOST_COUNTED
        if number and not yes and not dry_run:
            there = f" to queue {what[1]}" if what[1] else ""
            seen = "jobs" if what[3] is None else "results"
            confirm(action, _jobs(number, is_more) + there, f"--dry-run, or aiotask {seen} with the same filter")
        if number and not dry_run:
            await _run(found, action, done, None if is_more else number)
    _print(action, done, number, is_more=is_more, dry_run=dry_run, as_json=as_json)
    if action.value == "resend" and not number and what[3] is None and not as_json:
        console().print(f"[yellow]{_NO_LETTERS}[/yellow]", soft_wrap=True)


async def _run(found: Matching, action: Action, done: Done, number: int | None) -> None:
    with told(lambda: _jobs(done.seen)), progress(f"{action.capitalize()} jobs", number) as show:
        await found.run(done, show)


@contextmanager
def told(seen: Callable[[], str]) -> Iterator[None]:
    """Say how far a bulk action came that is interrupted, or whose server goes away.

    Args:
        seen: how many were looked at, in words.
    """
    import asyncio

    from aiotask.errors import BrokerError

    try:
        yield
    except asyncio.CancelledError:
        print_error(f"Interrupted after {seen()}. Repeat the command to go on.")
        raise typer.Exit(130) from None
    except BrokerError:
        print_error(
            f"Broken off after {seen()}; those that the server had just been sent are not counted. Repeat the command "
            "to go on: what is done stays done."
        )
        raise


def _jobs(number: int, is_more: bool = False) -> str:
    return f"{number:,}{' or more' if is_more else ''} job{'' if number == 1 else 's'}"


def _print(action: Action, done: Done, number: int, *, is_more: bool, dry_run: bool, as_json: bool) -> None:
    if as_json:
        counted = {"matched": number, "more": is_more, "done": done.done, "asked": done.asked}
        print_json({"action": action.value, "dry_run": dry_run, **counted, "skipped": dict(done.skipped)})
        return
    terminal = console()
    if dry_run or not number:
        terminal.print(f"{_jobs(number, is_more)} match{'es' if number == 1 else ''}; nothing was done.")
        return
    asked = f", {done.asked:,} of them by workers that were asked to end them" if done.asked else ""
    terminal.print(f"{_WORDS[action.value]} {_jobs(done.done)}{asked}.")
    for reason, count in done.skipped.items():
        terminal.print(f"[yellow]Skipped {count:,}: {plain(reason, 300)}.[/yellow]", soft_wrap=True)


_WORDS = {"cancel": "Cancelled", "purge": "Purged", "run now": "Made due", "resend": "Sent again", "move": "Moved"}


#: Jobs of tasks without retries end as FAILED at once, and leave no letter.
_NO_LETTERS = (
    "Without --status, filters find dead letters, and a task without retries leaves none. Its failed jobs are in the "
    "history file: aiotask jobs resend --status failed --task TASK"
)


def print_each(done: list[dict[str, Any]], *, as_json: bool) -> None:
    """Print what became of each ID; the exit code is 1 if one was skipped."""
    if as_json:
        print_json(done)
    for each in () if as_json else done:
        mark = "[green]•[/green]" if each["did"] == "done" else "[red]![/red]"
        console().print(f"{mark} {plain(each['id'])} {plain(each['said'], 500)}", soft_wrap=True)
    if any(each["did"] != "done" for each in done):
        raise typer.Exit(1)
