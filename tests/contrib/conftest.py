"""Fixtures of the tests of integrations with web frameworks."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..workers import Workers
from .project import Project


@pytest.fixture
def project(tmp_path: Path, workers: Workers, _no_open_connections: None) -> Project:
    """An empty folder, in which programs of a test run."""
    return Project(tmp_path / "project", workers)
