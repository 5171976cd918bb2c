"""Asks commands about the rows in a database."""

from __future__ import annotations

import json
from typing import Any

from ..cli.command import invoke

__all__ = ["Asking", "checks"]


class Asking:
    """Commands with one --database, in this process."""

    def __init__(self, database: str, *more: str) -> None:
        self._options = ("--database", database, *more)

    def say(self, *arguments: str, code: int = 0) -> str:
        """What people read."""
        said = invoke(*arguments, *self._options)
        assert said.exit_code == code, f"{arguments} ended with {said.exit_code}\n{said.output}\n{said.exception!r}"
        return str(said.output)

    def ask(self, *arguments: str, code: int = 0) -> Any:
        """What programs read."""
        return json.loads(self.say(*arguments, "--json", code=code))

    def error(self, *arguments: str) -> Exception:
        """The error with which a command ends; ``main`` prints it as one line."""
        said = invoke(*arguments, *self._options)
        assert isinstance(said.exception, Exception), said.output
        return said.exception

    def status(self, id: str) -> str:
        return str(self.ask("jobs", id)["status"])


def checks(asking: Asking, code: int = 0) -> dict[str, dict[str, str]]:
    """The checks of ``aiotask doctor`` by name."""
    return {check["name"]: check for check in asking.ask("doctor", code=code)["checks"]}
