"""Commands on terminals that are narrow, or that know few characters; and errors that look alike everywhere."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiotask.history.recorder import Recorder
from aiotask_cli.output import ago, informative, page_table

from .history import SECRET, finished
from .server import PrivateServer


def command(*arguments: str, encoding: str = "utf-8", **variables: str) -> subprocess.CompletedProcess[bytes]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AIOTASK_")}
    return subprocess.run(
        [sys.executable, "-m", "aiotask_cli", *arguments],
        env={**clean, "PYTHONIOENCODING": encoding, "NO_COLOR": "1", **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
    )


@pytest.fixture
def history(tmp_path: Path) -> Path:
    path = tmp_path / "results.db"
    with Recorder(path, [SECRET], "shop") as recorder:
        recorder.record([finished("ключ-…-1", "žluťoučký ☃", args=("日本",), task="shop.tasks:naïve")])
    return path


LIKE_ASCII = pytest.mark.full_only("an encoding that lacks characters, as ASCII does")


@pytest.mark.parametrize(
    "encoding",
    ["ascii", pytest.param("latin-1", marks=LIKE_ASCII), pytest.param("cp1252", marks=LIKE_ASCII), "utf-8"],
)
class TestEncodings:
    def test_results_are_shown(self, history: Path, encoding: str) -> None:
        for arguments in (["results"], ["results", "ключ-…-1"]):
            done = command(*arguments, "--db", str(history), encoding=encoding)
            assert (done.returncode, done.stderr) == (0, b"")
            assert "na" in done.stdout.decode(encoding)

    def test_an_argument_is_read_as_utf_8_where_the_locale_decodes_none(self, history: Path, encoding: str) -> None:
        ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}

        done = command("results", "ключ-…-1", "--db", str(history), "--json", encoding=encoding, **ascii_only)

        assert json.loads(done.stdout.decode(encoding))["id"] == "ключ-…-1", done.stderr

    def test_json_says_the_same(self, history: Path, encoding: str) -> None:
        done = command("results", "--db", str(history), "--json", encoding=encoding)

        [job] = json.loads(done.stdout.decode(encoding))
        assert (job["id"], job["result"], job["arguments"]) == ("ключ-…-1", "žluťoučký ☃", [["日本"], {}])

    def test_a_check_with_glyphs_is_shown(self, own_server: PrivateServer, tmp_path: Path, encoding: str) -> None:
        done = command("doctor", "--url", own_server.url, encoding=encoding, AIOTASK_HOME=str(tmp_path))

        assert done.returncode == 0, done.stderr
        assert b"server" in done.stdout and b"Traceback" not in done.stderr

    def test_an_error_with_other_characters_is_one_line(self, encoding: str, tmp_path: Path) -> None:
        done = command("results", "--db", str(tmp_path / "žádný.db"), encoding=encoding)

        assert done.returncode == 2 and done.stderr.count(b"\n") == 1
        assert done.stderr.startswith(b"error: There is no result database")


class TestPages:
    COLUMNS = ("app", "id", "status", "task", "queue", "attempt", "sent", "more")

    def rows(self) -> list[list[str]]:
        return [
            [
                app,
                f"00e5465307fa31dfe-{n}",
                "SCHEDULED",
                "examples.readme:row",
                "mail",
                "2",
                "3 min 2 s ago",
                "due in 5 s",
            ]
            for n, app in enumerate(("readme", "shop"))
        ]

    def shown(self, width: int, rows: list[list[str]] | None = None) -> list[str]:
        from rich.console import Console

        terminal = Console(width=width, no_color=True)
        with terminal.capture() as said:
            terminal.print(page_table(*informative(list(self.COLUMNS), rows or self.rows()), width))
        return [line for line in said.get().splitlines() if line.strip()]

    @pytest.mark.parametrize("width", [60, 80, 100, 140, 240])
    def test_a_row_is_one_line_with_the_whole_id_and_status(self, width: int) -> None:
        heading, rule, *rows = self.shown(width)

        assert len(rows) == 2 and max(map(len, (heading, rule, *rows))) <= width
        for n, row in enumerate(rows):
            assert f"00e5465307fa31dfe-{n}" in row and "SCHEDULED" in row and "readme:row" in row

    def test_a_wide_terminal_shows_every_column(self) -> None:
        assert self.shown(200)[0].split() == list(self.COLUMNS)

    def test_a_narrow_one_goes_without_the_least_telling_columns(self) -> None:
        heading = self.shown(80)[0].split()

        assert heading[:3] == ["id", "status", "task"] and heading[-1] == "more"

    def test_columns_that_say_the_usual_are_left_out(self) -> None:
        usual = [["shop", "1", "PENDING", "a:b", "default", "1", "1 s ago", ""]] * 2

        assert self.shown(200, usual)[0].split() == ["id", "status", "task", "sent", "more"]

    def test_a_task_is_cut_before_a_last_column_that_has_to_be_whole(self) -> None:
        from rich.console import Console

        since = ago(time.time() - 3599, brief=True)
        rows = [["00a887d89dd643f43-1002", "examples.readme:picture", "accepted", "17,955/20,001", since]]
        terminal = Console(width=80, no_color=True)
        with terminal.capture() as said:
            terminal.print(page_table(["id", "task", "state", "jobs ended", "since"], rows, 80, last_width=10))

        row = said.get().rstrip().splitlines()[-1]
        assert "59 min ago" in row and rows[0][0] in row and len(row.rstrip()) <= 80
        assert "…" in row and ":picture" in row

    @pytest.mark.parametrize("name", ["limit", "schedule"])
    def test_long_names_of_limits_and_schedules_are_told_apart_on_a_narrow_terminal(self, name: str) -> None:
        from rich.console import Console

        rows = [[f"shop.tasks:{'recalculate_' * 4}{n:03d}", "3", "shop", "50 at once, 100/m"] for n in range(60)]
        terminal = Console(width=80, no_color=True)
        with terminal.capture() as said:
            terminal.print(page_table([name, "running", "declared by", "allows"], rows, 80, last_width=17))

        shown = [line for line in said.get().splitlines() if "…" in line]
        assert len({line.split()[0] for line in shown}) == 60 and max(map(len, shown)) <= 80
        assert all(line.rstrip().endswith("50 at once, 100/m") for line in shown)

    def test_markup_in_a_name_is_no_markup_when_the_name_is_cut(self) -> None:
        rows = [[*row[:3], "[red]" + "x" * 90 + "[/red]", *row[4:]] for row in self.rows()]

        assert all("…" in line for line in self.shown(80, rows)[2:])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["results", "--nope"], "No such option: --nope"),
        (["frobnicate"], "No such command"),
        (["ps"], "aiotask queues"),
        (
            ["schedules", "shwo", "nightly"],
            "No such command 'shwo'. Did you mean 'show'? See: aiotask schedules --help",
        ),
        (["limits", "lsit"], "Did you mean 'list'"),
        (["queues", "mail"], "No such command 'mail'. See: aiotask queues --help"),
        (["revoke", "1"], "aiotask cancel"),
        (["jobs", "--limit", "x"], '"x" is not a count'),
        (["worker", "--log-level", "loud"], "'loud' is not one of"),
        (["worker", "--preload", "--reload"], "--reload and --preload cannot be combined"),
        (["dead", "replay"], "Nothing was done"),
        (["dead", "show"], "Missing argument"),
        (["results", "--db", "/nowhere/x.db"], "There is no result database"),
    ],
)
def test_every_error_is_one_line_that_begins_alike(arguments: list[str], said: str) -> None:
    done = command(*arguments)

    assert done.returncode == 2
    [line] = done.stderr.decode().splitlines()
    assert line.startswith("error: ") and said in line and "Value error" not in line
    assert done.stdout == b""


def test_version_is_one_line() -> None:
    from aiotask import __version__

    for flag in ("--version", "-V"):
        assert command(flag).stdout.decode() == f"aiotask {__version__}\n"


def commands() -> Iterator[list[str]]:
    yield []
    yield from ([name] for name in ("worker", "demo", "jobs", "cancel", "queues", "stack", "doctor", "version"))
    yield from (["results", name] for name in ("list", "prune"))
    yield from (["dead", name] for name in ("list", "show", "replay", "delete"))
    yield from (["server", name] for name in ("start", "stop", "status"))


@pytest.mark.parametrize("arguments", list(commands()), ids=" ".join)
def test_help_fits_eighty_columns_and_flags_have_no_type(arguments: list[str]) -> None:
    said = command(*arguments, "--help", COLUMNS="80").stdout.decode()

    assert max(map(len, said.splitlines())) <= 80
    assert "<bool>" not in said and "[[" not in said and "..." not in said.replace("]...", "").replace("}...", "")


def test_doctor_wraps_its_text_into_the_column_beside_the_names(own_server: PrivateServer, tmp_path: Path) -> None:
    settings = {"AIOTASK_HOME": str(tmp_path), "COLUMNS": "80"}
    shown = command("doctor", "--url", own_server.url, FORCE_COLOR="1", **settings).stdout.decode()
    lines = re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()
    assert max(map(len, lines)) <= 80
    at = next(line.index("memory: everything") for line in lines if "durability" in line)
    below = [line for line in lines if line.startswith("   ")]
    assert len(below) > 1 and all(len(line) - len(line.lstrip()) == at for line in below)

    piped = command("doctor", "--url", own_server.url, **settings).stdout.decode()
    assert "Run CONFIG SET appendonly yes, and set it in the configuration file of the server, too.\n" in piped


def test_doctor_names_no_setting_of_redis_for_the_broker_in_memory() -> None:
    checks = json.loads(command("doctor", "--url", "memory://", "--json").stdout)["checks"]
    [found] = [check for check in checks if check["name"] == "durability"]
    assert (found["state"], found["fix"]) == ("warn", "")
