"""Real supervisors with real worker processes, as `aiotask worker` starts them, for tests of any kind.

``workers`` is a fixture that starts them for one test; ``running_workers`` does the same for a module::

    async def test_it(workers: Workers) -> None:
        supervisor = workers.start("tests.acceptance.apps.calls", concurrency=2, env={"TEST_APP": name})
        ...
        assert supervisor.stop() == 0
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator, Mapping
from pathlib import Path
from signal import Signals

import psutil
import pytest

from .commands import Command, heeds
from .helpers import WAIT, wait_until

__all__ = ["DATABASES", "ROOT", "Supervisor", "Workers", "running_workers", "take_terminal", "worker_logs", "workers"]

ROOT = Path(__file__).resolve().parent.parent
#: What stands in the log when workers are in service: the last line of the banner, or all of it in a JSON log.
BANNERS = ("\n  history  ", '"event":"banner"', '"event": "banner"')

#: What an app with a database imports: for `loaded`.
DATABASES = ("aiotask.sql", "psycopg", "sqlalchemy.dialects.postgresql.psycopg", "sqlalchemy.ext.asyncio", "aiosqlite")

#: Supervisors whose log the running test may show.
_started: list[Supervisor] = []


class Supervisor:
    """One `aiotask worker`: the supervisor's process, in a session of its own with all its children.

    Args:
        command: what runs; ``aiotask ...`` is a fork of a process that has loaded the code.
        loaded: modules that this process has loaded, too.
    """

    def __init__(
        self, command: list[str], log: Path, env: Mapping[str, str], folder: Path, *, loaded: tuple[str, ...] = ()
    ) -> None:
        self.log_path = log
        self.command = command
        self._seen = 0
        self._process: Command | subprocess.Popen[bytes]
        with log.open("ab") as file, open(os.devnull, "rb") as nothing:
            if command[0] == "aiotask":
                self._process = Command(
                    *("workers", tuple(command[1:]), (nothing, file, file)),
                    env=env,
                    cwd=folder,
                    session=True,
                    loaded=loaded,
                )
            else:
                self._process = subprocess.Popen(
                    command, stdin=nothing, stdout=file, stderr=file, env=dict(env), cwd=folder, start_new_session=True
                )
        self.pid = self._process.pid
        _started.append(self)

    # ---- what can be seen

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._process.poll()

    def session(self) -> list[psutil.Process]:
        """Every process of its session that lives, whoever its parent is by now; without the supervisor."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.pid != self.pid and os.getsid(process.pid) == self.pid and _lives(process):
                    found.append(process)
        return found

    def children(self) -> list[psutil.Process]:
        """Its direct children that live: worker processes and the keeper."""
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(self.pid).children()
            return [child for child in children if _lives(child)]
        return []

    def wait_for_banner(self, timeout: float = WAIT) -> None:
        """Return once workers are in service."""

        def there() -> bool:
            if self.exit_code is not None:
                raise AssertionError(f"The supervisor ended with {self.exit_code}:\n{self.log}")
            log = self.log
            return any(banner in log for banner in BANNERS)

        wait_until(there, description="the banner is in the log", timeout=timeout)

    def unread(self) -> str:
        """What the log says since the last call."""
        text = self.log
        new, self._seen = text[self._seen :], len(text)
        return new

    # ---- what can be done to it

    def signal(self, number: Signals) -> None:
        self._process.send_signal(number)

    def wait(self, timeout: float = WAIT) -> int:
        """Its exit code, once it has ended."""
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"The supervisor did not end within {timeout:g} s:\n{self.log}") from None

    def stop(self, number: Signals = Signals.SIGTERM, timeout: float = WAIT) -> int:
        """Ask it to end; the exit code. Twice is fine."""
        if self.exit_code is None:
            self.signal(number)
        return self.wait(timeout)

    def _show_stacks(self) -> None:
        """Have every process write its stacks into the log."""
        with contextlib.suppress(AssertionError):
            self.signal(Signals.SIGUSR1)
            wait_until(lambda: "stacks of the keeper" in self.log, description="the stacks are there", timeout=20.0)

    def clear(self, timeout: float = WAIT) -> list[psutil.Process]:
        """End it by all means; the processes that it had left behind."""
        try:
            self.stop(timeout=timeout)
        except AssertionError as error:
            known = len(self.log)
            self._show_stacks()
            self._process.kill()
            self._process.wait()
            _killed(self.session())
            raise AssertionError(f"{error}\n{self.log[known:]}") from None
        # A child that is ending is no child that was left.
        _, left = psutil.wait_procs(self.session(), timeout=0 if self.exit_code == 0 else 60)
        _killed(left)
        return left


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _killed(processes: list[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=60)


class Workers:
    """Starts supervisors.

    Args:
        directory: where their logs and state go.
        url: broker of every app that names none.
    """

    def __init__(self, directory: Path, url: str) -> None:
        self.directory = directory
        self.url = url
        self.all: list[Supervisor] = []
        # Threads may start several at once.
        self._numbers = itertools.count(1)

    def start(
        self,
        *modules: str,
        concurrency: int | None = 1,
        options: tuple[str, ...] = (),
        env: Mapping[str, str] | None = None,
        app_dir: Path = ROOT,
        wait: bool = True,
        fresh: bool = False,
        loaded: tuple[str, ...] = (),
    ) -> Supervisor:
        """Start one, and return once its workers are in service (``wait=False``: at once).

        Args:
            modules: ``module`` or ``module:app``, as on the command line.
            concurrency: None leaves the option out.
            options: further ones of `aiotask worker`.
            env: variables on top of this process's own, of which the ``AIOTASK_*`` ones are left out.
            fresh: start a new Python, and do not fork one that has loaded the code of workers: for tests of how a
                process begins, and of what it loads.
            loaded: modules that the apps import and that take long to load.
        """
        number = next(self._numbers)
        variables = {name: value for name, value in os.environ.items() if not name.startswith("AIOTASK_")}
        variables |= {
            "AIOTASK_URL": self.url,
            "AIOTASK_HOME": str(self.directory / "home"),
            "NO_COLOR": "1",
            "PYTHONUNBUFFERED": "1",
            **(env or {}),
        }
        # Memory counts from what a new Python takes.
        is_forked = not fresh and "--max-memory-per-child" not in options and heeds(variables)
        supervisor = Supervisor(
            [
                *(("aiotask",) if is_forked else (sys.executable, "-m", "aiotask_cli")),
                *("worker", *modules),
                *(() if concurrency is None else ("-c", str(concurrency))),
                *("--app-dir", str(app_dir), *options),
            ],
            self.directory / f"worker-{number}.log",
            variables,
            app_dir,
            loaded=loaded,
        )
        self.all.append(supervisor)
        if wait:
            supervisor.wait_for_banner()
        return supervisor

    def clear(self) -> None:
        """End all of them; AssertionError if one left a child behind or did not end."""
        faults = []
        for supervisor in self.all:
            try:
                left = supervisor.clear()
            except AssertionError as error:
                faults.append(str(error))
            else:
                if left:
                    faults.append(f"The supervisor (pid {supervisor.pid}) left {left}:\n{supervisor.log}")
        self.all.clear()
        assert not faults, "\n".join(faults)


def take_terminal(terminal: int) -> None:
    """Make a process that begins a session hear of its terminal, of the end of it too where tests run under nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)


@contextlib.contextmanager
def running_workers(directory: Path, url: str) -> Iterator[Workers]:
    """Whatever is started there is ended at the end."""
    directory.mkdir(parents=True, exist_ok=True)
    all_of_them = Workers(directory, url)
    try:
        yield all_of_them
    finally:
        all_of_them.clear()


@pytest.fixture
def workers(tmp_path: Path, redis_url: str, worker_logs: None) -> Iterator[Workers]:
    """Supervisors of one test, on the server of the session; the test ends them or the fixture does."""
    with running_workers(tmp_path / "workers", redis_url) as all_of_them:
        yield all_of_them


@pytest.fixture
def worker_logs(request: pytest.FixtureRequest) -> Iterator[None]:
    """Shows what workers of any scope logged during a test that failed."""
    _started[:] = [supervisor for supervisor in _started if supervisor.exit_code is None]
    for supervisor in _started:
        supervisor.unread()
    failed = request.session.testsfailed
    yield
    if request.session.testsfailed > failed:
        for supervisor in _started:
            print(f"---- {' '.join(supervisor.command)} (pid {supervisor.pid})\n{supervisor.unread()}")
