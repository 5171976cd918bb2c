"""What the comparisons of limits and of schedules share: the app of one queue in a directory, and its services."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

__all__ = ["AIOTASK", "BULLMQ", "DOCKET", "Scene"]

#: Arguments of Python that serve the module ``shop``.
AIOTASK = ("-m", "aiotask_cli", "worker", "shop", "-c", "1")
DOCKET = ("-c", "import asyncio, shop; asyncio.run(shop.serve())")
BULLMQ = ("-c", "import os, shop; os.execvp('node', ['node', '-e', shop.WORKER])")


class Scene:
    """A directory with the app of one queue, and its services.

    Args:
        app: text of the module ``shop``. Its runs add lines to the file that SHOP_PATH names.
        command: arguments of Python for a service; ``{}`` stands for its name.
        port: of the Redis that SHOP_URL names.
    """

    def __init__(self, app: str, command: tuple[str, ...], place: Path, port: int) -> None:
        self._command = command
        self._place = place
        self._path = place / "runs"
        self._path.touch()
        env = {name: value for name, value in os.environ.items() if not name.startswith("AIOTASK_")}
        self._env = env | {
            "SHOP_URL": f"redis://127.0.0.1:{port}/0",
            "SHOP_PATH": str(self._path),
            "PYTHONPATH": str(place),
        }
        self._services: list[subprocess.Popen[bytes]] = []
        (place / "shop.py").write_text(app)

    def start(self, count: int, **env: str) -> None:
        """Start services, with these variables besides."""
        for number in range(count):
            with (self._place / "service.log").open("ab") as log:
                service = subprocess.Popen(
                    [sys.executable, *(part.replace("{}", f"service{number}") for part in self._command)],
                    cwd=self._place,
                    env={**self._env, **env},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            self._services.append(service)

    def run(self, code: str, *arguments: str) -> None:
        """Run some Python that may import the app."""
        subprocess.run([sys.executable, "-c", code, *arguments], cwd=self._place, env=self._env, check=True)

    def lines(self) -> list[list[str]]:
        """The words of each line that runs have written."""
        return [line.split() for line in self._path.read_text().splitlines()]

    def stop(self, patience: float) -> None:
        """Stop all services as a deploy does, and kill with all of its processes what has not ended after so many
        seconds."""
        for service in self._services:
            service.terminate()
        for service in self._services:
            try:
                service.wait(patience)
            except subprocess.TimeoutExpired:
                os.killpg(service.pid, signal.SIGKILL)
                service.wait()
        self._services.clear()
