"""A file lock that is held while any process of a host lives, so that others can prove that all of them are gone."""

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

#: In memory, so that no other machine sees the files and no restart of this machine leaves them behind.
DIRECTORY = Path("/dev/shm")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")
# Bytes of a file's head: boot id, pid namespace, and the machine's name as the operator gave it.
_HEAD = 512
_MOST = 1 << 20
#: Seconds for which an unlocked file is kept as a proof: many times LEASE, after which no proof is needed.
_KEEP_UNLOCKED = 60.0
# Keeps the locks until ``remove``, also where a user drops the reference to an in-loop worker that still runs.
_kept: list[mmap.mmap] = []


class Presence:
    """A lock held by this process and its future forks, whatever file descriptors their code closes.

    The lock belongs to the open file, which every fork has open and mapped. It is free when the last of these processes
    has ended; a process that is being forked has it from its first moment. Programs that tasks execute do not have the
    lock, so each process notes its process group in a cell before it runs a task.

    Without ``/dev/shm`` there is no lock, and nothing is proved: the lease alone decides.

    Args:
        host: a name that no host has had before.
        cells: greatest number of process groups.
    """

    def __init__(self, host: str, cells: int = 1) -> None:
        size = _HEAD + 4 * cells
        self._path: Path | None = None
        try:
            self._map = self._locked(host, size)
        except OSError:
            self._map = mmap.mmap(-1, size)
        whole = memoryview(self._map)[_HEAD:].cast("i")
        #: One process group each; 0: the cell is unused.
        self.cells: Sequence[memoryview] = [whole[n : n + 1] for n in range(cells)]

    def _locked(self, host: str, size: int) -> mmap.mmap:
        """Map a new file that appears under its name only once it is locked."""
        path, here = _path(host), _here()
        if path is None or not here:
            raise OSError("nothing could be proved here")
        draft = path.with_name(f"{path.name}.draft")
        fd = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The whole file is written, since a missing page that finds no room later would kill the writing process.
            if os.write(fd, here.ljust(size, b"\0")) != size:
                raise OSError("there is no room")
            locked = mmap.mmap(fd, size)
            draft.rename(path)
        except OSError:
            with contextlib.suppress(OSError):
                draft.unlink()
            raise
        finally:
            # The map keeps the file open. LOCK_UN must not be used: it would release the lock of every process.
            os.close(fd)
        self._path = path
        _kept.append(locked)
        return locked

    def rename(self, host: str) -> None:
        """Give the file the name under which these processes are a host from now on."""
        path = _path(host)
        if self._path is not None and path is not None:
            with contextlib.suppress(OSError):
                self._path = self._path.rename(path)

    def remove(self) -> None:
        """Remove the file: the host has left, so its end need not be proved."""
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()
            self._path = None
            _kept.remove(self._map)


def is_near(host: str) -> bool:
    """Whether a host may be on this machine."""
    path = _path(host)
    return path is not None and path.exists()


def is_gone(host: str) -> bool:
    """Whether every process of this host, on this machine, has ended, with all programs that its tasks started. False
    where that cannot be proved."""
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
    """Remove files that were found unlocked a minute ago, and mark those that are unlocked now."""
    boot = _here().split(b" ")[:2]
    with contextlib.suppress(OSError):
        for path in DIRECTORY.glob("aiotask-*"):
            with _free(path) as content:
                if not boot[1:] or content is None or content.split(b" ")[:2] != boot:
                    continue
                if not _marked(path):
                    _mark(path)
                elif time.time() - path.stat().st_mtime > _KEEP_UNLOCKED:
                    path.unlink()


# ---- files


def _path(host: str) -> Path | None:
    """The file of a host; None where the name, which anyone may write to the server, is unsafe in a path."""
    return DIRECTORY / f"aiotask-{host}" if _NAME.fullmatch(host) else None


@cache
def _here() -> bytes:
    """Boot id, pid namespace and the operator's name for this machine, as a head; empty where they are unknown."""
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
    """The content of a file of this user, locked meanwhile. None: no such file, or another process has the lock."""
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
        # A shared lock, so that several processes may check at the same time.
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return os.read(fd, _MOST)
    except OSError:
        return None


def _mark(path: Path) -> None:
    """Mark a file as found unlocked, with the time of the first such finding."""
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
    """Whether no process of these groups lives. A process group with a reused number counts as one of them."""
    there = {group for group in groups if not _is_empty(group)}
    if not there:
        return True
    # Only zombies may be left. Listed twice: a process forked meanwhile is in the second list, or has left a zombie.
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
    """The zombies of these groups; None: a process of them may live."""
    found: set[int] = set()
    try:
        # Fails where /proc shows only the processes of this user.
        os.stat("/proc/1/stat")
        for name in filter(str.isdecimal, os.listdir("/proc")):
            # A process that vanishes now may have belonged to a group, and have left a child.
            with open(f"/proc/{name}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
            if int(fields[2]) in groups:
                # The main thread of a process may have ended while other threads live.
                if fields[0] not in (b"Z", b"X") or int(fields[17]) > 1:
                    return None
                found.add(int(name))
    except (OSError, ValueError, IndexError):
        return None
    return found
