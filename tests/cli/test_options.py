"""Options and their environment variables, and the units that they take."""

from __future__ import annotations

from typing import Any

import pytest
import typer
import typer.main

from aiotask.history.file import MAX_AGE, MAX_BYTES
from aiotask_cli import options

from .command import parsed


def test_worker_defaults() -> None:
    assert parsed("worker", "shop.tasks") == {
        "apps": ["shop.tasks"],
        "app": None,
        "concurrency": None,
        "queues": None,
        "max_in_flight": 100,
        "threads": 1,
        "max_jobs_per_child": None,
        "max_memory_per_child": None,
        "grace": 30.0,
        "health_port": None,
        "health_host": "127.0.0.1",
        "burst": False,
        "reload": False,
        "preload": False,
        "result_db": None,
        "result_db_age": MAX_AGE,
        "result_db_size": MAX_BYTES,
        "blocked_loop": 1.0,
        "long_job": 60.0,
        "stopped_process": 30.0,
        "log_args": False,
        "log_tracebacks": True,
        "log_json": False,
        "log_level": options.Level.INFO,
        "app_dir": ".",
        "url": None,
    }


WORKER_OPTIONS = [
    ("--concurrency", "3", 3),
    ("--queues", "mail,default", ["mail,default"]),
    ("--max-in-flight", "7", 7),
    ("--threads", "4", 4),
    ("--max-jobs-per-child", "1000", 1000),
    ("--max-memory-per-child", "512MB", 512 * 1024**2),
    ("--grace", "2m", 120.0),
    ("--health-port", "8080", 8080),
    ("--health-host", "0.0.0.0", "0.0.0.0"),
    ("--burst", "1", True),
    ("--reload", "1", True),
    ("--preload", "1", True),
    ("--result-db", "history.db", "history.db"),
    ("--result-db-age", "7d", 604_800.0),
    ("--result-db-size", "0", 0),
    ("--log-args", "1", True),
    ("--log-json", "1", True),
    ("--log-level", "WARNING", options.Level.WARNING),
    ("--app-dir", "/srv/app", "/srv/app"),
    ("--url", "redis://db:6379/3", "redis://db:6379/3"),
]


@pytest.mark.parametrize(("flag", "text", "value"), WORKER_OPTIONS)
def test_every_flag_of_worker_and_its_variable_mean_the_same(
    flag: str, text: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = flag.removeprefix("--").replace("-", "_")
    by_flag = parsed("worker", flag, *([] if value is True else [text]))
    monkeypatch.setenv(f"AIOTASK_{name.upper()}", text)
    by_variable = parsed("worker")

    assert by_flag[name] == value
    assert by_variable == by_flag


def test_a_flag_wins_over_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIOTASK_GRACE", "1h")

    assert parsed("worker", "--grace", "5s")["grace"] == 5.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("0", 0), ("1.5", 1.5), ("30s", 30), ("10m", 600), ("1h30m", 5400), ("2 d", 172800), ("250ms", 0.25)],
)
def test_durations(text: str, seconds: float) -> None:
    assert options.duration(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "10x", "-5", "1h foo", "nan", "inf", "10 20"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="duration"):
        options.duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [("1048576", 2**20), ("512MB", 2**29), ("512 mb", 2**29), ("2GB", 2**31), ("1.5G", 3 * 2**29), ("64KiB", 2**16)],
)
def test_sizes(text: str, size: int) -> None:
    assert options.size(text) == size


@pytest.mark.parametrize("text", ["", "MB", "12XB", "-1", "0", "1 MB 2"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="size"):
        options.size(text)


def test_names_come_repeated_or_with_commas() -> None:
    assert options.names(["default, mail", "mail", "bulk,"]) == ("default", "mail", "bulk")
