"""A supervisor with worker processes, started as a user starts one."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from aiotask.brokers.redis.keys import prefix

from .server import Server
from .tasks import NAME

__all__ = ["Fleet", "fleet"]

#: Seconds that workers may take to start, and to stop.
_PATIENCE = 30.0


class Fleet:
    """One supervisor and its workers, in service."""

    def __init__(self, process: subprocess.Popen[bytes], pids: list[int]) -> None:
        self._process = process
        #: Of the worker processes.
        self.pids = pids

    @property
    def pid(self) -> int:
        """Of the supervisor."""
        return self._process.pid

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """The workers stand still while the block lasts, so that jobs gather."""
        for pid in self.pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in self.pids:
                os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def fleet(server: Server, processes: int) -> Iterator[Fleet]:
    """Worker processes on an empty namespace of this server."""
    server.clear()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "aiotask_cli", "worker", "benchmarks.tasks", "-c", str(processes)],
            cwd=Path(__file__).parent.parent,
            env={**os.environ, "AIOTASK_URL": server.url},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            yield Fleet(process, _pids(server, process, processes))
        except BaseException:
            log.seek(0)
            sys.stderr.buffer.write(b"The workers said:\n" + log.read()[-2000:])
            raise
        finally:
            process.terminate()
            try:
                process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _pids(server: Server, process: subprocess.Popen[bytes], processes: int) -> list[int]:
    """Process ids of the workers, once all of them are live."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        live: Any = server.client.hgetall(f"{prefix(NAME)}live")
        pids = [int(msgspec.msgpack.decode(facts)["pid"]) for name, facts in live.items() if name]
        if len(pids) == processes:
            return pids
        if process.poll() is not None:
            raise SystemExit(f"The supervisor ended with code {process.returncode}.")
        if time.monotonic() > deadline:
            raise SystemExit(f"{len(pids)} of {processes} workers were up after {_PATIENCE:g} s.")
        time.sleep(0.02)
