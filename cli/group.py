"""Parses the command line: short help, and errors in the same form from every command."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from .output import print_error

__all__ = ["ELSEWHERE", "ByDefault", "Group", "add"]

#: The errors of a command line. Some versions of typer have them from click, others from a copy of it.
_UsageError: type[Exception]
_ClickError: type[Exception]
_UsageError, _ClickError = typer.BadParameter.__mro__[1:3]

_BEAT = "aiotask worker your.module: every worker also sends what is due. To list schedules: aiotask schedules"
_CALL = "python -c 'from your.module import task; print(task.apply_async(…).get())'"
#: Command names of other task queues, and those that look like others of aiotask; and what to use instead.
ELSEWHERE = {
    "ps": "aiotask queues",
    "status": "aiotask queues",
    "info": "aiotask queues",
    "inspect": "aiotask jobs --status running",
    "active": "aiotask jobs --status running",
    "list": "aiotask jobs",
    "registered": "aiotask tasks",
    "ping": "aiotask doctor",
    "report": "aiotask doctor",
    "result": "aiotask results",
    "history": "aiotask results",
    "purge": "aiotask queues purge QUEUE",
    "clear": "aiotask queues purge QUEUE",
    "pause": "aiotask queues pause QUEUE, or aiotask tasks pause TASK",
    "resume": "aiotask queues resume QUEUE, or aiotask tasks resume TASK",
    "revoke": "aiotask cancel ID",
    "retry": "aiotask dead replay ID",
    "requeue": "aiotask dead replay ID",
    "replay": "aiotask dead replay ID",
    "resend": "aiotask jobs resend ID",
    "control": "aiotask cancel ID, aiotask queues pause QUEUE, or aiotask limits set NAME",
    "beat": _BEAT,
    "scheduler": _BEAT,
    "call": _CALL,
    "send": _CALL,
    "enqueue": _CALL,
    "events": "aiotask watch ID for one job, and the log of the workers for all of them",
    "monitor": "aiotask top, and aiotask watch ID for one job",
    "run": "aiotask worker your.module",
    "start": "aiotask worker your.module",
    "jobs show": "aiotask job ID",
    "graphs show": "aiotask graph ID",
    "results show": "aiotask results ID",
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

    def format_help(self, ctx: Any, formatter: Any) -> None:
        super().format_help(ctx, formatter)
        group = ctx.parent.command if ctx.parent is not None else None
        if isinstance(group, ByDefault) and group.by_default is self:
            _print_others(ctx.parent.command_path, list(group.commands.values())[1:])


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
        self._refer(ctx, args)
        return super().resolve_command(ctx, args)

    def _refer(self, ctx: Any, args: list[str]) -> None:
        """Refuse a command that has another name here."""
        name = " ".join([*ctx.command_path.split()[1:], *args[:1]])
        if args and name in ELSEWHERE and args[0] not in self.commands:
            ctx.fail(f'There is no command "{name}". Use: {ELSEWHERE[name]}')


class ByDefault(Group):
    """A group whose first command stands for the group where no other is named: ``aiotask results ID``."""

    @property
    def by_default(self) -> Any:
        """The command that stands for the group; its help lists the others."""
        return next(iter(self.commands.values()))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        # While a shell completes the first word behind the group, that word may become the name of any command.
        is_completed = ctx.resilient_parsing and not args
        # One word may be an ID.
        if len(args) > 1 and not ctx.resilient_parsing:
            self._refer(ctx, args)
        if not is_completed and not (args and self._is_command(args[0])):
            args = [self.by_default.name, *args]
        return super().parse_args(ctx, args)

    def _is_command(self, word: str) -> bool:
        """Whether the first word names a command, perhaps a wrong one: that is refused with the name that was meant."""
        takes_arguments = any(each.param_type_name == "argument" for each in self.by_default.params)
        return word in self.commands or not (takes_arguments or word.startswith("-"))

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        found: list[Any] = super().shell_complete(ctx, incomplete)
        if not incomplete.startswith("-"):
            return found
        command = self.by_default
        inner = command.make_context(command.name, [], parent=ctx, resilient_parsing=True)
        options: list[Any] = command.shell_complete(inner, incomplete)
        return [*options, *(item for item in found if item.value not in {option.value for option in options})]


def add(group: typer.Typer, *commands: Callable[..., None], name: str | None = None) -> None:
    """Give a group its commands, under ``name`` or their own names; the docstring is the help."""
    for command in commands:
        group.command(name, cls=_Command, help=_unwrapped(command))(command)


def _unwrapped(function: Callable[..., Any]) -> str:
    """The docstring with one line per paragraph, so that help fits any terminal."""
    paragraphs = (inspect.getdoc(function) or "").split("\n\n")
    lines = [text if "\n " in text or text.startswith(" ") else text.replace("\n", " ") for text in paragraphs]
    # With this empty paragraph, typer keeps the indentation of examples that follow the first sentence.
    return "\n\n".join([lines[0], "", *lines[1:]])


def _print_others(path: str, commands: list[Any]) -> None:
    """The other commands of a group, in the form in which typer lists the commands of groups."""
    from rich import box
    from rich.console import Console
    from rich.panel import Panel
    from rich.table import Table

    listed = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1), expand=True)
    listed.add_column(style="bold cyan", no_wrap=True)
    listed.add_column(ratio=1)
    for command in commands:
        first, *_ = (command.help or "").split("\n\n")
        listed.add_row(f"{path} {command.name}", first)
    title = "More commands, each with its own --help"
    Console(highlight=False).print(Panel(listed, title=title, title_align="left", box=box.ROUNDED, border_style="dim"))


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
