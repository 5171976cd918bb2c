"""Help and version: complete, and quick to load."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from ..commands import run_command
from .command import COMMANDS, invoke


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_help_with_examples(command: str) -> None:
    said = invoke(command, "--help")

    assert said.exit_code == 0
    assert "Examples" in said.output
    assert f"aiotask {command}" in said.output


def test_no_argument_shows_every_command() -> None:
    said = invoke()

    for command in COMMANDS:
        assert command in said.output


@pytest.mark.parametrize(
    ("command", "others"),
    [
        ("queues", ["purge", "pause", "resume"]),
        ("limits", ["show", "set", "reset"]),
        ("schedules", ["show", "pause", "resume", "remove", "run-now"]),
        ("dead", ["show", "replay", "delete"]),
    ],
)
def test_the_help_of_a_group_lists_all_its_commands(command: str, others: list[str]) -> None:
    said = invoke(command, "--help").output

    for other in others:
        assert f"aiotask {command} {other} " in said
    assert "More commands" not in invoke(command, others[0], "--help").output


@pytest.mark.parametrize("arguments", [("limits",), ("limits", "reset"), ("jobs", "list")])
def test_examples_are_indented_in_every_help(arguments: tuple[str, ...]) -> None:
    lines = [line.rstrip() for line in invoke(*arguments, "--help").output.splitlines()]
    start = lines.index(" Examples")

    examples = [line for line in lines[start:] if line.strip().startswith("aiotask ")]
    assert examples and all(line.startswith("   aiotask ") for line in examples)


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (("queues", "p"), {"purge", "pause"}),
        (("limits", ""), {"list", "show", "set", "reset"}),
        (("schedules", "--a"), {"--after"}),
        (("jobs", "list", "--st"), {"--status"}),
    ],
)
def test_a_shell_completes_commands_and_flags_of_a_group(typed: tuple[str, ...], offered: set[str]) -> None:
    words = {"COMP_WORDS": " ".join(["aiotask", *typed]), "COMP_CWORD": str(len(typed))}

    said = run_command(env={**os.environ, **words, "_AIOTASK_COMPLETE": "complete_bash"})

    assert set(said.stdout.split()) == offered


#: Costly to import, and none of it is needed to answer. (What typer itself loads to parse options is its own choice.)
HEAVY = {"aiotask", "asyncio", "cloudpickle", "msgspec", "redis", "sqlite3", "uvloop"}


@pytest.mark.parametrize(
    ("arguments", "heavy"),
    [
        (["--help"], HEAVY | {"pydantic"}),
        (["version"], HEAVY | {"pydantic", "rich"}),
        (["--version"], HEAVY | {"pydantic", "rich"}),
        (["worker", "--help"], HEAVY - {"asyncio"}),
        (["results", "--help"], HEAVY - {"asyncio"}),
    ],
)
def test_help_and_version_import_nothing_heavy(arguments: list[str], heavy: set[str]) -> None:
    script = (
        "import sys\n"
        "from aiotask_cli.main import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        f"heavy = {heavy} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)\n"
    )

    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("arguments", [["version"], ["--version"]])
def test_version_is_said_the_same_with_and_without_parsing(arguments: list[str]) -> None:
    assert run_command(*arguments).stdout == invoke(*arguments).output


def test_version_heeds_its_variables() -> None:
    assert "aiotask" in json.loads(run_command("version", env={**os.environ, "AIOTASK_JSON": "1"}).stdout)


def test_version_names_what_it_stands_on() -> None:
    versions = json.loads(invoke("version", "--json").output)

    assert versions["python"] == ".".join(map(str, sys.version_info[:3]))
    assert set(versions) == {"aiotask", "python", "redis-py"}
