"""What the system says of another process: whether it is stopped, and by what."""

from __future__ import annotations

import contextlib
from pathlib import Path

__all__ = ["holds_freezer", "silence_of", "stop_of"]

_CGROUPS = Path("/sys/fs/cgroup")
#: States of a process in /proc/PID/stat that user code cannot leave by itself.
_STOPPED = {"T": "stopped by a signal", "t": "held by a debugger"}
_WAITING = {
    "D": "it waits in the kernel, as for a disk or a network file system",
    "R": "it is ready to run and gets no CPU",
    "Z": "it has ended",
}


def stop_of(pid: int) -> str:
    """What keeps a process from running, for people: a signal, a debugger or the freezer of its control group.

    Empty if nothing does, or where the system does not say.
    """
    state = _state(pid)
    if state in _STOPPED:
        return _STOPPED[state]
    with contextlib.suppress(OSError):
        if holds_freezer(Path(f"/proc/{pid}/cgroup").read_text(), _CGROUPS):
            return "frozen"
    return ""


def silence_of(pid: int) -> str:
    """Why a process does not answer, for people: what keeps it from running, or what it waits for.

    Empty where the system does not say.
    """
    stop = stop_of(pid)
    return f"it is {stop}" if stop else _WAITING.get(_state(pid), "")


def _state(pid: int) -> str:
    """The letter for the state of a process, as in ``ps``; empty where the system does not say."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""


def holds_freezer(groups: str, root: Path) -> bool:
    """Whether the freezer holds one of these control groups, in version 1 or 2 of control groups.

    Args:
        groups: as in /proc/PID/cgroup.
        root: where control groups are mounted.
    """
    for line in groups.splitlines():
        _, controllers, group = line.split(":", 2)
        if not controllers:
            files = [base / group.lstrip("/") / "cgroup.events" for base in (root, root / "unified")]
        elif "freezer" in controllers.split(","):
            files = [root / "freezer" / group.lstrip("/") / "freezer.state"]
        else:
            continue
        for file in files:
            with contextlib.suppress(OSError):
                if any(said in ("frozen 1", "FROZEN", "FREEZING") for said in file.read_text().splitlines()):
                    return True
    return False
