"""``aiotask web``, ``aiotask web-user`` and ``aiotask audit``."""

from __future__ import annotations

import json
from pathlib import Path

from aiotask.contrib.web.users import UsersFile
from aiotask.ops.visitors import Verb

from ..commands import run_command
from ..server import PrivateServer
from .command import invoke
from .shop import Shop


def test_a_line_of_a_user_is_made_from_a_password_on_stdin(tmp_path: Path) -> None:
    lines = [
        run_command("web-user", name, "--role", role, input=f"{password}\n").stdout
        for name, role, password in (("ada", "act", "correct horse"), ("bob", "read", "battery staple"))
    ]
    file = tmp_path / "users.txt"
    file.write_text("".join(lines))

    users = UsersFile(file)
    found = users.check("ada", "correct horse")
    assert found is not None and found.role == "act"
    assert users.check("bob", "correct horse") is None and users.check("eve", "correct horse") is None
    assert "correct horse" not in "".join(lines)
    short = run_command("web-user", "ada", input="short\n")
    assert short.returncode == 2 and "Choose one of 8 to" in short.stderr


def test_a_dashboard_for_other_machines_needs_users(own_server: PrivateServer, tmp_path: Path) -> None:
    for arguments, said in (
        (["--host", "0.0.0.0"], "--users users.txt"),
        (["--host", "0.0.0.0", "--trust-user-header", "X-User"], "needs --from NETWORK"),
        (["--users", str(tmp_path / "missing.txt")], "cannot be read"),
        (["--allow", "paus"], 'Did you mean "pause"'),
        (["--from", "10.0.0.0/8"], "Give both"),
    ):
        done = run_command("web", "--url", own_server.url, *arguments)
        assert done.returncode == 2 and said in done.stderr, done.stderr


def test_what_commands_do_is_in_the_audit(own_server: PrivateServer, shop: Shop) -> None:
    url = own_server.url
    assert "The audit has no actions yet" in invoke("audit", "--url", url).output
    invoke("queues", "pause", "tiles", "--why", "it moves", "--url", url)
    invoke("queues", "purge", "tiles", "--yes", "--url", url)
    invoke("schedules", "pause", "nothing", "--url", url)

    lines = json.loads(invoke("audit", "--url", url, "--json").output)
    assert [(line["verb"], line["number"], line["ended"]) for line in lines] == [
        ("pause", 0, "failed"),
        ("purge", 2, "done"),
        ("purge", 0, "begun"),
        ("pause", 1, "done"),
    ]
    assert {line["source"] for line in lines} == {"cli"} and all("@" in line["who"] for line in lines)
    shown = invoke("audit", "--url", url, "--limit", "2").output
    assert "jobs in queue tiles" in shown and 'queue "tiles"' not in shown


def test_the_help_names_every_verb() -> None:
    shown = " ".join(invoke("web", "--help").output.replace("│", " ").split())
    listed = shown.partition("separated by commas:")[2].partition(".")[0]
    assert {word.strip() for word in listed.split(",")} == {verb.replace("_", "-") for verb in Verb}
