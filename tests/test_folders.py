"""Releases in folders of their own: a symbolic link that moves on, and folders that are removed."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiotask import App

from .helpers import wait_until, wait_until_async
from .workers import ROOT, Supervisor, Workers


class Releases:
    """Releases 1, 2, …, and ``current``, which leads to one of them."""

    def __init__(self, directory: Path, app: str, workers: Workers) -> None:
        self.directory = directory
        self.current = directory / "current"
        self._app = app
        self._workers = workers

    def add(self, number: int) -> Path:
        release = self.directory / "releases" / str(number)
        release.mkdir(parents=True)
        (release / "version.txt").write_text(str(number))
        (release / "released.py").write_text(
            f"import os\nfrom aiotask import App\napp = App({self._app!r})\n"
            f"@app.task\ndef version():\n    return {number}, int(open('version.txt').read())\n"
        )
        return release

    def point_to(self, number: int) -> None:
        new = self.directory / "new"
        new.symlink_to(self.directory / "releases" / str(number))
        new.replace(self.current)

    def start(self, *, pwd: str, options: tuple[str, ...] = ()) -> Supervisor:
        """As from a shell that is in ``current``, or a service manager that names no PWD."""
        return self._workers.start(
            "released", app_dir=self.current, options=("--app-dir", ".", *options),
            env={"PWD": pwd, "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip


@pytest.fixture
def releases(tmp_path: Path, app_name: str, workers: Workers) -> Iterator[Releases]:
    releases = Releases(tmp_path / "srv", app_name, workers)
    releases.add(1)
    releases.add(2)
    releases.point_to(1)
    yield releases


async def version_is(app: App, version: tuple[int, int]) -> None:
    async def it_is() -> bool:
        return bool(await app.s("released:version").apply_async() == version)

    await wait_until_async(it_is, description=f"version {version} runs")


async def test_fresh_code_is_that_of_the_link_in_which_the_worker_was_started(
    releases: Releases, app_name: str, redis_url: str
) -> None:
    app = App(app_name, url=redis_url)
    supervisor = releases.start(pwd=str(releases.current))
    await version_is(app, (1, 1))
    releases.point_to(2)
    supervisor.signal(signal.SIGHUP)
    # Its module and its files, which are found in the current directory.
    await version_is(app, (2, 2))
    shutil.rmtree(releases.directory / "releases" / "1")
    supervisor.signal(signal.SIGHUP)
    wait_until(lambda: supervisor.log.count("Replacing the worker") == 2, description="it was heard")
    releases.add(3)
    releases.point_to(3)
    supervisor.signal(signal.SIGHUP)
    await version_is(app, (3, 3))
    assert "is gone" not in supervisor.log


async def test_a_folder_that_is_gone_is_named_and_the_old_processes_stay(
    releases: Releases, app_name: str, redis_url: str
) -> None:
    app = App(app_name, url=redis_url)
    # A PWD that is not the name of the current directory was not set by the user.
    supervisor = releases.start(pwd=str(releases.directory))
    await version_is(app, (1, 1))
    old = releases.directory / "releases" / "1"
    away = old.rename(releases.directory / "away")
    supervisor.signal(signal.SIGHUP)
    said = f'The directory "{old}", from which this worker loads its app, is gone'
    wait_until(lambda: said in supervisor.log, description="that is said")
    assert "so the old processes keep running." in supervisor.log and "FileNotFoundError" not in supervisor.log
    assert await app.s("released:version").apply_async() == (1, 1)
    away.rename(old)
    (old / "version.txt").write_text("5")
    supervisor.signal(signal.SIGHUP)
    await version_is(app, (1, 5))


def test_a_worker_that_is_started_in_a_folder_that_is_gone(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    code = (
        f"import os, sys; os.chdir({str(gone)!r}); os.rmdir({str(gone)!r}); os.environ['PWD'] = {str(gone)!r}\n"
        "os.execv(sys.executable, [sys.executable, '-P', '-m', 'aiotask_cli', 'worker', 'shop.tasks'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode == 2
    assert f'The current directory "{gone}" is gone. Start the worker in a directory that exists.' in done.stderr
