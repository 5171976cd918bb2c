"""Parses the command line: short help, and errors in the same form from every command."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from .output import print_error

__all__ = ["ByDefault", "Group", "add"]

#: The errors of a command line. Some versions of typer have them from click, others from a copy of it.
_UsageError: type[Exception]
_ClickError: type[Exception]
_UsageError, _ClickError = typer.BadParameter.__mro__[1:3]

#: Command names of other task queues, and the names here.
_ELSEWHERE = {
    "workers": "queues",
    "ps": "queues",
    "status": "queues",
    "inspect": "jobs --status running",
    "list": "jobs",
    "info": "queues",
    "result": "results",
    "history": "results",
    "revoke": "cancel",
    "retry": "dead replay",
    "requeue": "dead replay",
    "run": "worker",
    "start": "worker",
}


class _Quiet:
    """A flag has no value, so its help shows none."""

    def get_params(self, ctx: Any) -> list[Any]:
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for param in params:
            if getattr(param, "is_flag", False):
                param.metavar = ""
        return params


class _Command(_Quiet, TyperCommand):
    """A command of ``aiotask``."""


class Group(_Quiet, TyperGroup):
    """The commands of ``aiotask``, and how an error in what was typed leaves it: one line on stderr, exit code 2."""

    def main(self, *args: Any, **extra: Any) -> Any:
        is_alone = extra.pop("standalone_mode", True)
        extra["standalone_mode"] = False
        if not is_alone:
            return super().main(*args, **extra)
        try:
            sys.exit(super().main(*args, **extra) or 0)
        except _ClickError as error:
            _print_usage_error(error)
            sys.exit(getattr(error, "exit_code", 1))
        except typer.Abort:
            print_error("Nothing was done.")
            sys.exit(1)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name = args[0] if args else ""
        if name in _ELSEWHERE and self.get_command(ctx, name) is None and ctx.parent is None:
            ctx.fail(f'There is no command "{name}". Use: aiotask {_ELSEWHERE[name]}')
        return super().resolve_command(ctx, args)


class ByDefault(Group):
    """A group whose first command stands for the group where no other is named: ``aiotask results ID``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or args[0] not in self.commands:
            args = [next(iter(self.commands)), *args]
        return super().parse_args(ctx, args)


def add(group: typer.Typer, *commands: Callable[..., None], name: str | None = None) -> None:
    """Give a group its commands, under ``name`` or their own names; the docstring is the help."""
    for command in commands:
        group.command(name, cls=_Command, help=_unwrapped(command))(command)


def _unwrapped(function: Callable[..., Any]) -> str:
    """The docstring with one line per paragraph, so that help fits any terminal."""
    paragraphs = (inspect.getdoc(function) or "").split("\n\n")
    return "\n\n".join(
        text if "\n " in text or text.startswith(" ") else text.replace("\n", " ") for text in paragraphs
    )


def _print_usage_error(error: Any) -> None:
    context = getattr(error, "ctx", None)
    # This prefix is from pydantic, which checks enums in some versions of typer.
    message = error.format_message().rstrip(".").replace("Value error, ", "")
    if not message:
        # A group of commands that was called without one has printed its help, and that is all.
        return
    if isinstance(error, _UsageError) and context is not None:
        message += f"{'' if message.endswith('?') else '.'} See: {context.command_path} --help"
    print_error(message)
