"""Workers that tests fork from a prepared process are what `aiotask worker` starts."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from aiotask import App

from .commands import Command, heeds, lend_command, run_command
from .workers import Workers

APP = """\
import fcntl, gc, locale, os, re, resource, signal, sys, threading, warnings
from aiotask import App

app = App(os.environ["TEST_APP"])

def text(handler): return getattr(handler, "__qualname__", str(handler))

@app.task
def facts() -> dict[str, object]:
    files = {}
    for name in os.listdir("/proc/self/fd"):
        try: files[int(name)] = re.sub(r"vm-.*|:.*|.*/|\\d+", "", os.readlink(f"/proc/self/fd/{name}"))
        except OSError: pass
    return {
        "path": sys.path,
        "flags": str(sys.flags),
        "argv": sys.argv,
        "main": sys.modules["__main__"].__spec__.name,
        "main file": sys.modules["__main__"].__file__,
        "warnings": warnings.filters,
        "signals": {int(number): text(signal.getsignal(number)) for number in signal.valid_signals()},
        "mask": signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        "limits": [resource.getrlimit(number) for name, number in vars(resource).items() if name[:7] == "RLIMIT_"],
        "files": sorted(files.values()),
        "streams": [
            (each.encoding, each.errors, each.line_buffering, each.write_through, type(each.buffer).__name__, each.name)
            for each in (sys.stdin, sys.stdout, sys.stderr)
        ],
        "locale": locale.setlocale(locale.LC_ALL),
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "collector": (gc.isenabled(), gc.get_threshold()),
        "environment": {name: value for name, value in os.environ.items() if not name.startswith("TEST_")},
        "directory": os.getcwd(),
        "mode": os.umask(0o22),
        "modules": set(sys.modules),
    }
"""


async def facts(workers: Workers, folder: Path, name: str, *, fresh: bool) -> tuple[dict[str, Any], list[Any]]:
    """What a job sees, and the name, state of session and command lines of the processes."""
    supervisor = workers.start("shop", app_dir=folder, env={"TEST_APP": name}, fresh=fresh)
    async with App(name, url=workers.url) as app:
        seen: dict[str, Any] = await app.s("shop:facts").apply_async()
    all_of_them = [psutil.Process(supervisor.pid), *supervisor.session()]
    processes = [(each.name(), " ".join(each.cmdline()).strip()) for each in all_of_them]
    assert supervisor.stop() == 0
    return seen, sorted(processes)


async def test_forked_workers_are_like_those_of_a_new_python(workers: Workers, tmp_path: Path, app_name: str) -> None:
    (tmp_path / "shop.py").write_text(APP)
    new, processes = await facts(workers, tmp_path, f"{app_name}-new", fresh=True)
    forked, forked_processes = await facts(workers, tmp_path, f"{app_name}-forked", fresh=False)
    assert forked_processes == processes
    assert not (missing := new.pop("modules") - forked.pop("modules")), f"No fork of a prepared process has {missing}."
    assert forked == new


@pytest.mark.parametrize("fresh", [True, False])
def test_the_exit_code_of_workers_arrives(workers: Workers, tmp_path: Path, app_name: str, fresh: bool) -> None:
    (tmp_path / "shop.py").write_text(APP)
    wrong = workers.start("nothing_there", app_dir=tmp_path, wait=False, fresh=fresh)
    assert wrong.wait() == 3, wrong.log
    killed = workers.start("shop", app_dir=tmp_path, env={"TEST_APP": app_name}, fresh=fresh)
    killed._process.kill()
    assert killed.wait() == -9


def test_any_thread_may_look_whether_a_forked_command_has_ended(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as out, open(os.devnull, "rb") as nothing:
        for _ in range(10):
            command = Command("commands", ("--version",), (nothing, out, out), env=os.environ, cwd=tmp_path)
            with ThreadPoolExecutor() as threads:
                waits = [threads.submit(command.wait, 100.0) for _ in range(4)]
                while command.poll() is None:
                    pass
                assert [wait.result() for wait in waits] == [0] * 4


def test_a_forked_command_that_becomes_no_worker_ends_with_its_exit_code() -> None:
    done = run_command("worker", "--grace", "10x")
    assert (done.returncode, done.stdout) == (2, "")
    assert '"10x" is not a duration' in done.stderr


READ_EARLY = """
import os

read = set()
before = os._Environ.__getitem__

def noted(self, name):
    read.add(name)
    return before(self, name)

os._Environ.__getitem__ = noted
import aiotask_cli.main, aiotask.daemon.supervisor, aiotask.daemon.keeper_process
from aiotask.daemon.preload import import_library
import_library()
print(*sorted(name for name in read if name.startswith("AIOTASK_")))
"""


def test_workers_are_new_where_a_variable_says_what_is_read_as_the_library_is_loaded() -> None:
    done = subprocess.run([sys.executable, "-c", READ_EARLY], capture_output=True, text=True, timeout=60)
    names = done.stdout.split()
    assert done.returncode == 0 and "AIOTASK_NAME" in names, done.stderr
    given = {name: value for name, value in os.environ.items() if not name.startswith("AIOTASK_")}
    given |= {"PYTHONUNBUFFERED": "1", "AIOTASK_URL": "redis://127.0.0.1:1/0", "TEST_APP": "shop"}
    assert heeds(given)
    for name in (*names, "PYTHONHASHSEED", "LC_ALL", "PYTHONPATH"):
        assert not heeds({**given, name: "1"}), name


def test_a_shell_that_is_lent_the_command_runs_forks_of_it(tmp_path: Path) -> None:
    variables, lines = lend_command(tmp_path)
    env = {**os.environ, **variables, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    script = (
        'aiotask --version | tr a-z A-Z; aiotask nonsense 2> refused || echo "ended with $?"; aiotask worker --help'
    )

    done = subprocess.run(
        ["bash", "-c", script], env=env, cwd=tmp_path, pass_fds=lines, capture_output=True, text=True, timeout=240
    )

    first, second, *worker = done.stdout.splitlines()
    assert first.startswith("AIOTASK ")
    assert second == "ended with 2"
    assert any("--concurrency" in line for line in worker)
    assert "nonsense" in (tmp_path / "refused").read_text()
    assert (done.returncode, done.stderr) == (0, "")
