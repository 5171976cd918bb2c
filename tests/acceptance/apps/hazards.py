"""Tasks that hang, hold on, die and leave things behind, and innocent ones beside them."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import hashlib
import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections import deque

from aiotask import App, WorkerLost, current_job, exponential

from ..ledger import entered, is_first

app = App(os.environ["TEST_APP"])


@app.task
def echo(value: int) -> int:
    return value


@app.task
async def aecho(value: int) -> int:
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


# ---- what does not end


@app.task
def loop_in_python() -> None:
    with entered("loop_in_python"):
        while True:
            pass


@app.task
def hold_the_gil(first: bool = False) -> str:
    """For ever, in C code that no signal interrupts; ``first``: only on the first attempt."""
    with entered("hold_the_gil"):
        if not first or current_job().attempt == 1:
            deque(itertools.repeat(None), maxlen=0)
        return "in the end"


@app.task
def compute_in_c() -> None:
    """For minutes, in C code that leaves the GIL to others; no Python signal handler runs meanwhile."""
    with entered("compute_in_c"):
        hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)


@app.task
def take_the_alarm() -> None:
    """For ever, with the signal of the time limit taken for something else; it leaves an alarm of its own behind."""
    signal.signal(signal.SIGALRM, lambda number, frame: sys.exit("an alarm of a task"))
    signal.setitimer(signal.ITIMER_REAL, 0.7)
    with entered("take_the_alarm"), contextlib.suppress(SystemExit):
        while True:
            pass


# ---- what takes too much

#: Seconds of CPU that a job of some of these may use.
CPU = 0.3


@app.task(cpu=CPU)
def burn(seconds: float) -> int:
    """For so many seconds, in Python."""
    with entered("burn") as attempt:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            pass
        return attempt


@app.task(cpu=CPU)
def burn_in_c() -> None:
    """For ever, in C code that no signal interrupts."""
    deque(itertools.repeat(None), maxlen=0)


def _spin() -> None:
    with contextlib.suppress(BaseException):
        while True:
            pass


@app.task(cpu=CPU)
def burn_and_stay() -> None:
    """Does not end when it is interrupted, and uses no CPU from then on."""
    _spin()
    time.sleep(600)


@app.task(cpu=CPU)
async def aburn_and_stay() -> None:
    with contextlib.suppress(BaseException):
        while True:
            until = time.monotonic() + 0.02
            while time.monotonic() < until:
                pass
            await asyncio.sleep(0.001)
    await asyncio.sleep(600)


@app.task(cpu=CPU)
def wait_long() -> str:
    """Longer than it may use the CPU, which it does not use."""
    time.sleep(3 * CPU)
    return "rested"


@app.task(cpu=CPU)
async def aburn(seconds: float) -> int:
    """In small steps."""
    with entered("aburn") as attempt:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            busy = time.monotonic() + 0.02
            while time.monotonic() < busy:
                pass
            await asyncio.sleep(0.001)
        return attempt


@app.task(memory="64MB")
def hoard(megabytes: int) -> int:
    """Takes this much memory, and keeps it for a while."""
    with entered("hoard"):
        taken = b"x" * (megabytes * 1_000_000)
        time.sleep(0.5 if megabytes < 64 else 600)
        return len(taken)


@app.task
def swallow() -> None:
    """Ends for nothing that is raised into it."""
    with entered("swallow"):
        while True:
            with contextlib.suppress(BaseException):
                time.sleep(600)


@app.task
async def aswallow() -> None:
    with entered("aswallow"):
        while True:
            with contextlib.suppress(BaseException):
                await asyncio.sleep(600)


@app.task
async def wait_for_child(label: str) -> int:
    """Waits for another job, off its seat, with a shield and a limit of its own in between."""
    with entered(label):
        async with asyncio.timeout(600):
            return await asyncio.shield(anap.options(queue="nobody").apply_async(600, "child").wait())


@app.task
async def block_the_loop(seconds: float) -> int:
    with entered("block_the_loop") as attempt:
        time.sleep(seconds)  # noqa: ASYNC251
        return attempt


@app.task
def insist(times: int) -> str:
    """``except Exception`` in a loop is what real code does; it must not keep a job alive."""
    for _ in range(times):
        try:
            time.sleep(600)
        except Exception:
            continue
    return "unreachable"


# ---- what dies


def die(how: str) -> None:
    print("going to die of", how, file=sys.stderr)
    os.write(2, b"as C code says it\n")
    match how:
        case "segfault":
            ctypes.string_at(0)
        case "abort":
            os.abort()
        case _:
            os._exit(int(how))


@app.task
def crash(how: str) -> None:
    with entered(f"crash {how}"):
        die(how)


@app.task
async def acrash(how: str) -> None:
    with entered(f"acrash {how}"):
        await asyncio.sleep(0.01)
        die(how)


@app.task
async def acrash_after(how: str) -> str:
    """The process dies when this has returned, before anybody can be told."""
    with entered(f"acrash_after {how}"):
        asyncio.get_running_loop().call_soon(die, how)
        return "returned"


@app.task
async def await_a_pill(how: str) -> str:
    """Waits for a job that kills the process in which both run."""
    with entered("await_a_pill"):
        try:
            await acrash.options(id=f"pill-{current_job().id}").apply_async(how)
        except WorkerLost:
            return "heard of it"
        return "it lives"


# ---- what runs once at most


@app.task(acks="early")
def early(how: str, label: str) -> str:
    """Dies, sleeps or returns."""
    with entered(label):
        if how == "nap":
            time.sleep(600)
        elif how == "raise":
            raise KeyError(label)
        elif how != "return":
            die(how)
        return label


@app.task(acks="early")
async def early_nap(seconds: float, label: str) -> str:
    with entered(label):
        await asyncio.sleep(seconds)
        return label


@app.task(retries=1, backoff=exponential(base=0.01))
def fail_until_mended(label: str) -> str:
    with entered(label):
        if not os.path.exists(os.path.join(os.environ["TEST_LEDGER"], "mended")):
            raise KeyError(label)
        return "mended"


# ---- what leaves something behind


@app.task
def start_program(seconds: float) -> int:
    """Runs a program that outlives its parent if nobody ends it; gives its pid, or sleeps beside it."""
    with entered("start_program"):
        program = subprocess.Popen([sys.executable, "-c", "import time; print(flush=True); time.sleep(600)"], stdout=-1)
        assert program.stdout is not None
        program.stdout.readline()
        program.stdout.close()
        with entered(program.pid):
            time.sleep(seconds)
        return program.pid


@app.task
def start_orphans(count: int) -> list[int]:
    """Daemons by the double fork: their parent is gone when they end."""
    pids = []
    for _ in range(count):
        end, start = os.pipe()
        child = os.fork()
        if child == 0:
            grandchild = os.fork()
            if grandchild == 0:
                os.setsid()
                time.sleep(0.05)
                os._exit(0)
            os.write(start, str(grandchild).encode())
            os._exit(0)
        os.waitpid(child, 0)
        pids.append(int(os.read(end, 100)))
        os.close(end)
        os.close(start)
    return pids


@app.task
def forget_to_exit() -> str:
    """The child of a bare fork comes back here too."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
    return "parent" if child else "child"


