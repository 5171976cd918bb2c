"""Settings of the embedded server, and the directory of its state."""

from __future__ import annotations

import stat
import tempfile
from pathlib import Path

import pytest

from aiotask.embedded import server as embedded
from aiotask.embedded import state_directory
from aiotask.embedded.state_directory import StateDirectory
from aiotask.errors import ConfigError

from .processes import ENSURE, python


def test_it_can_be_forbidden(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setenv("AIOTASK_EMBEDDED", "0")

    with pytest.raises(ConfigError, match="AIOTASK_URL"):
        embedded.ensure()

    assert not home.exists()


def test_state_directory_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert embedded.state_directory() == tmp_path / "home"
    monkeypatch.delenv("AIOTASK_HOME")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    assert embedded.state_directory() == tmp_path / "xdg" / "aiotask"
    monkeypatch.setenv("XDG_STATE_HOME", "relative, so to be ignored")
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    assert embedded.state_directory() == tmp_path / "user" / ".local" / "state" / "aiotask"


def test_directory_that_cannot_be_made_is_a_clear_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in ("file", "file/below"):
        monkeypatch.setenv("AIOTASK_HOME", str(tmp_path / place))

        with pytest.raises(ConfigError, match=f'"{tmp_path / place}".* Set AIOTASK_HOME'):
            embedded.ensure()


def test_open_directory_is_closed_if_it_is_empty_and_refused_if_others_may_use_it(home: Path) -> None:
    home.mkdir()
    home.chmod(0o755)
    embedded.ensure()
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    embedded.stop()

    shared = home.with_name("shared")
    shared.mkdir()
    shared.chmod(0o755)
    (shared / "letter").write_text("")

    with pytest.raises(ConfigError, match="chmod 700"):
        embedded.ensure(shared)
    assert stat.S_IMODE(shared.stat().st_mode) == 0o755


def test_directory_that_holds_only_the_history_is_ours(home: Path) -> None:
    home.mkdir()
    home.chmod(0o755)
    (home / "results.db").write_text("")

    assert embedded.ensure().started
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_socket_directory_that_others_can_write_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    far = tmp_path / ("long-" * 30)
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        monkeypatch.setattr(state_directory, "_SHORT", f"{short}/{{uid}}")
        runtime = StateDirectory.locate(far).socket.parent
        runtime.mkdir()
        runtime.chmod(0o777)

        for act in (embedded.ensure, embedded.status):
            with pytest.raises(ConfigError, match="not a private directory"):
                act(far)

        runtime.chmod(0o700)
        assert embedded.ensure(far).started
        assert embedded.stop(far)


@pytest.mark.parametrize("size", [0, 500], ids=["at-once", "while-starting"])
def test_full_disk_is_an_error_and_not_a_wait(size: int) -> None:
    # A limit for the size of files, which the server inherits, is as good as a full disk.
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))\n"
    starter = python(limit + ENSURE, PYTHONDONTWRITEBYTECODE="1")
    _, errors = starter.communicate(timeout=60)

    assert starter.returncode == 1
    assert "aiotask.errors.BrokerError: The embedded server" in errors
    assert embedded.ensure().started
