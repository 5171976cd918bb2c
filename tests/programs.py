"""Programs of several files in a folder of their own, run as their users run them, beside workers for them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from .workers import Supervisor, Workers

__all__ = ["Program"]


class Program:
    """Files in a folder. Code under test reads the name of its app from ``TEST_APP``, and prints one line of JSON.

    Args:
        files: text by path.
    """

    def __init__(self, folder: Path, workers: Workers, files: Mapping[str, str]) -> None:
        self.folder = folder
        self._workers = workers
        self._app = f"test-{uuid4().hex[:12]}"
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def serve(self, *modules: str, folder: str = "", wait: bool = True) -> Supervisor:
        """Workers for these modules, started in a folder of the program."""
        return self._workers.start(*modules, app_dir=self.folder / folder, env={"TEST_APP": self._app}, wait=wait)

    def run(self, *arguments: str, folder: str = "") -> Any:
        """What a Python with these arguments prints, from JSON."""
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder / folder,
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith("AIOTASK_")},
                "AIOTASK_URL": self._workers.url,
                "AIOTASK_HOME": str(self._workers.directory / "home"),
                "TEST_APP": self._app,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout.splitlines()[-1])
