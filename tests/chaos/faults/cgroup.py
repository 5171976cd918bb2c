"""A memory cgroup of the tests' own, where the kernel and our rights allow to make one."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path
from uuid import uuid4

__all__ = ["MemoryCgroup"]

_V1 = Path("/sys/fs/cgroup/memory")
_V2 = Path("/sys/fs/cgroup")


class MemoryCgroup:
    """Processes in it get so many bytes together.

    Raises:
        OSError: none can be made here.
    """

    def __init__(self, limit: int) -> None:
        if sys.platform != "linux":
            raise OSError("there are cgroups on Linux only")
        old = _V1.is_dir()
        self.directory = (_V1 if old else _V2) / f"aiotask-chaos-{uuid4().hex[:8]}"
        self.directory.mkdir()
        try:
            (self.directory / ("memory.limit_in_bytes" if old else "memory.max")).write_text(str(limit))
        except OSError:
            self.directory.rmdir()
            raise
        with contextlib.suppress(OSError):
            # What is over goes, not to a swap file.
            (self.directory / ("memory.memsw.limit_in_bytes" if old else "memory.swap.max")).write_text(
                str(limit if old else 0)
            )

    def add(self, pid: int) -> None:
        """This process, and what it starts from now on."""
        (self.directory / "cgroup.procs").write_text(str(pid))

    def remove(self) -> None:
        """Gone, once its processes are."""
        deadline = time.monotonic() + 10.0
        while os.path.isdir(self.directory) and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                self.directory.rmdir()
                return
            time.sleep(0.05)
