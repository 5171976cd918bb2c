"""A state directory for every test, and a PATH without servers."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiotask.embedded import server as embedded


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All of PATH: an empty directory, so that every machine runs the server of the wheel (and ps)."""
    path = tmp_path / "bin"
    path.mkdir()
    if ps := shutil.which("ps"):
        (path / "ps").symlink_to(ps)
    monkeypatch.setenv("PATH", str(path))
    return path


@pytest.fixture(autouse=True)
def home(tmp_path: Path, programs: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = tmp_path / "home"
    monkeypatch.setenv("AIOTASK_HOME", str(path))
    monkeypatch.setenv("AIOTASK_EMBEDDED", "1")
    monkeypatch.delenv("AIOTASK_URL", raising=False)
    yield path
    embedded.stop(path)
