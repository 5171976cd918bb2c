"""Bytecode for the processes that are measured: compiled once and then read, as of an installed package.

Where this environment keeps Python from writing it (``PYTHONDONTWRITEBYTECODE``, a read-only tree), each
process would compile every module anew: that takes as long as all else, and leaves megabytes behind.
"""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

__all__ = ["environment"]

_IMPORTS = "import aiotask, aiotask_cli.main, aiotask_cli.supervise, benchmarks.tasks, aiotask.daemon.supervisor"


@cache
def _directory() -> str:
    directory = tempfile.mkdtemp(prefix="aiotask-bytecode-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    code = f"{_IMPORTS}; from aiotask.daemon.preload import import_library; import_library()"
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent.parent, env=_with(directory), check=True)
    return directory


def _with(directory: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": directory}


def environment() -> dict[str, str]:
    """The variables of a process whose modules are compiled already."""
    return _with(_directory())
