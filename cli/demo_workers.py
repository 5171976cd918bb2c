"""The worker processes of the demo: a supervisor that is a child process and ends with the demo."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Coroutine, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from aiotask.errors import AiotaskError

__all__ = ["DemoWorkers", "demo_workers", "run_until_signalled"]

T = TypeVar("T")

#: Seconds that the jobs get to end (``--grace``), and seconds that the supervisor gets to stop.
JOBS_TIMEOUT, STOP_TIMEOUT = 2.0, 10.0
_LAST_LINES = 15


class DemoWorkers:
    """The supervisor of the demo's workers, as its parent process sees it."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._log = log
        self._before = _cpu_of_children()

    def check(self) -> None:
        """Raise AiotaskError, with the end of the log, if the supervisor has ended by itself."""
        code = self._process.poll()
        if code is not None:
            raise AiotaskError(f"The workers ended with exit code {code}. The end of their log:\n{self.log_tail()}")

    def log_tail(self) -> str:
        """The last lines that the workers logged."""
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-_LAST_LINES:])

    def cpu_seconds(self) -> float:
        """CPU seconds of the supervisor and of the processes that it reaped, once it has ended."""
        return _cpu_of_children() - self._before

    def stop(self) -> None:
        """Stop the supervisor with TERM, and kill it if it does not end in time."""
        process = self._process
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_TIMEOUT)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            process.kill()
            process.wait()


def _cpu_of_children() -> float:
    """CPU seconds of all child processes that have ended. They include those of a shell script whose last command this
    program is, since the shell becomes this process."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextlib.contextmanager
def demo_workers(arguments: list[str]) -> Iterator[DemoWorkers]:
    """Run ``aiotask worker`` with these arguments, in its own session, so that Ctrl-C reaches this process alone.

    TERM and a closed terminal end this process like Ctrl-C does: through its ``finally`` blocks.
    """
    command = [sys.executable, "-m", __package__, "worker", *arguments, "--grace", str(JOBS_TIMEOUT)]
    with tempfile.TemporaryDirectory(prefix="aiotask-demo-") as directory, _ending_on_signals():
        log = Path(directory) / "workers.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env={**os.environ, "NO_COLOR": "1"},
            )
        started = DemoWorkers(process, log)
        try:
            yield started
        finally:
            started.stop()


@contextlib.contextmanager
def _ending_on_signals() -> Iterator[None]:
    """Let each signal that asks for an end raise where this process is, or cancel what `run_until_signalled` runs."""
    _received.clear()
    before = {number: signal.signal(number, _end) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    try:
        yield
        _end_if_signalled()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_until_signalled(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in a new event loop, within `demo_workers`; a signal cancels it.

    An exception that a signal handler raises in the middle of the loop's own code would break a connection instead.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed.
        SystemExit: TERM or HUP came.
    """

    async def cancellable() -> T:
        current = asyncio.current_task()
        assert current is not None
        _running.append(current)
        try:
            return await main
        finally:
            _running.clear()

    try:
        return asyncio.run(cancellable())
    except asyncio.CancelledError:
        _end_if_signalled()
        raise


#: The signals that asked for an end, and the task that is cancelled then, if there is one.
_received: list[int] = []
_running: list[asyncio.Task[Any]] = []


def _end(number: int, frame: FrameType | None) -> None:
    _received.append(number)
    for task in _running:
        task.get_loop().call_soon_threadsafe(task.cancel)
    if not _running:
        _end_if_signalled()


def _end_if_signalled() -> None:
    if _received:
        raise KeyboardInterrupt if _received[0] == signal.SIGINT else SystemExit(128 + _received[0])
