"""The page for people who come from Celery names every setting of Celery, and nothing that does not exist here."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase, translate
from pathlib import Path
from typing import Any

import typer
import typer.main

from aiotask import App, GroupResult, current_job
from aiotask_cli.main import app

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "from-celery.md"
#: The names of all settings of Celery 5.7.0.
SETTINGS = (ROOT / "tests" / "celery_settings.txt").read_text().split()


def named() -> set[str]:
    """What stands in the first column of the table of settings, with ``*`` for several."""
    table = PAGE.read_text().split("## Settings")[1].split("\n## ")[0]
    first = [row.split("|")[1] for row in table.splitlines() if row.startswith("|")]
    return set(re.findall(r"`([a-z0-9_*]+)`", " ".join(first)))


def test_every_setting_of_celery_has_its_place() -> None:
    assert len(SETTINGS) == 207

    missing = [name for name in SETTINGS if not any(fnmatchcase(name, pattern) for pattern in named())]

    assert not missing


def test_no_setting_is_named_that_celery_does_not_have() -> None:
    # Keys inside of broker_transport_options.
    parts = {"visibility_timeout", "priority_steps", "queue_order_strategy", "global_keyprefix"}

    unknown = [name for name in named() - parts if not any(re.match(translate(name), each) for each in SETTINGS)]

    assert not unknown


def _ours() -> str:
    """The column about aiotask of every table, which is the last one."""
    rows = [re.split(r"(?<!\\)\|", line) for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    return "\n".join(row[-2] for row in rows)


def test_every_command_and_flag_that_takes_the_place_of_one_of_celery_exists() -> None:
    group: Any = typer.main.get_command(app)
    flags = {flag for each in group.commands["worker"].params for flag in (*each.opts, *each.secondary_opts)}
    commands = re.findall(r"`aiotask ([^`]+)`", _ours())
    bare = re.findall(r"`(--?[a-z-]+)[^`]*`", _ours())

    assert len(commands) > 10 and len(bare) > 10
    assert not [flag for flag in bare if flag not in flags]
    for words in commands:
        command = group
        for word in words.split():
            command = getattr(command, "commands", {}).get(word, command)
        command = getattr(command, "by_default", command)
        assert command is not group, words
        known = {flag for each in command.params for flag in each.opts}
        assert known >= {word for word in words.split() if word.startswith("-")}, words


def test_every_name_that_takes_the_place_of_one_of_celery_exists() -> None:
    async def task() -> None: ...

    shop = App("from-celery", url="memory://")
    made = shop.register_task(task, name="from_celery:task")
    objects: dict[str, Any] = {
        "app": shop,
        "app.schedules": shop.schedules,
        "current_job()": current_job(),
        "task": made,
        "add": made,
        "r": GroupResult,
        "sig": made.s(),
    }

    named = re.findall(r"\b(app\.schedules|current_job\(\)|app|task|add|r|sig)\.(\w+)", _ours())

    assert len(named) > 15
    assert not [f"{of}.{name}" for of, name in named if not hasattr(objects[of], name)]
