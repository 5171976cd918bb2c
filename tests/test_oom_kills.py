"""What the kernel says of a process that it killed for want of memory, where a memory cgroup can be made."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from aiotask.daemon.watch.oom_kills import OomKills

from .helpers import wait_until

LIMIT = 64 * 2**20
#: Of cgroups v1 and v2.
LIMITS = ("memory.limit_in_bytes", "memory.max")


@pytest.fixture
def cgroup() -> Iterator[Path]:
    """A memory cgroup with a limit, which tests can only make as root of a machine or of a willing container."""
    for root in (Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")):
        made = root / f"aiotask-test-{uuid4().hex[:8]}"
        with contextlib.suppress(OSError):
            made.mkdir()
            limit = next((made / name for name in LIMITS if (made / name).exists()), None)
            if limit is None:
                made.rmdir()
                continue
            limit.write_text(str(LIMIT))
            break
    else:
        pytest.skip("no memory cgroup can be made here")
    yield made
    wait_until(lambda: _removed(made), description="the cgroup is gone")


def _removed(made: Path) -> bool:
    with contextlib.suppress(OSError):
        made.rmdir()
    return not made.exists()


def fork_that(place: Path | None, size: int) -> tuple[int, int]:
    """A child that has moved into a cgroup, takes so much memory once something is written, and waits to be killed."""
    there, arrived = os.pipe()
    start, go = os.pipe()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            if place is not None:
                (place / "cgroup.procs").write_text("0")
            os.write(arrived, b".")
            os.read(start, 1)
            kept = b"x" * size
            while kept:
                time.sleep(600)
        os._exit(0)
    os.read(there, 1)
    for fd in (there, arrived, start):
        os.close(fd)
    return pid, go


def has_ended(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def test_a_kill_for_want_of_memory_explains_one_death_and_no_other(cgroup: Path) -> None:
    oom = OomKills()
    (greedy, go), (modest, stay) = fork_that(cgroup, 4 * LIMIT), fork_that(None, 1)
    try:
        # As the supervisor does all the time; of a process that ends, cgroups v1 do not say where it was.
        oom.tick([greedy, modest])
        os.write(go, b".")

        def is_killed() -> bool:
            oom.tick([greedy, modest])
            return has_ended(greedy)

        wait_until(is_killed, description="the kernel has killed it")
        assert oom.explain(greedy)
        assert not oom.explain(greedy)
        os.kill(modest, signal.SIGKILL)
        wait_until(lambda: has_ended(modest), description="it is dead")
        assert not oom.explain(modest)
    finally:
        for pid in (greedy, modest):
            os.kill(pid, signal.SIGKILL)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
        os.close(go)
        os.close(stay)
