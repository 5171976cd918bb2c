"""When it is proved that all processes of a host are gone, and when it is not."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from aiotask.keeper import presence
from aiotask.keeper.presence import Presence, is_gone, is_near, sweep

from .helpers import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is claimed")

#: A host: a process, and one that it forked, which closes all it can and executes a program.
HOST = """
import os, subprocess, sys, time
from pathlib import Path
from aiotask.keeper import presence
presence.DIRECTORY = Path(sys.argv[1])
held = presence.Presence(sys.argv[2], cells=3)
worker = os.fork()
if not worker:
    os.setpgid(0, 0)
    held.cells[1][0] = os.getpid()
    program = subprocess.Popen(["sleep", "600"], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.write(1, f"{os.getpid()} {program.pid}\\n".encode())
    os.closerange(0, 64)
time.sleep(600)
"""
#: Its first thread ends, and the other one goes on.
HEADLESS = """
import ctypes, os, threading, time
threading.Thread(target=time.sleep, args=(600,)).start()
os.write(1, b"up\\n")
ctypes.CDLL(None).pthread_exit(None)
"""


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(presence, "DIRECTORY", tmp_path)
    return tmp_path


@pytest.fixture
def named() -> str:
    return f"host-{uuid4().hex[:8]}"


@contextlib.contextmanager
def started(code: str, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A process in a session of its own that nobody reaps, and the numbers that it says."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    pids: list[int] = []
    try:
        assert process.stdout is not None
        pids += [int(word) for word in process.stdout.readline().split() if word.isdecimal()]
        yield process, pids
    finally:
        for pid in (process.pid, *pids):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.communicate()


def state(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return "X"


def test_a_host_is_gone_when_the_last_of_all_is(directory: Path, named: str) -> None:
    with started(HOST, str(directory), named) as (supervisor, (worker, program)):
        assert is_near(named) and not is_gone(named)
        os.kill(supervisor.pid, signal.SIGKILL)
        wait_until(lambda: state(supervisor.pid) == "Z", description="the first one has ended")
        # The other one had closed every file, and has the lock all the same.
        assert not is_gone(named)
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: state(worker) in "ZX", description="the second one has ended")
        assert not is_gone(named), "what it had executed runs on"
        os.kill(program, signal.SIGKILL)
        wait_until(lambda: is_gone(named), description="all are gone, though nobody has reaped them")
        # A process that vanishes while all are looked through proves nothing, and is looked at again.
        wait_until(lambda: is_gone(named), description="all are gone for others who ask, too")
        assert is_near(named)


def test_what_does_not_prove_it(directory: Path, named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Presence(named, cells=2)
    (proof,) = directory.iterdir()
    head = proof.read_bytes()[:512]
    boot, numbers = head.split(b" ")[1:3]
    with started(HEADLESS) as (headless, _), started("import time; print(flush=True); time.sleep(600)") as (other, _):
        wait_until(lambda: state(headless.pid) == "Z", description="its first thread has ended")

        def cells(*groups: int) -> bytes:
            return b"".join(group.to_bytes(4, sys.byteorder, signed=True) for group in groups)

        cases = {
            "another-boot": head.replace(boot, b"0" + boot[1:]) + cells(0),
            "other-process-numbers": head.replace(numbers, b"pid:[1]") + cells(0),
            "another-machine": head.rstrip(b"\0").ljust(511, b"x") + b"\0" + cells(0),
            "a-number-used-again": head + cells(0, other.pid),
            "a-thread-that-goes-on": head + cells(headless.pid),
            "everybody": head + cells(-1),
            "the-first-process": head + cells(1),
            "cut-short": head[:-1],
            "cut-in-a-number": head + cells(0)[:3],
            "empty": b"",
        }
        for name, content in cases.items():
            (directory / f"aiotask-{name}").write_bytes(content)
        os.mkfifo(directory / "aiotask-fifo")
        (directory / "aiotask-folder").mkdir()
        (directory / "aiotask-free").write_bytes(head + cells(0, 0))
        (directory / "aiotask-link").symlink_to("aiotask-free")
        names = [*cases, "fifo", "folder", "link", "missing", "../aiotask-free", "", "a" * 300, named, "\ufffd"]

        assert [name for name in names if is_gone(name)] == []
        # The same without what spoils it.
        assert is_gone("free")
        if os.geteuid() == 0:
            os.chown(directory / "aiotask-free", 1, 1)
            assert not is_gone("free"), "it is another user's"
            os.chown(directory / "aiotask-free", 0, 0)
        with monkeypatch.context() as patch:
            patch.setattr(presence, "_here", lambda: b"")
            assert not is_gone("free"), "nobody knows where this is"
        other.kill()
        wait_until(lambda: is_gone("a-number-used-again"), description="the other one is gone, and not reaped")
    held.remove()
    assert not is_near(named)


def test_another_name_of_the_machine_is_another_machine(
    directory: Path, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIOTASK_MACHINE", "the one")
    presence._here.cache_clear()
    try:
        Presence(named)
        (proof,) = directory.iterdir()
        (directory / "aiotask-copy").write_bytes(proof.read_bytes())
        assert is_gone("copy")
        monkeypatch.setenv("AIOTASK_MACHINE", "the other")
        presence._here.cache_clear()
        assert not is_gone("copy")
    finally:
        presence._here.cache_clear()


def test_a_host_that_begins_anew_or_has_no_room(directory: Path, named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Presence(named)
    held.rename(f"{named}-anew")
    assert not is_near(named) and is_near(f"{named}-anew")
    # What is free for a minute is removed, and nothing else.
    (directory / "aiotask-free").write_bytes((directory / f"aiotask-{named}-anew").read_bytes())
    (directory / "aiotask-strange").write_bytes(b"?" * 1_000)
    sweep()
    sweep()
    assert is_gone("free")
    os.utime(directory / "aiotask-free", (0, 0))
    sweep()
    assert sorted(path.name for path in directory.iterdir()) == [f"aiotask-{named}-anew", "aiotask-strange"]

    monkeypatch.setattr(presence, "DIRECTORY", directory / "missing")
    for odd in (named, "a host/with an odd name"):
        without = Presence(odd)
        without.cells[0][0] = 7
        without.rename("elsewhere")
        without.remove()
        assert not is_near(odd) and not is_gone(odd)
    assert re.fullmatch(r"aiotask1 \S+ pid:\[\d+\] .*", presence._here().decode())
