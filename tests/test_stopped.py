"""Processes that are stopped: by a terminal, a signal or the freezer. They live, and no job of them goes on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from aiotask.daemon.health.probe import probe
from aiotask.daemon.health.process_state import holds_freezer, silence_of, stop_of
from aiotask.daemon.watch.stack_file import catches
from aiotask_cli.main import app as cli

from .acceptance.stage import Stage, staged
from .helpers import wait_until, wait_until_async
from .workers import ROOT, Workers, take_terminal


@pytest.fixture
def stage(workers: Workers, tmp_path: Path) -> Iterator[Stage]:
    with staged("operated", workers, tmp_path / "ledger") as stage:
        yield stage


async def runs_in(stage: Stage, label: str, times: int = 1) -> int:
    """Wait until the job has run this many times; the process ID of its last run."""
    runs = await wait_until_async(
        lambda: (runs := stage.ledger.runs(label))[times - 1 :] and runs, description=f"{label} runs {times} times"
    )
    return runs[-1].pid


def live(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> tuple[bool, str]:
    monkeypatch.setenv("AIOTASK_HOME", str(workers.directory / "home"))
    return probe("live")


async def test_a_stopped_process_is_told_once_to_continue(stage: Stage) -> None:
    supervisor = stage.start(1)
    job = stage.nap.apply_async(2.0)
    pid = await runs_in(stage, "nap")
    os.kill(pid, signal.SIGSTOP)
    assert await job == 1
    assert f"worker-1 (pid {pid}) is stopped by a signal, and so is its job; the supervisor has sent it CONT, once" in (
        supervisor.log
    )
    wait_until(lambda: f"worker-1 (pid {pid}) is running again" in supervisor.log, description="that is said")


async def test_jobs_of_a_process_that_stays_stopped_run_again(
    stage: Stage, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor = stage.start(1, "--stopped-process", "8s")
    # So long that neither ends in the moment between the two signals.
    jobs = [stage.nap.apply_async(600.0), stage.anap.apply_async(600.0)]
    pid = await runs_in(stage, "nap")
    await runs_in(stage, "anap")
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: "the supervisor has sent it CONT, once" in supervisor.log, description="it is noticed")
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: not live(workers, monkeypatch)[0], description="it is not live")
    assert f"Worker pid {pid} is stopped by a signal." in live(workers, monkeypatch)[1]
    assert await runs_in(stage, "nap", 2) != pid and await runs_in(stage, "anap", 2) != pid
    assert not psutil.pid_exists(pid)
    assert "it is killed, and its job" in supervisor.log
    wait_until(lambda: live(workers, monkeypatch)[0], description="it is live again")
    async with stage.app.inspector() as inspector:
        for job in jobs:
            info = await inspector.job(job.id)
            # No death is counted against it, and no attempt.
            assert info is not None and (info.meta.attempt, info.meta.deaths) == (1, 0)
    for job in jobs:
        await job.cancel()


async def test_a_stop_does_not_wait_for_a_stopped_process(stage: Stage) -> None:
    supervisor = stage.start(1, "--grace", "600", "--stopped-process", "600")
    stage.nap.apply_async(600.0)
    pid = await runs_in(stage, "nap")
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: "the supervisor has sent it CONT, once" in supervisor.log, description="it is noticed")
    os.kill(pid, signal.SIGSTOP)
    assert supervisor.stop() == 0
    async with stage.app.inspector() as inspector:
        (waiting,) = await inspector.jobs()
    assert waiting.status.value == "PENDING"


async def test_a_process_that_shows_no_stacks_is_shown_with_the_reason(stage: Stage) -> None:
    supervisor = stage.start(1, "--stopped-process", "600")
    pid = await stage.pid.apply_async()
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: "the supervisor has sent it CONT, once" in supervisor.log, description="it is noticed")
    os.kill(pid, signal.SIGSTOP)
    command = ["stack", "worker-1", "--name", stage.app.name, "--url", stage.app.url]
    shown = (await asyncio.to_thread(CliRunner().invoke, cli, command)).stdout
    os.kill(pid, signal.SIGCONT)
    assert f"worker-1 (pid {pid}), 0 jobs, its event loop has not run for" in shown
    assert "(the process did not show its stacks: it is stopped by a signal)" in shown
    assert "event loop\n" in (await asyncio.to_thread(CliRunner().invoke, cli, command)).stdout


async def test_a_stopped_keeper_is_replaced_and_a_stopped_supervisor_continued(stage: Stage) -> None:
    supervisor = stage.start(1)
    worker = await stage.pid.apply_async()
    (keeper,) = [child.pid for child in supervisor.children() if child.pid != worker]
    os.kill(keeper, signal.SIGSTOP)
    wait_until(lambda: "a new one takes over" in supervisor.log, description="it has a successor")
    assert await stage.echo.options(delay=0.1).apply_async(1) == 1
    supervisor.signal(signal.SIGSTOP)
    wait_until(lambda: stop_of(supervisor.pid) == "stopped by a signal", description="it is stopped")
    wait_until(lambda: not stop_of(supervisor.pid), description="its keeper has it continue")
    assert await stage.echo.apply_async(2) == 2


@pytest.fixture
def on_a_terminal(stage: Stage, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker with a controlling terminal."""
    ours, theirs = pty.openpty()
    log = tmp_path / "log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "aiotask_cli", "worker", stage.name, "-c", "1"],
            stdin=theirs, stdout=theirs, stderr=errors, start_new_session=True, cwd=ROOT,
            preexec_fn=lambda: take_terminal(theirs),
            env={**os.environ, **stage.env, "AIOTASK_URL": stage.url, "AIOTASK_HOME": str(tmp_path)},
        )  # fmt: skip
    os.close(theirs)
    try:
        yield process
    finally:
        os.close(ours)
        try:
            process.wait(30)
        finally:
            process.kill()
            process.wait()


