"""One queue in service: its worker processes, its client, and the marks of its tasks."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .install import Environment
from .ledger import Count, count
from .order import environment
from .server import Server

__all__ = ["Failed", "Service", "in_service"]

#: How much of a log goes into a message.
_TAIL = 400
_WARM_CALLS = 20


class Failed(Exception):
    """A peer did not do what a workload asks; the message says what."""


class Service:
    """A peer on an empty server, with a directory of its own."""

    def __init__(self, env: Environment, server: Server, *, mode: str, kind: str, limit: float) -> None:
        self.env = env
        self._mode = mode
        #: Monotonic time at which a run is given up.
        self.deadline = time.monotonic() + limit
        self.directory = Path(tempfile.mkdtemp(prefix=f"aiotask-peer-{env.peer.name}-"))
        self.marks = self.directory / "marks"
        self.marks.mkdir()
        self._log = self.directory / "log"
        self._variables = environment(server.url, self.marks, mode, kind, secrets.token_hex(32))
        self._client = [str(env.python), "-m", "benchmarks.peers.client", env.peer.name]
        self._commands: list[list[str]] = []
        self._running: list[subprocess.Popen[bytes]] = []
        self._sessions: set[int] = set()
        self._clients: list[subprocess.Popen[bytes]] = []
        server.empty()

    @property
    def left(self) -> float:
        """Seconds until the run is given up."""
        return max(0.1, self.deadline - time.monotonic())

    def client(self, action: str, *args: object) -> dict[str, Any]:
        """Run the peer's client to its end and return what it says."""
        try:
            done = subprocess.run(
                [*self._client, action, *map(str, args)],
                cwd=self.directory,
                env=self._variables,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=self.left,
            )
        except subprocess.TimeoutExpired:
            raise Failed(f"its client was not done with {action} in time") from None
        if done.returncode or not done.stdout.strip():
            raise Failed(f"its client failed at {action}: {_last(done.stderr)}")
        said: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return said

    def start_client(self, action: str, *args: object) -> subprocess.Popen[bytes]:
        """The peer's client beside; it ends by itself or with the service."""
        process = self._popen([*self._client, action, *map(str, args)])
        self._clients.append(process)
        return process

    def send(self, task: str, first: int, last: int, steps: int = 0) -> float:
        """Send jobs, numbered; the seconds that it took."""
        return float(self.client("send", task, first, last, steps)["seconds"])

    def start(self, processes: int) -> None:
        """Start its worker commands."""
        known = self.env.commands
        if (self._mode, processes) not in known:
            known[self._mode, processes] = self.client("commands", processes)["commands"]
        self._commands = known[self._mode, processes]
        for command in self._commands:
            self._running.append(self._start(command))

    def warm(self) -> None:
        """Wait until jobs come back; what is a little later than the first process is given a second."""
        self.client("call", _WARM_CALLS, 1, self.left)
        time.sleep(1.0)

    def keep_up(self) -> int:
        """Start again what has ended, as a service manager does; how many commands that were."""
        again = 0
        for place, process in enumerate(self._running):
            if process.poll() is not None:
                self._running[place] = self._start(self._commands[place])
                again += 1
        return again

    def pids(self) -> set[int]:
        """All processes that its commands have started and that live."""
        import psutil

        found = set()
        for pid in psutil.pids():
            with contextlib.suppress(OSError, psutil.Error):
                if os.getsid(pid) in self._sessions and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                    found.add(pid)
        return found

    def kill(self) -> None:
        """``kill -9`` all of its worker processes and what is above them."""
        while pids := self.pids():
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for process in self._running:
                process.poll()
            time.sleep(0.005)
        for process in self._running:
            process.wait()

    def until(self, runs: int) -> Count:
        """Wait until so many no-ops have run.

        Raises:
            Failed: they did not in time, or the workers ended.
        """
        while True:
            counted = count(self.marks)
            if counted.runs >= runs:
                return counted
            if time.monotonic() > self.deadline:
                raise Failed(f"{counted.runs:,} of {runs:,} jobs had run when the time was up. {self.log()}")
            if all(process.poll() is not None for process in self._running):
                raise Failed(f"its workers ended. {self.log()}")
            time.sleep(0.02)

    def log(self) -> str:
        """The end of what its workers have said."""
        return _last(self._log.read_text(errors="replace")) if self._log.exists() else ""

    def close(self) -> None:
        """End it, and remove its directory."""
        for process in self._clients:
            process.kill()
            process.wait()
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _start(self, command: list[str]) -> subprocess.Popen[bytes]:
        process = self._popen(command)
        self._sessions.add(process.pid)
        return process

    def _popen(self, command: list[str]) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=self.directory,
                env=self._variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


@contextlib.contextmanager
def in_service(
    env: Environment, server: Server, *, mode: str = "rate", kind: str = "", limit: float = 60.0
) -> Iterator[Service]:
    """A peer, without workers yet, that is gone afterwards."""
    service = Service(env, server, mode=mode, kind=kind or env.peer.kinds[0], limit=limit)
    try:
        yield service
    finally:
        service.close()


def _last(text: str) -> str:
    return " ".join(text.split())[-_TAIL:]
