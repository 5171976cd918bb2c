"""A user's project in a folder of its own: its files, its commands, and its worker services."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from ..workers import ROOT, Supervisor, Workers

__all__ = ["Project"]


class Project:
    """Commands run in the folder, with the broker of the tests in ``AIOTASK_URL``."""

    def __init__(self, folder: Path, workers: Workers) -> None:
        self.folder = folder
        self._workers = workers
        folder.mkdir()
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(("AIOTASK_", "FLASK_"))}
        self.env |= {
            "AIOTASK_URL": workers.url,
            "AIOTASK_HOME": str(workers.directory / "home"),
            "NO_COLOR": "1",
            "COLUMNS": "100",
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": str(ROOT),
        }

    def write(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def call(self, *arguments: str, code: int = 0) -> str:
        """What ``python`` with these arguments writes, which ends with this exit code."""
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=100,
        )
        assert done.returncode == code, f"{arguments} ended with {done.returncode}\n{done.stdout}"
        return done.stdout

    def serve(self, *arguments: str) -> Supervisor:
        """Start ``python`` with these arguments, and return once it is a supervisor whose workers are in service."""
        log = self._workers.directory / f"service-{len(self._workers.all)}.log"
        supervisor = Supervisor([sys.executable, *arguments], log, self.env, self.folder)
        self._workers.all.append(supervisor)
        supervisor.wait_for_banner(60)
        return supervisor