@pytest.mark.parametrize("how", ["here", "program"])
async def test_a_job_that_reads_the_terminal_gets_an_error(
    stage: Stage, on_a_terminal: subprocess.Popen[bytes], how: str
) -> None:
    asking = stage.ask_the_terminal.apply_async(how)
    if how == "here":
        with pytest.raises(OSError, match="No such device or address"):
            await asking
    else:
        assert await asking == "got"
    assert await stage.echo.apply_async(1) == 1
    assert psutil.Process(on_a_terminal.pid).status() != psutil.STATUS_STOPPED


async def test_ctrl_z_stops_neither_supervisor_nor_jobs(
    stage: Stage, on_a_terminal: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    assert await stage.echo.apply_async(1) == 1
    on_a_terminal.send_signal(signal.SIGTSTP)
    wait_until(lambda: "Ctrl-Z (TSTP) does not stop the worker" in (tmp_path / "log").read_text(), description="said")
    assert await stage.echo.apply_async(2) == 2


FREEZER = Path("/sys/fs/cgroup/freezer")


@contextlib.contextmanager
def frozen(pid: int, name: str) -> Iterator[None]:
    """While the block lasts, this process alone is in a control group that is frozen."""
    group = FREEZER / name
    group.mkdir()
    try:
        (group / "cgroup.procs").write_text(str(pid))
        (group / "freezer.state").write_text("FROZEN")
        yield
    finally:
        (group / "freezer.state").write_text("THAWED")
        with contextlib.suppress(OSError):
            (FREEZER / "cgroup.procs").write_text(str(pid))
        wait_until(lambda: not (group / "cgroup.procs").read_text(), description="it is left by all")
        group.rmdir()


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-c", "import signal, time; signal.signal(signal.SIGUSR2, print); time.sleep(600)"]
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_what_the_system_says_of_a_process(sleeper: subprocess.Popen[bytes]) -> None:
    assert stop_of(sleeper.pid) == ""
    wait_until(lambda: catches(signal.SIGUSR2, sleeper.pid), description="it catches SIGUSR2")
    assert not catches(signal.SIGUSR1, sleeper.pid)
    sleeper.send_signal(signal.SIGSTOP)
    wait_until(lambda: stop_of(sleeper.pid) == "stopped by a signal", description="it is stopped")
    assert silence_of(sleeper.pid) == "it is stopped by a signal"
    assert stop_of(4_999_999) == silence_of(4_999_999) == ""


def test_a_frozen_process_is_known(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """By the freezer of this system where the test may use it, and by the files of either version of it."""
    if os.access(FREEZER, os.W_OK):
        with frozen(sleeper.pid, f"aiotask-test-{sleeper.pid}"):
            wait_until(lambda: stop_of(sleeper.pid) == "frozen", description="it is frozen")
        wait_until(lambda: stop_of(sleeper.pid) == "", description="it goes on")
    for group, path, thawed, frozen_ in (
        ("0::/shop/one", "shop/one/cgroup.events", "populated 1\nfrozen 0\n", "populated 1\nfrozen 1\n"),
        ("0::/shop/two", "unified/shop/two/cgroup.events", "frozen 0\n", "frozen 1\n"),
        ("6:freezer:/shop", "freezer/shop/freezer.state", "THAWED\n", "FROZEN\n"),
    ):
        file = tmp_path / path
        file.parent.mkdir(parents=True)
        file.write_text(thawed)
        assert not holds_freezer(f"1:cpu:/x\n{group}\n", tmp_path)
        file.write_text(frozen_)
        assert holds_freezer(f"1:cpu:/x\n{group}\n", tmp_path)
