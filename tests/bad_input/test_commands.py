"""Commands and their variables refuse what cannot work: real processes, all at once."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest
from typer.testing import CliRunner

from aiotask_cli.main import app as command_line

from .jobs import AFAR, NOWHERE


@dataclass
class Attempt:
    """A command that cannot work: what it is to say, and with which exit code."""

    command: list[str]
    message: str
    code: int
    env: dict[str, str] = field(default_factory=dict)
    #: A traceback of the user's own code is part of the message.
    traceback: bool = False


SOURCES = {
    "plain.py": "x = 1\n",
    "empty.py": "from aiotask import App\napp = App('empty')\n",
    "raises.py": "def helper():\n    raise KeyError('boom')\nhelper()\n",
    "syntax.py": "def f(:\n",
    "leaves.py": "import sys\nsys.exit('no configuration')\n",
    "needs.py": "import a_package_that_nobody_has\n",
    "good.py": "from aiotask import App\napp = App('good')\nother = 3\n@app.task\ndef f() -> None: ...\n",
    "junk.db": "this is text and no database, however long it goes on " * 30,
    "sitecustomize.py": (
        "import os, sys\n"
        "def hook(event, arguments):\n"
        # Workers of one user ask the doors of each other whether somebody is still behind them.
        "    if event == 'socket.connect' and '/worker.' not in str(arguments[1]):\n"
        "        open(os.environ['CONNECTED'], 'a').write(f'{arguments}\\n')\n"
        "sys.addaudithook(hook)\n"
    ),
}
SECRET_NEEDED = "redis://user:***@192.0.2.1:6379/0"
ATTEMPTS = {
    "no app": Attempt(
        ["worker"], "Which app? Name its module, as in `aiotask worker shop.tasks`, or set AIOTASK_APP", 2
    ),
    "blank app": Attempt(["worker"], 'write into pyproject.toml: [tool.aiotask] app = "shop', 2, {"AIOTASK_APP": ","}),
    "wrong module": Attempt(["worker", "nope.tasks"], 'There is no module "nope" (looked in "', 3),
    "no tasks": Attempt(["worker", "plain"], 'Module "plain" defines no tasks. Put `@aiotask.task`', 3),
    "empty app": Attempt(["worker", "empty"], 'Module "empty" defines no tasks.', 3),
    "raises": Attempt(["worker", "raises"], "Module \"raises\" raised KeyError while it was imported: 'boom'", 3),
    "syntax": Attempt(["worker", "syntax"], "    def f(:", 3),
    "exits": Attempt(["worker", "leaves"], 'Module "leaves" raised SystemExit while it was imported: no config', 3),
    "needs": Attempt(["worker", "needs"], 'needs "a_package_that_nobody_has", which is not installed here', 3),
    "file": Attempt(["worker", "good.py"], '"good.py" is a file; name the module instead: `good`', 3),
    "no such app": Attempt(["worker", "good:ap"], 'Module "good" has no "ap". Did you mean "app"?', 3),
    "not an app": Attempt(["worker", "good:other"], '"good:other" is of type int, not an App. Its apps: app.', 3),
    "memory": Attempt(["worker", "good"], "keeps its jobs in memory", 2, {"AIOTASK_URL": "memory://"}),
    "result ttl": Attempt(["worker", "good"], 'AIOTASK_RESULT_TTL="x" is not a number', 2, {"AIOTASK_RESULT_TTL": "x"}),
    "serializer": Attempt(["queues"], "serializer='xml' is not a serializer", 2, {"AIOTASK_SERIALIZER": "xml"}),
    "app name": Attempt(["queues"], "cannot name an app (AIOTASK_NAME)", 2, {"AIOTASK_NAME": "a b"}),
    "scheme": Attempt(
        ["worker", "good"], '"http://u:***@localhost" is not a broker', 2, {"AIOTASK_URL": "http://u:p@localhost"}
    ),
    "db directory": Attempt(["worker", "good", "--result-db", "."], "is a directory. Name a file in it:", 2),
    "db no database": Attempt(
        ["worker", "good", "--result-db", "junk.db"], "is damaged, or not a SQLite database. Move", 2
    ),
    "db no directory": Attempt(["worker", "good", "--result-db", "good.py/x.db"], "cannot be opened or written", 2),
    "network worker": Attempt(["worker", "good"], SECRET_NEEDED, 2, {"AIOTASK_URL": AFAR}),
    "network queues": Attempt(["queues"], SECRET_NEEDED, 2, {"AIOTASK_URL": AFAR}),
    "network jobs": Attempt(["jobs", "--name", "x", "--url", AFAR], SECRET_NEEDED, 2),
    "network doctor": Attempt(["doctor"], SECRET_NEEDED, 1, {"AIOTASK_URL": AFAR}),
}


@pytest.fixture(scope="module")
def attempts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, subprocess.CompletedProcess[str]]:
    """Every attempt, two at a time."""
    folder = tmp_path_factory.mktemp("attempts")
    for name, text in SOURCES.items():
        (folder / name).write_text(text)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AIOTASK_")}
    clean |= {"AIOTASK_URL": NOWHERE, "AIOTASK_HOME": str(folder / "home"), "PYTHONPATH": str(folder)}
    clean |= {"COLUMNS": "200", "NO_COLOR": "1", "CONNECTED": str(folder / "connected")}

    def attempt(each: Attempt) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "aiotask_cli", *each.command]
        if each.command[0] == "worker":
            command += ["-c", "1"]
        return subprocess.run(
            command, cwd=folder, env=clean | each.env, capture_output=True, text=True, timeout=60, check=False
        )

    with ThreadPoolExecutor(2) as pool:
        done = dict(zip(ATTEMPTS, pool.map(attempt, ATTEMPTS.values()), strict=True))
    assert not (folder / "connected").exists(), (folder / "connected").read_text()
    return done


@pytest.mark.parametrize("case", ATTEMPTS)
def test_a_command_that_cannot_work_says_why_and_ends(
    case: str, attempts: dict[str, subprocess.CompletedProcess[str]]
) -> None:
    """Nobody opened a connection either: the fixture has looked."""
    done, expected = attempts[case], ATTEMPTS[case]
    said = done.stdout + done.stderr
    assert (expected.message in said, done.returncode) == (True, expected.code), said
    assert said.count(expected.message) == 1
    assert "Traceback" not in said and "hunter2" not in said


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("CONCURRENCY", "abc", '"abc" is not a count. Write a whole number from 1.'),
        ("CONCURRENCY", "1000000", "at most 1,000"),
        ("THREADS", "0", '"0" is not a count'),
        ("MAX_IN_FLIGHT", "-1", '"-1" is not a count'),
        ("MAX_JOBS_PER_CHILD", "x", '"x" is not a count'),
        ("MAX_MEMORY_PER_CHILD", "x", '"x" is not a size. Write bytes or a number with a unit'),
        ("GRACE", "ten", '"ten" is not a duration. Write seconds or a number with a unit'),
        ("GRACE", "-1", "must be 0 or more"),
        ("LOG_LEVEL", "loud", "'loud' is not one of"),
        ("BURST", "maybe", "boolean"),
    ],
)
def test_a_wrong_variable_is_refused_with_its_value(
    name: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"AIOTASK_{name}", value)
    monkeypatch.setenv("COLUMNS", "300")
    done = CliRunner().invoke(command_line, ["worker", "any"], prog_name="aiotask")
    assert (message in done.output, done.exit_code) == (True, 2), done.output