@app.task
def multiprocess(method: str) -> list[int]:
    """A pool ends its processes by SIGTERM."""
    with multiprocessing.get_context(method).Pool(2) as pool:
        return pool.map(abs, [-1, 2, -3])


# ---- what shows the process


@app.task
def environment() -> list[str]:
    """Variables with which a process could speak for its service manager's service."""
    return [name for name in os.environ if name.startswith(("NOTIFY_", "WATCHDOG_"))]


@app.task
def interpreter() -> tuple[int, float]:
    """Objects that the garbage collector leaves alone, and how long a thread may keep the GIL."""
    return gc.get_freeze_count(), sys.getswitchinterval()


@app.task
def interrupts_a_program() -> int:
    """How a program that a task runs takes SIGINT: the default kills it."""
    program = subprocess.Popen([sys.executable, "-c", "import time; print(flush=True); time.sleep(600)"], stdout=-1)
    assert program.stdout is not None
    program.stdout.readline()
    program.stdout.close()
    program.send_signal(signal.SIGINT)
    return program.wait()


@app.task
def read_the_terminal() -> str:
    return sys.stdin.read()


@app.task
def grow(size: int) -> int:
    """Keeps the given number of bytes for good."""
    _kept.append(b"x" * size)
    return os.getpid()


_kept: list[bytes] = []


@app.task
def hang_once(label: str) -> int:
    """The first run does not end, the others do at once."""
    with entered(label) as attempt:
        if is_first(label):
            time.sleep(600)
        return attempt


@app.task
async def ahang_once(label: str) -> int:
    with entered(label) as attempt:
        if is_first(label):
            await asyncio.sleep(600)
        return attempt
