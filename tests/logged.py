"""Workers whose log a test looks at: an app that the test writes, and stderr that leads where the test wants it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

from aiotask import App

from .workers import Workers

__all__ = ["Shop", "objects"]

_HEAD = """\
import asyncio, logging, os, signal, sys, threading, time, warnings
from aiotask import App, Retry, current_job

app = App(os.environ["TEST_APP"])
log = logging.getLogger("shop.images")
"""


class Shop:
    """The module ``shop`` in a directory of its own, and a client of its app.

    Args:
        text: of the module, below imports, ``app`` and ``log``.
    """

    def __init__(self, workers: Workers, folder: Path, name: str, text: str) -> None:
        self.folder = folder
        self.workers = workers
        self.app = App(name, url=workers.url)
        self.env = {"TEST_APP": name}
        (folder / "shop.py").write_text(_HEAD + textwrap.dedent(text), encoding="utf-8")

    def start(self, *options: str, **settings: Any) -> Any:
        """A supervisor that logs to a file."""
        env = {**self.env, **settings.pop("env", {})}
        return self.workers.start("shop", app_dir=self.folder, options=options, env=env, **settings)

    def start_at(self, stderr: int, *options: str, processes: int = 1) -> subprocess.Popen[bytes]:
        """A supervisor whose stdout and stderr are this file descriptor; the test ends it."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("AIOTASK_") and name not in ("NO_COLOR", "PYTHONUNBUFFERED")
        }
        kept |= {"AIOTASK_URL": self.workers.url, "AIOTASK_HOME": str(self.folder / "home"), **self.env}
        return subprocess.Popen(
            [sys.executable, "-m", "aiotask_cli", "worker", "shop", "-c", str(processes), *options],
            stdin=subprocess.DEVNULL,
            stdout=stderr,
            stderr=stderr,
            env=kept,
            cwd=self.folder,
            start_new_session=True,
        )

    def call(self, task: str, *args: Any) -> Any:
        """Send a job of this task."""
        return self.app.s(f"shop:{task}", *args).apply_async()


def objects(log: str) -> list[dict[str, Any]]:
    """The lines of a JSON log; every single one has to be an object."""
    return [json.loads(line) for line in log.splitlines()]
