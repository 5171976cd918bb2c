"""What the system says of another process: whether it is stopped, and by what."""

from __future__ import annotations

import contextlib
from pathlib import Path

__all__ = ["holds_freezer", "stop_of"]

_CGROUPS = Path("/sys/fs/cgroup")
#: States of a process in /proc/PID/stat that user code cannot leave by itself.
_STOPPED = {"T": "stopped by a signal", "t": "held by a debugger"}


def stop_of(pid: int) -> str:
    """What keeps a process from running, for people: a signal, a debugger or the freezer of its control group.

    Empty if nothing does, or where the system does not say.
    """
    try:
        state = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""
    if state in _STOPPED:
        return _STOPPED[state]
    with contextlib.suppress(OSError):
        if holds_freezer(Path(f"/proc/{pid}/cgroup").read_text(), _CGROUPS):
            return "frozen"
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
