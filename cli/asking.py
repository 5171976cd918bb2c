"""Confirmation before a change that cannot be undone, and the progress of a long one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer

from .output import console

__all__ = ["confirm", "progress"]

#: Number of things up to which a change is over before a bar could be read.
_SHORT = 200


def confirm(verb: str, what: str, check_command: str) -> None:
    """Ask on the terminal whether to do this.

    Args:
        verb, what: ``delete``, ``3 dead letters``.
        check_command: the command that shows the things concerned.

    Raises:
        ConfigError: there is no terminal to ask on.
        typer.Abort: the answer was no.
    """
    from aiotask.errors import ConfigError

    if not sys.stdin.isatty():
        raise ConfigError(
            f"Nothing was done: this would {verb} {what}, and there is no terminal to ask for confirmation. "
            f"Check with {check_command}, then add --yes."
        )
    # The question goes to stderr: a program may read stdout.
    print(f"{verb.capitalize()} {what}? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().casefold() not in ("y", "yes"):
        raise typer.Abort


@contextmanager
def progress(title: str, number: int | None) -> Iterator[Callable[[int], None]]:
    """A bar on stderr, if that is a terminal and ``number`` is large or not known; the function takes how many are done
    so far."""
    terminal = console(stderr=True)
    if (number is not None and number <= _SHORT) or not terminal.is_terminal:
        yield lambda done: None
        return
    from rich.progress import Progress

    with Progress(console=terminal, transient=True) as bar:
        task = bar.add_task(title, total=number)
        yield lambda done: bar.update(task, completed=done)
