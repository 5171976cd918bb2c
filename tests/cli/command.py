"""Runs commands, in this process or as a user starts them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer
import typer.main
from typer.testing import CliRunner

from aiotask_cli.main import app

COMMANDS = (
    *(
        "worker",
        "demo",
        "jobs",
        "dead",
        "graph",
        "graphs",
        "limits",
        "schedules",
        "queues",
        "tasks",
        "results",
        "doctor",
        "sql",
        "version",
        "server",
    ),
)


def invoke(*arguments: str, env: Mapping[str, str] | None = None) -> Any:
    return CliRunner().invoke(app, list(arguments), env=env)


def parsed(command: str, *arguments: str) -> dict[str, Any]:
    """What the options of a command become."""
    group: Any = typer.main.get_command(app)
    context = group.commands[command].make_context(command, list(arguments))
    # An empty or a given list is a list or a tuple, as the version of typer likes it.
    return {
        name: (list(value) or None) if isinstance(value, (list, tuple)) else value
        for name, value in context.params.items()
    }
