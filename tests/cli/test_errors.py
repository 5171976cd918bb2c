"""Errors of the command line are one line with the next step."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ..commands import run_command
from .command import invoke


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["worker", "x", "--grace", "10x"], '"10x" is not a duration'),
        (["worker", "x", "--concurrency", "0"], '"0" is not a count'),
        (["worker", "x", "--max-memory-per-child", "lots"], '"lots" is not a size'),
        (["worker", "x", "--log-level", "loud"], "loud"),
        (["worker", "x", "--reload", "--preload"], "Leave one of them out"),
        (["jobs", "--status", "gone"], "pending"),
    ],
)
def test_a_wrong_option_is_refused_with_what_would_be_right(arguments: list[str], said: str) -> None:
    result = invoke(*arguments)

    assert result.exit_code == 2
    assert said in " ".join(result.output.replace("│", " ").split())


@pytest.mark.parametrize("group", [[], ["server"]], ids=["aiotask", "server"])
def test_a_group_without_a_command_prints_its_help_and_no_empty_error(group: list[str]) -> None:
    done = run_command(*group)

    assert done.returncode == 2
    assert "Usage: aiotask" in done.stdout + done.stderr and "Commands" in done.stdout + done.stderr
    assert "error" not in done.stderr


def test_a_misspelt_command_is_asked_for_in_one_sentence() -> None:
    assert "Did you mean 'cancel'? See: aiotask --help" in run_command("cancle").stderr


@pytest.mark.parametrize(
    ("elsewhere", "here"),
    [
        ("purge", "aiotask queues purge QUEUE"),
        ("pause", "aiotask queues pause QUEUE"),
        ("replay", "aiotask dead replay ID"),
        ("beat", "every worker also sends what is due"),
        ("call", "apply_async("),
        ("registered", "aiotask tasks"),
        ("events", "aiotask watch ID"),
    ],
)
def test_a_command_of_another_task_queue_is_answered_with_what_to_use_here(elsewhere: str, here: str) -> None:
    result = run_command(elsewhere)

    assert result.returncode == 2
    assert f'There is no command "{elsewhere}". Use: ' in result.stderr and here in result.stderr


@pytest.mark.parametrize(
    ("words", "here"),
    [
        (("jobs", "show", "an-id"), "aiotask job ID"),
        (("graphs", "show", "an-id"), "aiotask graph ID"),
        (("results", "show", "an-id"), "aiotask results ID"),
    ],
)
def test_what_other_groups_call_show_is_answered_with_its_name_here(words: tuple[str, ...], here: str) -> None:
    result = run_command(*words)

    assert result.returncode == 2
    assert f'There is no command "{" ".join(words[:2])}". Use: {here}. See: ' in result.stderr


def test_every_command_that_is_named_instead_of_another_exists() -> None:
    from aiotask_cli.group import ELSEWHERE

    # A name that aiotask has itself would never be answered so.
    assert not [name for name in ELSEWHERE if invoke(*name.split(), "--help").exit_code == 0 and " " not in name]
    named = {match[1] for text in ELSEWHERE.values() for match in re.finditer(r"aiotask ([a-z][a-z ]*[a-z])", text)}

    for words in sorted(named):
        assert invoke(*words.split()[:2], "--help").exit_code == 0, words


def test_a_worker_without_an_app_names_all_three_ways(tmp_path: Path) -> None:
    done = run_command("worker", cwd=tmp_path)

    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    for way in ("aiotask worker", "AIOTASK_APP", "[tool.aiotask]"):
        assert way in done.stderr


@pytest.mark.parametrize("command", ["queues", "jobs"])
def test_no_server_is_one_line_with_the_next_step(command: str) -> None:
    done = run_command(command)

    assert done.returncode == 2
    assert done.stderr.startswith("error: No server is named")
    assert "aiotask server start" in done.stderr and "AIOTASK_DATABASE" in done.stderr
    assert done.stderr.count("\n") == 1


def test_looking_starts_no_server(tmp_path: Path) -> None:
    run_command("queues")

    assert not (tmp_path / "home" / "server.sock").exists()


@pytest.mark.parametrize("command", ["queues", "jobs"])
def test_a_server_that_cannot_be_reached_is_one_line_without_a_traceback(command: str) -> None:
    done = run_command(command, "--url", "redis://:secret-word@127.0.0.1:1/0")

    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert "127.0.0.1:1" in done.stderr
    assert "secret-word" not in done.stderr


def test_an_address_of_another_kind_is_refused() -> None:
    done = run_command("queues", "--url", "amqp://localhost")

    assert done.returncode == 2
    assert '"amqp://localhost" is not a broker URL' in done.stderr
