"""aiotask results: the history on the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from aiotask import ResultDB, Status
from aiotask.history.recorder import Recorder
from aiotask.job import More
from aiotask.outcome import ErrorInfo
from aiotask.values.flow import Flow

from ..history import ROOT, START, TASK, finished


def command(*arguments: object, **environment: str) -> tuple[int, str]:
    """``aiotask results …`` in a process of its own: exit code, and what it said."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AIOTASK_")}
    done = subprocess.run(
        [sys.executable, "-c", "from aiotask_cli.main import main; main()", "results", *map(str, arguments)],
        cwd=ROOT,
        env=clean | {"COLUMNS": "200", "NO_COLOR": "1"} | environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=60,
    )
    return done.returncode, done.stdout


def test_the_command_lists_newest_first_and_says_which_file(many: ResultDB, path: Path) -> None:
    code, said = command("--db", path, "--status", "failed", "--limit", 2)

    assert code == 0
    rows = [line for line in said.splitlines() if "FAILED" in line]
    assert [row.split()[0] for row in rows] == ["096", "092"]
    assert "ValueError: no" in rows[0]
    assert f"2 of 25 in {path}" in said
    after = said.partition("--after ")[2].splitlines()[0].strip("'")
    code, said = command("--db", path, "--status", "failed", "--limit", 30, "--after", after)
    assert [line.split()[0] for line in said.splitlines() if "FAILED" in line][:2] == ["088", "084"]
    assert code == 0 and f"23 of 25 in {path}" in said and "--after" not in said


def test_the_command_prints_json_and_takes_its_flags_from_the_environment(many: ResultDB, path: Path) -> None:
    code, said = command("--json", "--since", START + 90, AIOTASK_RESULT_DB=str(path), AIOTASK_TASK="shop.tasks:mail")

    assert code == 0
    assert [(job["id"], job["status"], job["queue"]) for job in json.loads(said)] == [
        ("095", "SUCCESS", "mail"),
        ("090", "SUCCESS", "mail"),
    ]


def test_the_command_shows_one_job(recorder: Recorder, path: Path) -> None:
    error = ErrorInfo("builtins.ValueError", "[red]no\x1b[0m", "Traceback:\n  in render")
    recorder.record([finished("a", args=(7,), status=Status.FAILED, error=error, attempt=3)])

    code, said = command("a", "--db", path)

    assert code == 0
    for text in (
        "FAILED",
        TASK,
        "arguments  7",
        r"ValueError: [red]no\x1b[0m",
        "  in render",
        "took       1.0 s",
        str(path),
    ):
        assert text in said, said
    assert "\x1b" not in said
    code, said = command("a", "--db", path, "--json")
    assert code == 0 and json.loads(said)["attempts"] == 3


def test_the_command_lists_the_jobs_of_a_graph(recorder: Recorder, path: Path) -> None:
    more = More(parent="sender", flow=Flow("graph", 1, ["a"]))
    recorder.record([finished("a", graph="graph"), finished("b", more=more, graph="graph"), finished("c")])

    code, said = command("--db", path, "--graph", "graph", "--json")
    assert code == 0
    assert {job["id"]: (job["graph"], job["parent"], job["deps"]) for job in json.loads(said)} == {
        "a": ("graph", None, []),
        "b": ("graph", "sender", ["a"]),
    }
    code, said = command("b", "--db", path)
    assert code == 0
    for text in ("graph      graph", "sent by    sender", "needed     a"):
        assert text in said, said


def test_the_command_says_what_to_do_when_there_is_nothing(recorder: Recorder, path: Path, tmp_path: Path) -> None:
    recorder.record([finished("a")])

    code, said = command("b", "--db", path)
    assert code == 1 and 'No finished job "b"' in said and "aiotask jobs b" in said
    code, said = command("--db", tmp_path / "none.db")
    assert code == 2 and "There is no result database" in said and "--result-db" in said
    assert not (tmp_path / "none.db").exists()
    code, said = command("--db", path, "--since", "yesterday")
    assert code == 2 and '"yesterday" is not a moment' in said
    code, said = command("--db", path, "--since", "10m")
    assert code == 0 and "No finished job in" in said
    code, said = command(AIOTASK_URL="redis://127.0.0.1:1")
    assert code == 2 and "AIOTASK_RESULT_DB" in said
