"""A supervisor with worker processes, started as a user starts one."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from .bytecode import environment
from .figure import Failed
from .server import Server

__all__ = ["Fleet", "fleet", "live_pids"]

#: Seconds that workers may take to start, and to stop.
_START_TIMEOUT, _STOP_TIMEOUT = 120.0, 120.0


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

    def signal(self, number: signal.Signals) -> None:
        """Tell the supervisor something."""
        self._process.send_signal(number)

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
def fleet(
    server: Server, processes: int, *options: str, clear: bool = True, module: str = "benchmarks.tasks"
) -> Iterator[Fleet]:
    """Worker processes on this server.

    Args:
        options: further ones of ``aiotask worker``.
        clear: empty the namespace first; without that, others may be in service.
        module: that with the tasks; its app has the name of all.
    """
    if clear:
        server.clear()
    before = live_pids(server)
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "aiotask_cli", "worker", module, "-c", str(processes), *options],
            cwd=Path(__file__).parent.parent,
            env={**environment(), "AIOTASK_URL": server.url},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            yield Fleet(process, _wait_for(server, process, processes, before))
        except BaseException:
            log.seek(0)
            sys.stderr.buffer.write(b"The workers said:\n" + log.read()[-2000:])
            raise
        finally:
            process.terminate()
            try:
                process.wait(_STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def live_pids(server: Server) -> list[int]:
    """Process ids of the workers that are in service."""
    live: Any = server.client.hgetall(server.key("live"))
    return [int(msgspec.msgpack.decode(facts)["pid"]) for name, facts in live.items() if name]


def _wait_for(server: Server, process: subprocess.Popen[bytes], processes: int, others: Sequence[int]) -> list[int]:
    """Process ids of the workers, once all of them are live."""
    deadline = time.monotonic() + _START_TIMEOUT
    while len(pids := [pid for pid in live_pids(server) if pid not in others]) != processes:
        if process.poll() is not None:
            raise Failed(f"The supervisor ended with code {process.returncode}.")
        if time.monotonic() > deadline:
            raise Failed(f"{len(pids)} of {processes} workers were up after {_START_TIMEOUT:g} s.")
        time.sleep(0.02)
    return pids
