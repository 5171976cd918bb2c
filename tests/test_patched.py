"""An app whose threads are no threads any more is refused before a worker claims a job that it could not run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .workers import ROOT, Workers

#: What monkey patching does to ``_thread``, by a library that aiotask does not know.
PATCHES = """
import _thread, threading

def start_new_thread(*args, **kwargs):
    raise RuntimeError("no thread any more")

def patch():
    _thread.start_new_thread = threading._start_new_thread = start_new_thread
"""
LIBRARIES = {
    "gevent": "from gevent import monkey\nmonkey.patch_all()",
    "eventlet": "import eventlet\neventlet.monkey_patch()",
}
APP = """
from aiotask import App
{patch}
app = App("patched")

@app.task
def f() -> int:
    return 1
"""


@pytest.mark.parametrize("options", [(), ("--preload",)])
def test_a_worker_of_a_patched_app_ends_with_the_reason(
    workers: Workers, tmp_path: Path, options: tuple[str, ...]
) -> None:
    tmp_path.joinpath("patcher.py").write_text(PATCHES)
    tmp_path.joinpath("shop.py").write_text(APP.format(patch="import patcher\npatcher.patch()"))

    supervisor = workers.start("shop", app_dir=tmp_path, options=options, wait=False)

    assert supervisor.wait() == 3
    assert "patcher has replaced the threads of Python" in supervisor.log


@pytest.mark.parametrize("options", [(), ("--preload",)])
@pytest.mark.parametrize(
    ("library", "call"),
    [("gevent", "monkey.patch_all(thread=False)"), ("eventlet", "eventlet.monkey_patch(thread=False)")],
)
def test_the_library_is_named_with_the_call_that_leaves_threads_alone(
    workers: Workers, tmp_path: Path, library: str, call: str, options: tuple[str, ...]
) -> None:
    tmp_path.joinpath("shop.py").write_text(APP.format(patch=LIBRARIES[library]))

    supervisor = workers.start("shop", app_dir=tmp_path, options=options, wait=False)

    assert supervisor.wait() == 3
    assert f"{library} has replaced the threads of Python" in supervisor.log
    assert f"Call `{call}`" in supervisor.log


def test_a_worker_inside_a_patched_program_is_refused(tmp_path: Path) -> None:
    tmp_path.joinpath("patcher.py").write_text(PATCHES)
    program = tmp_path / "program.py"
    program.write_text(
        "import patcher\npatcher.patch()\n"
        + APP.format(patch="import asyncio")
        + "\nasync def main():\n    async with app.worker():\n        pass\n\nasyncio.run(main())\n"
    )

    ended = subprocess.run(
        [sys.executable, str(program)],
        env={"AIOTASK_URL": "memory://", "PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert ended.returncode == 1
    assert "ConfigError: patcher has replaced the threads of Python" in ended.stderr


def test_an_app_that_patches_no_threads_is_served(workers: Workers, tmp_path: Path) -> None:
    tmp_path.joinpath("shop.py").write_text(APP.format(patch="import time\ntime.sleep = lambda seconds: None"))

    assert workers.start("shop", app_dir=tmp_path).stop() == 0
