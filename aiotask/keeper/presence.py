"""A lock that is held for as long as any process of a host lives: so others can prove that all of them are gone."""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import re
import stat
import sys
import time
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from ..settings import environment

__all__ = ["DIRECTORY", "Presence", "is_gone", "is_near", "sweep"]

#: In memory: no other machine sees it, and no restart of this one.
DIRECTORY = Path("/dev/shm")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")
# What a file begins with: which kernel, process numbers of which namespace, and the operator's word.
_HEAD = 512
_MOST = 1 << 20
#: Seconds after which a file that was found free proves nothing any more. Many leases.
_KEPT = 60.0
# Until they are removed: who forgets a worker in its loop has not ended it.
_held: list[mmap.mmap] = []


class Presence:
    """Held by this process and by all that it forks from now on, through whatever their code closes.

    The lock is one on the open file, which every fork has open and mapped. It is free when the last of them has ended,
    and a process that is being forked already has it: there is no moment between. What tasks execute does not have
    it, so each process notes its process group in a cell before it runs any.

    Where there is no such place nothing is held, and nothing is claimed: the lease alone decides.

    Args:
        host: a name that no host has had before.
        cells: how many process groups there may be.
    """

    def __init__(self, host: str, cells: int = 1) -> None:
        size = _HEAD + 4 * cells
        self._path: Path | None = None
        try:
            self._map = self._locked(host, size)
        except OSError:
            self._map = mmap.mmap(-1, size)
        whole = memoryview(self._map)[_HEAD:].cast("i")
        #: One number each; 0: there is no such group.
        self.cells: Sequence[memoryview] = [whole[n : n + 1] for n in range(cells)]

    def _locked(self, host: str, size: int) -> mmap.mmap:
        """A file that is there under its name only once it is locked."""
        path, here = _path(host), _here()
        if path is None or not here:
            raise OSError("nothing could be proved here")
        draft = path.with_name(f"{path.name}.draft")
        fd = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # All of it: a page that finds no room later would end whoever writes there.
            if os.write(fd, here.ljust(size, b"\0")) != size:
                raise OSError("there is no room")
            locked = mmap.mmap(fd, size)
            draft.rename(path)
        except OSError:
            with contextlib.suppress(OSError):
                draft.unlink()
            raise
        finally:
            # The map has it open. Never LOCK_UN: that would take it from all.
            os.close(fd)
        self._path = path
        _held.append(locked)
        return locked

    def rename(self, host: str) -> None:
        """These processes are another host now."""
        path = _path(host)
        if self._path is not None and path is not None:
            with contextlib.suppress(OSError):
                self._path = self._path.rename(path)

    def remove(self) -> None:
        """The host has left, so nothing is to be proved any more."""
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()
            self._path = None
            _held.remove(self._map)


def is_near(host: str) -> bool:
    """Whether a host may be on this machine."""
    path = _path(host)
    return path is not None and path.exists()


def is_gone(host: str) -> bool:
    """Whether every process that was this host, on this machine, has ended for good, with all that their tasks
    started. False where that cannot be proved."""
    path, here = _path(host), _here()
    if path is None or not here:
        return False
    with _free(path) as content:
        if content is None or content[:_HEAD].rstrip(b"\0") != here or len(content) % 4:
            return False
        groups = {group for group in memoryview(content)[_HEAD:].cast("i") if group}
        gone = all(group > 1 for group in groups) and _have_ended(groups)
        if gone:
            _mark(path)
        return gone


def sweep() -> None:
    """Remove files that were found free a while ago, and mark those that are free now."""
    boot = _here().split(b" ")[:2]
    with contextlib.suppress(OSError):
        for path in DIRECTORY.glob("aiotask-*"):
            with _free(path) as content:
                if not boot[1:] or content is None or content.split(b" ")[:2] != boot:
                    continue
                if not _marked(path):
                    _mark(path)
                elif time.time() - path.stat().st_mtime > _KEPT:
                    path.unlink()


# ---- files


def _path(host: str) -> Path | None:
    """Hosts are named by whoever writes to the server."""
    return DIRECTORY / f"aiotask-{host}" if _NAME.fullmatch(host) else None


@cache
def _here() -> bytes:
    """This kernel, these process numbers, this machine by the operator's word; empty where that cannot be told."""
    if sys.platform != "linux":
        return b""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        numbers = os.readlink("/proc/self/ns/pid")
    except OSError:
        return b""
    machine = environment("MACHINE") or ""
    return f"aiotask1 {boot} {numbers} {machine}".encode()[:_HEAD] if boot else b""


@contextlib.contextmanager
def _free(path: Path) -> Iterator[bytes | None]:
    """What is in a file of this user that no process has locked, while none can. None: there is no such file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        yield None
        return
    try:
        yield _content(fd)
    finally:
        os.close(fd)


def _content(fd: int) -> bytes | None:
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or not _HEAD <= found.st_size <= _MOST:
            return None
        # Shared, so that several may look at a time.
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return os.read(fd, _MOST)
    except OSError:
        return None


def _mark(path: Path) -> None:
    """Found free; the first time counts."""
    if not _marked(path):
        with contextlib.suppress(OSError):
            os.utime(path)
            path.chmod(0o400)


def _marked(path: Path) -> bool:
    try:
        return not path.stat().st_mode & stat.S_IWUSR
    except OSError:
        return False


# ---- process groups


def _have_ended(groups: set[int]) -> bool:
    """Whether no process of these groups lives. Who has a number that was used again is taken for one of them."""
    there = {group for group in groups if not _is_empty(group)}
    if not there:
        return True
    # Ended ones that are not reaped. Twice: what was forked meanwhile is in the second list, or has left a zombie.
    zombies = _zombies(there)
    return bool(zombies) and zombies == _zombies(there)


def _is_empty(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass
    return False


def _zombies(groups: set[int]) -> set[int] | None:
    """All processes of these groups; None: one of them may live."""
    found: set[int] = set()
    try:
        # Hidden where only one's own processes are shown.
        os.stat("/proc/1/stat")
        for name in filter(str.isdecimal, os.listdir("/proc")):
            # One that vanishes now may be one of them, and have left a child.
            with open(f"/proc/{name}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
            if int(fields[2]) in groups:
                # The first thread of a process may have ended alone.
                if fields[0] not in (b"Z", b"X") or int(fields[17]) > 1:
                    return None
                found.add(int(name))
    except (OSError, ValueError, IndexError):
        return None
    return found
