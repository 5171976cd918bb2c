"""``aiotask top``: the overview as plain text, and what it needs for a screen."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from ..commands import run_command
from ..helpers import wait_until
from ..server import PrivateServer
from .command import invoke
from .shop import Shop


@pytest.mark.parametrize("arguments", [["--once"], []])
def test_the_overview_is_printed_once_where_there_is_no_terminal(
    own_server: PrivateServer, shop: Shop, arguments: list[str]
) -> None:
    done = run_command("top", "--url", own_server.url, *arguments)

    assert done.returncode == 0 and not done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"{shop.app.name}  Overview  ") and own_server.url in lines[0]
    assert any("No worker is live and 3 jobs are not finished." in line for line in lines)
    [tiles] = [line.split() for line in lines if line.split()[:1] == ["tiles"]]
    assert tiles[:5] == ["tiles", "×", "no", "worker", "2"]  # noqa: RUF001
    assert "\x1b" not in done.stdout and all(len(line) <= 200 for line in lines)


def test_it_fits_the_terminal(own_server: PrivateServer, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    done = invoke("top", "--once", "--url", own_server.url)
    assert done.exit_code == 0 and all(len(line) <= 80 for line in done.output.splitlines())


def test_what_is_wrong_is_said(own_server: PrivateServer) -> None:
    for arguments, said, code in (
        (["--interval", "0.1s"], "too short", 2),
        (["--allow", "paus"], 'Did you mean "pause"', 2),
        (["--name", "nobody-has-this", "--once"], "", 0),
    ):
        done = run_command("top", "--url", own_server.url, *arguments)
        assert done.returncode == code and said in done.stderr, done.stderr
    own_server.kill()
    done = run_command("top", "--url", own_server.url, "--once")
    assert done.returncode == 1 and "error:" in done.stderr and "Traceback" not in done.stderr


class Terminal:
    """A command on a terminal of 80 x 24."""

    def __init__(self, *arguments: str, env: dict[str, str] | None = None) -> None:
        self._master, slave = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "aiotask_cli", *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24", **(env or {})},
            start_new_session=True,
        )
        os.close(slave)
        os.set_blocking(self._master, False)
        self.output = ""

    def shows(self, words: str) -> bool:
        with contextlib.suppress(BlockingIOError, OSError):
            self.output += os.read(self._master, 1 << 20).decode(errors="replace")
        return words in self.output

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def ends(self) -> int | None:
        self.shows("")
        return self._process.poll()

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(30)
        os.close(self._master)


def test_on_a_terminal_it_shows_a_screen_until_q(own_server: PrivateServer, shop: Shop) -> None:
    pytest.importorskip("textual", reason="textual is not installed: pip install 'aiotask[top]'")
    terminal = Terminal("top", "--url", own_server.url)
    try:
        wait_until(lambda: terminal.shows("tiles"), description="the queue is shown", timeout=60)
        terminal.type("q")
        wait_until(lambda: terminal.ends() is not None, description="it has ended", timeout=30)
        assert terminal.ends() == 0
        # The screen is left as it was found.
        assert terminal.output.rstrip().endswith("\x1b[?1004l") or "\x1b[?1049l" in terminal.output
    finally:
        terminal.close()


def test_without_textual_it_says_what_to_install(own_server: PrivateServer, tmp_path: Path) -> None:
    # A module of this name that cannot be imported stands for one that is not there.
    (tmp_path / "textual").mkdir()
    (tmp_path / "textual" / "__init__.py").write_text("raise ModuleNotFoundError('no module', name='textual')\n")
    terminal = Terminal("top", "--url", own_server.url, env={"PYTHONPATH": str(tmp_path)})
    try:
        wait_until(lambda: terminal.ends() is not None, description="it has ended", timeout=60)
        assert terminal.ends() == 2
        assert "needs textual, which is not installed: pip install 'aiotask[top]'" in terminal.output
    finally:
        terminal.close()


def test_on_a_terminal_that_cannot_draw_it_prints_the_overview(own_server: PrivateServer, shop: Shop) -> None:
    terminal = Terminal("top", "--url", own_server.url, env={"TERM": "dumb"})
    try:
        wait_until(lambda: terminal.ends() is not None, description="it has ended by itself", timeout=60)
        assert terminal.ends() == 0 and "tiles" in terminal.output and "\x1b" not in terminal.output
    finally:
        terminal.close()
