"""aiotask demo: its tasks, its numbers, and its end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aiotask_cli.demo_tasks import Measures, measure

from ..commands import run_command
from ..helpers import wait_until
from ..server import PrivateServer
from .command import invoke


def test_the_demo_task_measures_what_is_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "shop.py"
    file.write_text(
        "class Shop:\n"
        "    def open(self, key):\n"
        "        if key and key != 1:\n"
        "            return [x for x in key if x]\n"
        "        elif key:\n"
        "            pass\n"
        "        return lambda: None\n"
    )

    # if, and, comprehension with its if, elif
    assert measure(str(file)) == Measures(lines=7, functions=2, classes=1, branches=5, nesting=3, error="")


@pytest.mark.parametrize("source", [b"def (", b"\xff\xfe nonsense", b"x = 1\x00"])
def test_a_file_that_does_not_parse_is_a_result(source: bytes, tmp_path: Path) -> None:
    file = tmp_path / "broken.py"
    file.write_bytes(source)

    found = measure(str(file))

    assert found["error"].partition(":")[0] in ("SyntaxError", "ValueError")
    assert found == Measures(lines=1, functions=0, classes=0, branches=0, nesting=0, error=found["error"])


def test_the_demo_does_its_work_and_every_number_agrees(own_server: PrivateServer) -> None:
    done = run_command("demo", "--limit", "60", "--concurrency", "2", "--url", own_server.url)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "All 60 files agree with the direct run" in done.stdout
    assert "2 worker processes" in done.stdout
    assert "\x1b" not in done.stdout, "no colour and no cursor tricks in a pipe"
    line = next(line.strip() for line in done.stdout.splitlines() if "aiotask results" in line)
    history = run_command(*line.split()[1:], "--json", "--limit", "100")
    assert len(json.loads(history.stdout)) == 60


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_broken_off_leaves_no_child(number: signal.Signals, own_server: PrivateServer) -> None:
    def of_demo(key: str) -> Any:
        (found,) = json.loads(invoke("queues", "--name", "demo", "--url", own_server.url, "--json").output)
        return found[key]

    process = subprocess.Popen(
        [sys.executable, "-m", "aiotask_cli", "demo", "--concurrency", "2", "--url", own_server.url],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        wait_until(
            lambda: any(queue["running"] for queue in of_demo("queues")), description="the demo is at work", timeout=120
        )
        assert sys.platform != "linux" or len(_mentioning(own_server.url)) >= 4
        process.send_signal(number)
        output, _ = process.communicate(timeout=120)

        assert process.returncode == 128 + number
        assert "Traceback" not in output
        assert of_demo("workers") == []
    finally:
        process.kill()
        process.wait()
    wait_until(lambda: not _mentioning(own_server.url), description="no process of the demo is left")


def _mentioning(url: str) -> list[int]:
    """Processes that have this server's address in their environment: children of the demo."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            if f"AIOTASK_URL={url}".encode() in (directory / "environ").read_bytes():
                found.append(int(directory.name))
        except OSError:
            continue
    return found
