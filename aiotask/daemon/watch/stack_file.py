"""Where a process writes its stacks when it is asked for them, or dies of a signal: a file without a name."""

from __future__ import annotations

import faulthandler
import os
import re
import signal

from ...worker.stacks import is_executor
from .memory_file import memory_file

__all__ = ["Stacks", "catches", "is_in_job", "last_stack", "where"]

#: Bytes of a dump that are shown.
_MOST = 64 * 1024
#: Frames and characters of the stack that a dead letter keeps.
_FRAMES, _STACK = 25, 2500
#: Frames at the bottom of every thread of aiotask, which are left out.
_BELOW = re.compile(
    r'^  File "(?:.*/daemon/(?:supervisor|replacements|fork)\.py|.*/supervise\.py|.*/threading\.py|<frozen runpy>)"'
    r", .*\n?",
    re.MULTILINE,
)
_FRAME = re.compile(r'^  File "(.*)", line (\d+) in (.*)$')
_FILE = re.compile(r'^  File "(.*)", line \d+ in ', re.MULTILINE)


class Stacks:
    """Made before the fork, written by ``faulthandler`` in the child, which needs no GIL, read by the parent."""

    def __init__(self) -> None:
        self._file = memory_file("stacks")
        self.fd = self._file.fileno()

    def record(self) -> None:
        """In the child: from now on SIGUSR1 and deadly signals write here, whatever user code has made of them."""
        faulthandler.enable(self.fd)
        faulthandler.register(signal.SIGUSR1, self.fd, all_threads=True, chain=False)
        if not self._is_registered():
            # faulthandler does not look whether its handler still is the one in place: it is put there anew.
            faulthandler.unregister(signal.SIGUSR1)
            faulthandler.register(signal.SIGUSR1, self.fd, all_threads=True, chain=False)

    @staticmethod
    def _is_registered() -> bool:
        """Whether the handler of SIGUSR1 is that of faulthandler, of which the signal module knows nothing."""
        return signal.getsignal(signal.SIGUSR1) in (signal.SIG_DFL, None) and catches(signal.SIGUSR1)

    def write(self) -> None:
        """In the child: what SIGUSR1 does."""
        faulthandler.dump_traceback(self.fd, all_threads=True)

    @property
    def written(self) -> bool:
        return os.fstat(self.fd).st_size > 0

    def take(self) -> str:
        """What has been written; the file is empty then."""
        text = os.pread(self.fd, _MOST, 0).decode(errors="replace")
        os.ftruncate(self.fd, 0)
        return _BELOW.sub("", text).strip()

    def close(self) -> None:
        self._file.close()


def catches(number: signal.Signals, pid: int | str = "self") -> bool:
    """Whether a process has a handler for this signal; True where the system does not say."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            caught = next(line for line in file if line.startswith(b"SigCgt:"))
    except (OSError, StopIteration):
        return True
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


def is_in_job(dump: str) -> bool:
    """Whether the process died in the code of a job."""
    return dump.startswith("Fatal") and any(map(is_executor, _FILE.findall(_dead_thread(dump))))


def last_stack(dump: str) -> str:
    """The stack of the thread that died, innermost frame first."""
    frames = [line for line in _dead_thread(dump).splitlines() if _FRAME.match(line)]
    return "\n".join(frames[:_FRAMES])[:_STACK]


def _dead_thread(dump: str) -> str:
    blocks = re.split(r"^(?=(?:Current )?[Tt]hread 0x)", dump, flags=re.MULTILINE)
    return next((block for block in blocks if block.startswith("Current thread")), "")


def where(dump: str) -> str:
    """The innermost frames of the jobs in a dump, for one line: ``search (re.py:177) < spin (shop/tasks.py:9)``."""
    blocks = re.split(r"^(?=(?:Current )?[Tt]hread 0x)", dump, flags=re.MULTILINE)
    if dump.startswith("Fatal"):
        blocks = [block for block in blocks if block.startswith("Current thread")]
    found = []
    for block in blocks:
        frames = [match.groups() for line in block.splitlines() if (match := _FRAME.match(line))]
        ours = next((n for n, (file, _, _) in enumerate(frames) if is_executor(file)), 0)
        if not ours and dump.startswith("Fatal"):
            # Code that a job left behind, after its end.
            ours = 2
        shown = [f"{name} ({'/'.join(file.split('/')[-2:])}:{line})" for file, line, name in frames[:ours]]
        if shown:
            found.append(" < ".join(shown[:4]))
    return ", and ".join(found)[:500]
