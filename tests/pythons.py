"""The Python interpreters on which aiotask can be tested here; as a program it prints one a line: version, path."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["pythons"]


def pythons() -> dict[str, str]:
    """Interpreters that aiotask supports, by version: the running one, those on PATH, and its neighbours on disk.

    ``AIOTASK_TEST_PYTHONS`` names others (paths, separated as in PATH), and then only those.
    """
    named = os.environ.get("AIOTASK_TEST_PYTHONS")
    if named is not None:
        candidates = [path for path in named.split(os.pathsep) if path]
    else:
        on_path = [shutil.which(f"python3.{minor}") for minor in range(11, 20)]
        neighbours = Path(sys.base_prefix).parent.glob("*3.1[1-9]*/bin/python3")
        candidates = [sys.executable, *filter(None, on_path), *map(str, sorted(neighbours))]
    found: dict[str, str] = {}
    code = "import ensurepip, sys; print('%d.%d' % sys.version_info[:2] if sys.version_info >= (3, 11) else '')"
    for path in candidates:
        try:
            told = subprocess.run([path, "-c", code], capture_output=True, text=True, timeout=120, check=True)
        except (OSError, subprocess.SubprocessError):
            continue  # a launcher without an interpreter behind it, or one that cannot make environments
        if version := told.stdout.strip():
            found.setdefault(version, path)
    return found


if __name__ == "__main__":
    for version, path in pythons().items():
        print(version, path)
