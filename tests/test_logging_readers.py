"""Readers of a worker's log that stop reading or go away, terminals, and jobs that close or replace the streams."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import signal
import subprocess
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from .crossed import crossed
from .helpers import wait_until, wait_until_async
from .logged import Shop
from .workers import Workers

TASKS = """
    @app.task
    def echo(value):
        return value

    @app.task
    async def aecho(value):
        return value

    @app.task
    def says(value):
        print("said", value)
        return value

    @app.task
    async def asays(value):
        print("said", value, flush=True)
        return value

    @app.task
    def chats(lines):
        for number in range(lines):
            log.info("line %d %s", number, "x" * 80)
        return lines

    @app.task
    def says_and_hangs(path):
        print("before it hangs")
        while not os.path.exists(path):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)

    @app.task
    def breaks(how):
        match how:
            case "closed stderr": sys.stderr.close()
            case "no streams": sys.stdout = sys.stderr = None
            case "closed descriptor": os.close(2)
            case "another descriptor": os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            case "shutdown": logging.shutdown()
            case "disabled": logging.disable(logging.CRITICAL)
            case "configured": logging.basicConfig(force=True, level=logging.DEBUG)
"""


@pytest.fixture
def shop(workers: Workers, tmp_path: Path, app_name: str) -> Shop:
    return Shop(workers, tmp_path, app_name, TASKS)


class Pipe:
    """A pipe whose reading end the test has."""

    def __init__(self) -> None:
        self.out, self.into = os.pipe()
        os.set_blocking(self.out, False)
        self.text = ""

    def fill(self) -> None:
        """Nothing more fits into the pipe until its other end is read."""
        os.set_blocking(self.into, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(self.into, b"." * 4096)
        os.set_blocking(self.into, True)

    def read(self) -> str:
        """All that has been read so far."""
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self.out, 65536):
                self.text += data.decode(errors="replace")
        return self.text

    def close(self) -> None:
        for fd in (self.out, self.into):
            with contextlib.suppress(OSError):
                os.close(fd)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.close()


@contextlib.contextmanager
def ended(worker: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Nothing of it is left after the block."""
    try:
        yield worker
    finally:
        if worker.poll() is None:
            worker.terminate()
            try:
                worker.wait(20)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()


async def test_with_nobody_reading_jobs_run_the_lease_is_renewed_and_a_stop_works(shop: Shop, pipe: Pipe) -> None:
    pipe.fill()
    with ended(shop.start_at(pipe.into, processes=2)) as worker:
        for number in range(100):
            assert await shop.call("echo" if number % 2 else "aecho", number) == number
        for task in ("says", "asays", "says", "asays"):
            assert await shop.call(task, 1) == 1
        async with shop.app.inspector() as inspector:
            assert len(await inspector.workers()) == 2
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0


async def test_lines_that_are_dropped_are_counted_and_said_once_the_reader_is_back(shop: Shop, pipe: Pipe) -> None:
    pipe.fill()
    with ended(shop.start_at(pipe.into)) as worker:
        assert await shop.call("chats", 30_000) == 30_000
        found = wait_until(
            lambda: re.search(r"([\d,]+) log lines were dropped here", pipe.read()), description="the loss is said"
        )
        result = shop.call("echo", 7)
        assert await result == 7
        wait_until(lambda: f"■ shop:echo {result.id}" in pipe.read(), description="lines come as before")
        worker.send_signal(signal.SIGTERM)
        wait_until(lambda: pipe.read() and worker.poll() is not None, description="it has ended")

    assert worker.returncode == 0
    seen = len(re.findall(r"shop\.images: line \d+ x{80}$", pipe.text, re.MULTILINE))
    lost = int(found[1].replace(",", ""))
    assert seen > 1000
    # A few of the lines that were lost are those of events.
    assert 30_000 <= seen + lost <= 30_010


