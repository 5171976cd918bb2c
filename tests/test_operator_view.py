"""What an operator sees of a worker: titles of its processes, the line that it is ready, exit codes, probes by app."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from aiotask.daemon.board import SharedBoard
from aiotask.daemon.child import Child
from aiotask.daemon.health.probe import probe
from aiotask.daemon.watch.postmortem import Postmortem

from .acceptance.stage import Stage, prepared, staged
from .helpers import wait_until, wait_until_async
from .workers import ROOT, Supervisor, Workers


@pytest.fixture
def stage(workers: Workers, tmp_path: Path) -> Iterator[Stage]:
    with staged("operated", workers, tmp_path / "ledger") as stage:
        yield stage


def titles(supervisor: Supervisor) -> dict[int, str]:
    """What `ps` shows, by pid."""
    pids = [supervisor.pid, *(child.pid for child in supervisor.children())]
    shown = subprocess.run(
        ["ps", "-ww", "-o", "pid=,args=", "-p", ",".join(map(str, pids))], capture_output=True, text=True, check=True
    )
    return {int(pid): title for pid, title in (line.split(None, 1) for line in shown.stdout.splitlines())}


def found_by(pattern: str) -> list[int]:
    done = subprocess.run(["pgrep", "-f", pattern], capture_output=True, text=True, check=True)
    return [int(pid) for pid in done.stdout.split()]


async def test_processes_can_be_told_apart(stage: Stage) -> None:
    supervisor = stage.start(2, fresh=True)
    wait_until(lambda: "Ready: 2 worker processes." in supervisor.log, description="all are up")
    shown = titles(supervisor)
    assert shown.pop(supervisor.pid) == f"aiotask worker {stage.name} [supervisor]"
    assert sorted(shown.values()) == [
        f"aiotask: {part} of {stage.name}" for part in ("keeper", "worker-1", "worker-2")
    ]  # fmt: skip
    # Other tests may run supervisors of the same module.
    ours = {supervisor.pid, *(child.pid for child in supervisor.children())}
    assert ours & set(found_by(f"aiotask worker {stage.name}")) == {supervisor.pid}
    # Nothing of the environment is touched, and a job's own process is no worker.
    assert psutil.Process(supervisor.pid).environ()["TEST_APP"] == stage.app.name
    job = stage.fork_and_nap.apply_async(1.0)
    await wait_until_async(lambda: stage.ledger.runs("forked"), description="a job has forked")
    (run,) = stage.ledger.runs("forked")
    command = " ".join(psutil.Process(run.pid).cmdline())
    assert command == "aiotask: process of a job"
    assert await job == 0


async def test_that_all_processes_are_in_service_is_said_once(stage: Stage) -> None:
    supervisor = stage.start(1)
    wait_until(lambda: "Ready: 1 worker process.\n" in supervisor.log, description="that is said")
    os.kill(await stage.pid.apply_async(), 9)
    assert await stage.echo.apply_async(1) == 1
    assert supervisor.stop() == 0
    assert supervisor.log.count("Ready: ") == 1


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://x", '"http://x" is not a broker URL'),
        ("redis://queue.internal:6379/0", "secret"),
        ("memory://", "keeps its jobs in memory"),
    ],
)
def test_wrong_settings_end_with_2_and_in_their_own_words(stage: Stage, url: str, said: str) -> None:
    supervisor = stage.start(1, "--url", url, wait=False)
    assert supervisor.wait() == 2
    assert said in supervisor.log and "could not be loaded" not in supervisor.log


def test_a_probe_asks_the_workers_of_one_app(workers: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = (prepared("operated", workers, tmp_path / name) for name in ("one", "two"))
    monkeypatch.setenv("AIOTASK_HOME", str(workers.directory / "home"))
    first, second = one.start(1), two.start(1)
    wait_until(lambda: probe("ready")[0], description="both are ready")
    assert probe("live", one.app.name) == (True, f"live: worker pid {first.pid}")
    assert second.stop() == 0
    assert probe("ready", one.app.name) == (True, f"ready: worker pid {first.pid}")
    assert not probe("ready", two.app.name)[0]
    assert f'no worker of app "{two.app.name}" was found' in probe("ready", two.app.name)[1]
    for arguments in (["--live", "--name", one.app.name], ["--name", one.app.name, "--live"], ["--live"]):
        done = subprocess.run(
            [sys.executable, "-m", "aiotask_cli", "doctor", *arguments], capture_output=True, text=True, check=False,
            env={**os.environ, "AIOTASK_NAME": one.app.name},
        )  # fmt: skip
        assert (done.returncode, done.stdout) == (0, f"live: worker pid {first.pid}\n")


def test_what_broke_in_a_process_is_said_with_its_exit_code() -> None:
    child = Child(1, SharedBoard(1))
    child.begin(0)
    child.loop_error = "KeyboardInterrupt"
    try:
        reason = Postmortem.gather(child, 70, 0).reason
        assert reason == "exit code 70, since its event loop broke: KeyboardInterrupt"
    finally:
        child.close()


def test_a_worker_needs_no_directory_that_can_be_written(tmp_path: Path, redis_url: str, app_name: str) -> None:
    """As in a container with a read-only root: neither for temporary files nor a home."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("AIOTASK_", "HOME"))}
    env |= {"TMPDIR": "/proc/none", "HOME": "/proc/none", "AIOTASK_URL": redis_url, "TEST_APP": app_name}
    code = (
        "import tempfile, sys\n"
        "def refuse(*args, **kwargs): raise FileNotFoundError('no usable temporary directory')\n"
        "tempfile.TemporaryFile = tempfile.mkstemp = tempfile.gettempdir = refuse\n"
        "from aiotask_cli.supervise import main\n"
        "sys.exit(main())\n"
    )
    settings = f'{{"apps": ["tests.acceptance.apps.operated"], "app_dir": {str(ROOT)!r}, "concurrency": 1}}'
    log = tmp_path / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", code, settings.replace("'", '"')], env={**env, "TEST_LEDGER": str(tmp_path)},
            stdout=file, stderr=file, stdin=subprocess.DEVNULL, cwd=ROOT,
        )  # fmt: skip
    try:
        wait_until(lambda: "Ready: 1 worker process." in log.read_text(), description="it is up")
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
