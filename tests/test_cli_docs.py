"""The page on commands has every flag with its variable, every field of JSON output, and no others."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aiotask import App

from .commands import run_command
from .helpers import wait_until
from .test_house import commands
from .workers import ROOT, Workers

PAGE = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
SHOP = re.search(r"`shop\.py`:\n\n```python\n(.*?)```", PAGE, re.DOTALL)


def section(heading: str) -> str:
    """The text below a heading, up to the next one of any level."""
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#+ |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, heading
    return re.sub(r"^```.*?^```$", "", found[1], flags=re.MULTILINE | re.DOTALL)


def rows(text: str, column: str) -> list[list[str]]:
    found = re.search(rf"^\| {column} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in found[1].splitlines()] if found else []


def names(cell: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", cell))


def test_every_flag_of_every_command_has_its_row_with_its_variable() -> None:
    for name, command in commands():
        options = [each for each in command.params if each.param_type_name == "option" and "--help" not in each.opts]
        if getattr(command, "commands", None) is not None:
            continue
        documented = {tuple(sorted(names(row[0]))): names(row[1]) for row in rows(section(name), "flag")}
        real = {
            tuple(sorted((*each.opts, *each.secondary_opts))): set(
                [each.envvar] if isinstance(each.envvar, str) else re.findall(r"env var: (\w+)", each.help or "")
            )
            for each in options
        }
        assert documented == real, name


# ---- JSON

GRAPH_STATES = ("accepted", "cancelled", "ended")


def fields(heading: str) -> set[str]:
    """Every name in the table of fields, in its first column and in its explanations."""
    table = rows(section(heading), "field")
    assert table, heading
    return {name.removesuffix("[]").rpartition(".")[2] for row in table for cell in row for name in names(cell)}


def keys(value: Any, *, besides: tuple[str, ...] = ()) -> set[str]:
    """All keys of a JSON value, at any depth, but not below ``besides``."""
    if isinstance(value, list):
        return set().union(*(keys(each, besides=besides) for each in value))
    if not isinstance(value, dict):
        return set()
    below = (keys(each, besides=besides) for key, each in value.items() if key not in besides)
    return set(value).union(*below)


class Shop:
    """The app of the page with workers, and its commands."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = {**os.environ, **environment}

    def ask(self, command: str, code: int = 0) -> Any:
        done = run_command(*command.split(), "--json", env=self._environment)
        assert done.returncode == code, f"{command} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout)


@pytest.fixture
def shop(workers: Workers, app_name: str, redis_url: str, tmp_path: Path) -> Iterator[Shop]:
    assert SHOP
    (tmp_path / "shop.py").write_text(SHOP[1].replace('App("shop")', f'App("{app_name}")'))
    environment = {
        "AIOTASK_URL": redis_url,
        "AIOTASK_HOME": str(workers.directory / "home"),
        "AIOTASK_RESULT_DB": str(tmp_path / "history.db"),
        "AIOTASK_NAME": app_name,
    }
    workers.start("shop", app_dir=tmp_path, env=environment)
    app = App(app_name, url=redis_url)
    app.s("shop:price", 100).apply_async().get(timeout=30)
    failed = app.s("shop:label", "leek").apply_async()
    with pytest.raises(ValueError, match="paper"):
        failed.get(timeout=30)
    assert app.s("shop:total", [app.s("shop:price", 100).cast]).apply_async().get(timeout=30) == 1.25
    running = app.s("shop:nap", 3600).apply_async()
    app.s("shop:new").apply_async().blocking.sent()
    found = Shop(environment)
    wait_until(lambda: len(found.ask("results")) == 4, description="the history has all")
    wait_until(lambda: {"RUNNING", "PARKED"} <= {job["status"] for job in found.ask("jobs")}, description="one runs")
    yield found
    running.blocking.cancel()


def test_every_field_of_json_output_is_told_of(shop: Shop) -> None:
    arguments = ("arguments",)
    jobs = shop.ask("jobs")
    dead = shop.ask("dead list")
    assert keys(jobs, besides=arguments) <= fields("aiotask jobs")
    assert keys(dead, besides=arguments) | keys(shop.ask(f"dead show {dead[0]['id']}"), besides=arguments) <= fields(
        "aiotask jobs"
    )
    results = keys(shop.ask("results"), besides=arguments)
    assert results == fields("aiotask results list") - {"SUCCESS", "FAILED", "CANCELLED", "EXPIRED", "null"}
    assert keys(shop.ask("queues")) <= fields("aiotask queues list")
    [queue] = shop.ask("queues show default")
    assert set(queue) <= fields("aiotask queues list") | fields("aiotask queues show") | {"null"}
    assert keys(shop.ask("workers")) <= fields("aiotask workers list")
    [drained] = shop.ask("workers drain --all --yes")
    shop.ask(f"workers resume {drained['host']}")
    assert set(drained) == fields("aiotask workers drain") - {"done", "nothing"}
    assert keys(shop.ask("tasks")) <= fields("aiotask tasks list")
    hosts = shop.ask("stack")
    shown = keys(list(hosts["hosts"].values())) | set(hosts)
    assert shown <= fields("aiotask stack")
    assert keys(shop.ask("doctor")) | keys(shop.ask("doctor --live")) <= fields("aiotask doctor")
    assert keys(shop.ask("version --server")) <= names(section("aiotask version"))
    assert keys(shop.ask(f"cancel {jobs[0]['id']}")) <= fields("aiotask cancel")
    acted = {"action", "dry_run", "matched", "more", "done", "asked", "skipped"}
    for command in ("cancel --queue default", "queues purge default", "jobs run-now --queue default"):
        assert keys(shop.ask(f"{command} --dry-run")) == acted == fields("aiotask queues purge")
    assert keys(shop.ask("jobs run-now nothing", code=1)) == fields("aiotask jobs run-now") - {"done", "skipped"}
    assert keys(shop.ask(f"job {dead[0]['id']}"), besides=arguments) <= fields("aiotask jobs")
    assert keys(shop.ask(f"dead replay {dead[0]['id']}")) == fields("aiotask dead replay")
    graphs = shop.ask("graphs")
    assert keys(graphs) == fields("aiotask graphs list") - {"SUCCESS", "null"}
    assert keys(shop.ask(f"graph {graphs[0]['id']}")) == fields("aiotask graph") - {*GRAPH_STATES, "null"}
    assert keys(shop.ask(f"graphs replay {graphs[0]['id']}")) == fields("aiotask graphs replay")
    endings = {"done", "refused", "failed", "stopped", "unreadable"}
    assert keys(shop.ask("audit")) == fields("aiotask audit") - endings - {"cli"}
    assert keys(shop.ask("dead delete nothing")) == fields("aiotask dead delete")
    assert keys(shop.ask("results prune --yes")) == fields("aiotask results prune")
    assert keys(shop.ask("server status", code=1)) <= fields("aiotask server stop")
