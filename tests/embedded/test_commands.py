"""aiotask server: start, show and stop the embedded server."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from aiotask.embedded import server as embedded

from .processes import client


def test_commands_start_show_and_stop_it(home: Path) -> None:
    from aiotask_cli.server import app

    def run(*words: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, list(words))
        assert result.exit_code == code, result.output
        return result.output

    assert "is not running" in run("status", code=1)
    assert "Started the embedded server" in run("start")
    server = embedded.ensure()
    assert f"pid {server.pid}" in run("start")
    with client(server) as connection:
        connection.set("job", "waits")

    shown = run("status")
    for part in (f"pid {server.pid}", server.version, "memory", "append-only file", str(server.directory), "running"):
        assert part in shown
    status = json.loads(run("status", "--json"))
    assert (status["pid"], status["url"], status["keys"]) == (server.pid, server.url, 1)
    assert "Stopped" in run("stop")
    assert "No embedded server is running in" in run("stop")
    assert json.loads(run("status", "--json", code=1)) == {"running": False, "directory": str(home)}


def test_help_of_every_command_has_examples() -> None:
    from aiotask_cli.server import app

    for command in ("start", "stop", "status"):
        result = CliRunner().invoke(app, [command, "--help"])

        assert result.exit_code == 0
        assert "Examples" in result.output and f"aiotask server {command}" in result.output