async def test_a_reader_that_is_slow_but_reads_gets_every_line(shop: Shop, pipe: Pipe) -> None:
    with ended(shop.start_at(pipe.into)):
        result = shop.call("chats", 15_000)
        await result.sent()
        await wait_until_async(lambda: "line 14999 " in pipe.read(), description="the last line is there", timeout=50)
        await result

    assert "dropped" not in pipe.text
    assert len(re.findall(r"shop\.images: line \d+ x{80}$", pipe.text, re.MULTILINE)) == 15_000


async def test_with_the_reader_gone_jobs_print_and_log_and_the_exit_code_is_0(shop: Shop, pipe: Pipe) -> None:
    with ended(shop.start_at(pipe.into)) as worker:
        os.close(pipe.into)
        wait_until(lambda: "\n  history  " in pipe.read(), description="it is in service")
        os.close(pipe.out)
        for task in ("echo", "says", "asays", "says", "chats"):
            assert await shop.call(task, 3) == 3
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0


async def test_what_a_job_prints_is_seen_while_it_runs_and_not_lost_when_it_is_killed(
    shop: Shop, pipe: Pipe, tmp_path: Path
) -> None:
    with ended(shop.start_at(pipe.into)):
        await shop.call("says_and_hangs", str(tmp_path / "go on")).sent()
        wait_until(lambda: "before it hangs\n" in pipe.read(), description="it is seen")
        (tmp_path / "go on").touch()


BROKEN = [
    "closed stderr",
    "no streams",
    "closed descriptor",
    "another descriptor",
    "shutdown",
    "disabled",
    "configured",
]


@pytest.mark.parametrize(("how", "options"), crossed(BROKEN, {"text": (), "json": ("--log-json",)}))
async def test_whatever_a_job_does_to_streams_and_logging_the_log_goes_on(
    shop: Shop, how: str, options: tuple[str, ...]
) -> None:
    worker = shop.start(*options)
    await shop.call("breaks", how)
    for number in range(3):
        assert await shop.call("echo", number) == number

    assert worker.stop() == 0
    assert len(re.findall(r"(?:■|\\u25a0) shop:echo", worker.log)) == 3
    assert "Traceback" not in worker.log and "ended by" not in worker.log


async def test_a_terminal_shows_short_times_and_stays_as_it_was_for_other_programs(shop: Shop) -> None:
    controller, terminal = pty.openpty()
    os.set_blocking(controller, False)
    shown = b""

    def screen() -> str:
        nonlocal shown
        with contextlib.suppress(BlockingIOError, OSError):
            while data := os.read(controller, 65536):
                shown += data
        return shown.decode(errors="replace")

    try:
        with ended(shop.start_at(terminal)):
            wait_until(lambda: "\n  history  " in screen(), description="it is in service")
            await shop.call("echo", 1)
            wait_until(lambda: "■" in screen(), description="the end of the job is shown")
            assert re.search(r"\x1b\[2m\d\d:\d\d:\d\d\.\d{3} worker-1 \x1b\[0m\x1b\[32m■\x1b\[0m shop:echo", screen())
            assert not fcntl.fcntl(terminal, fcntl.F_GETFL) & os.O_NONBLOCK

            # Ctrl-S
            termios.tcflow(terminal, termios.TCOOFF)
            for number in range(20):
                assert await shop.call("chats", 100) == 100, number
            termios.tcflow(terminal, termios.TCOON)
            result = shop.call("echo", 2)
            assert await result == 2
            wait_until(lambda: result.id in screen(), description="the terminal goes on")
    finally:
        os.close(controller)
        os.close(terminal)


def test_an_app_that_does_not_load_is_an_error_like_any_other_on_a_terminal(
    workers: Workers, tmp_path: Path, app_name: str
) -> None:
    shop = Shop(workers, tmp_path, app_name, "raise RuntimeError('half written')")
    controller, terminal = pty.openpty()
    try:
        with ended(shop.start_at(terminal)) as worker:
            assert worker.wait(30) == 3
        shown = os.read(controller, 65536).decode()
    finally:
        os.close(controller)
        os.close(terminal)
    assert shown.startswith("\x1b[31merror: The app could not be loaded.")
    assert "half written" in shown
