"""Tasks that are running while an operator signals, stops, replaces or renames what runs them."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from aiotask import App

from ..ledger import entered

app = App(os.environ["TEST_APP"])

_kept: set[Any] = set()


@app.task
def echo(value: int) -> int:
    return value


@app.task
def pid() -> int:
    return os.getpid()


@app.task
def nap(seconds: float, label: str = "nap") -> int:
    """The number of the attempt that slept to the end."""
    with entered(label) as attempt:
        time.sleep(seconds)
        return attempt


@app.task
async def anap(seconds: float, label: str = "anap") -> int:
    with entered(label) as attempt:
        await asyncio.sleep(seconds)
        return attempt


# ---- signals


@app.task
def reset_and_nap(number: int, runs: int) -> str:
    """Gives a signal back its default, as some libraries do, and waits for it, but in the last of these runs."""
    signal.signal(number, signal.SIG_DFL)
    with entered(label := f"reset {number}."):
        count = sum(label in path.read_text() for path in Path(os.environ["TEST_LEDGER"]).glob("*.jsonl"))
        if count <= runs:
            time.sleep(600)
    return "rested"


@app.task
def signal_itself(number: int) -> None:
    """Dies of a signal that others send by right."""
    signal.signal(number, signal.SIG_DFL)
    with entered("signal_itself"):
        os.kill(os.getpid(), number)
        time.sleep(600)


@app.task
def fork_and_nap(seconds: float) -> int:
    """How a child of a bare fork ended."""
    child = os.fork()
    if not child:
        with entered("forked"):
            time.sleep(seconds)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@app.task
def blocked_signals() -> tuple[list[int], list[int]]:
    """Signals that are blocked here, and in a program that is started from here."""
    code = "import signal; print(*map(int, signal.pthread_sigmask(signal.SIG_BLOCK, ())))"
    program = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, ()))), [int(n) for n in program.stdout.split()]


@app.task
def ask_the_terminal(how: str) -> str:
    """Reads from the controlling terminal, as `getpass` and `ssh` do."""
    if how == "here":
        with open("/dev/tty") as terminal:
            return terminal.readline()
    program = subprocess.run(["sh", "-c", "read x < /dev/tty; echo got $x"], capture_output=True, text=True)
    return program.stdout.strip()


# ---- what is left behind


async def _stubborn() -> None:
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(600)


def _block() -> None:
    time.sleep(600)


async def _slow_cleanup() -> None:
    try:
        await asyncio.sleep(600)
    finally:
        await asyncio.sleep(600)


@app.task
async def leave_in_the_loop(kind: str) -> int:
    """Ends, and leaves a task in the loop that does not."""
    match kind:
        case "to_thread":
            left = asyncio.ensure_future(asyncio.to_thread(time.sleep, 600))
        case "stubborn":
            left = asyncio.create_task(_stubborn())
        case "cleanup":
            left = asyncio.create_task(_slow_cleanup())
        case _:
            left = asyncio.create_task(asyncio.sleep(0))
            asyncio.get_running_loop().call_later(0.3, _block)
    _kept.add(left)
    await asyncio.sleep(0.01)
    return os.getpid()


@app.task
def leave_in_the_process(kind: str) -> int:
    """Ends, and leaves a thread, a pool or a hook that does not."""
    match kind:
        case "thread":
            threading.Thread(target=time.sleep, args=(600,), name="left-by-the-job").start()
        case "threads":
            pool = concurrent.futures.ThreadPoolExecutor(1)
            pool.submit(time.sleep, 600)
            _kept.add(pool)
        case "processes":
            processes = concurrent.futures.ProcessPoolExecutor(1)
            processes.submit(time.sleep, 600)
            _kept.add(processes)
        case "atexit":
            atexit.register(time.sleep, 600)
    return os.getpid()


@app.task
def grow(size: int) -> int:
    """Keeps the given number of bytes for good."""
    _kept.add(bytes([1]) * size)
    return os.getpid()
