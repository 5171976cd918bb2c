"""A small disk of the tests' own, which can be filled and made read-only; where the kernel allows to mount one."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

__all__ = ["Disk", "no_disk"]


class Disk:
    """A directory with a limited size.

    Without the right to mount, it is a plain directory: ``limited`` is False, and it cannot be filled.
    """

    def __init__(self, directory: Path, megabytes: int = 8) -> None:
        self.directory = directory
        directory.mkdir(parents=True)
        self.limited = sys.platform == "linux" and _done(
            "mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=700", "tmpfs", str(directory)
        )

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        """While it lasts not a byte more fits."""
        ballast = self.directory / "ballast"
        try:
            with ballast.open("wb", buffering=0) as file:
                for size in (65536, 4096, 512, 1):
                    with contextlib.suppress(OSError):
                        while file.write(b"x" * size):
                            pass
            yield
        finally:
            ballast.unlink()

    @contextlib.contextmanager
    def read_only(self) -> Iterator[None]:
        """While it lasts nothing can be written. It waits for nobody: OSError when somebody is just writing."""
        if not _done("mount", "-o", "remount,ro", str(self.directory)):
            raise OSError(errno.EBUSY, "somebody has a file open for writing", str(self.directory))
        try:
            yield
        finally:
            _done("mount", "-o", "remount,rw", str(self.directory))

    def remove(self) -> None:
        """Unmounted, and gone."""
        if self.limited:
            _done("umount", "-l", str(self.directory))
        shutil.rmtree(self.directory, ignore_errors=True)


def no_disk() -> str:
    """What this machine lacks for a trial that needs a disk of its own."""
    with tempfile.TemporaryDirectory() as folder:
        disk = Disk(Path(folder, "disk"))
        disk.remove()
    return "" if disk.limited else "a disk may not be mounted on this machine (mount -t tmpfs)"


def _done(*command: str) -> bool:
    return os.geteuid() == 0 and subprocess.run(command, capture_output=True).returncode == 0
