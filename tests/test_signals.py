"""Signals that operators send: to all processes by name, or where the launcher had blocked them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from signal import Signals

import psutil
import pytest

from .acceptance.stage import Stage, staged
from .helpers import wait_until, wait_until_async
from .workers import ROOT, Supervisor, Workers


@pytest.fixture
def stage(workers: Workers, tmp_path: Path) -> Iterator[Stage]:
    with staged("operated", workers, tmp_path / "ledger") as stage:
        yield stage


async def has_started(stage: Stage, *labels: str) -> None:
    for label in labels:
        await wait_until_async(lambda label=label: stage.ledger.runs(label), description=f"{label} runs")  # type: ignore[misc]


def signal_all(supervisor: Supervisor, number: int) -> None:
    """What `pkill -f` does when the name fits all processes of a worker."""
    for process in [psutil.Process(supervisor.pid), *supervisor.session()]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def pids(supervisor: Supervisor) -> set[int]:
    return {child.pid for child in supervisor.children()}


#: They neither end nor stop nor replace anything.
WITHOUT_EFFECT = ["USR1", "USR2", "ALRM", "VTALRM", "PROF", "PIPE", "WINCH", "CONT", "TSTP"]


async def test_a_signal_that_reaches_all_processes_ends_none(stage: Stage) -> None:
    supervisor = stage.start(2)
    await wait_until_async(lambda: len(pids(supervisor)) == 3, description="two workers and the keeper are there")
    before = pids(supervisor)
    for name in WITHOUT_EFFECT:
        jobs = [stage.nap.apply_async(0.5, f"nap {name}"), stage.anap.apply_async(0.5, f"anap {name}")]
        await has_started(stage, f"nap {name}", f"anap {name}")
        for _ in range(3):
            signal_all(supervisor, Signals[f"SIG{name}"])
            assert await stage.echo.apply_async(1) == 1
        assert await asyncio.gather(*jobs) == [1, 1], name
        assert pids(supervisor) == before, name
        assert len(stage.ledger.runs(f"nap {name}")) == len(stage.ledger.runs(f"anap {name}")) == 1
    assert "ended by" not in supervisor.log


async def test_a_hangup_of_all_processes_by_name_lets_jobs_run_on(stage: Stage) -> None:
    supervisor = stage.start(2)
    jobs = [stage.nap.apply_async(4.0), stage.anap.apply_async(4.0)]
    await has_started(stage, "nap", "anap")
    for count in range(1, 4):
        signal_all(supervisor, signal.SIGHUP)
        wait_until(
            lambda count=count: supervisor.log.count("Replacing the worker processes") == count,  # type: ignore[misc]
            description="the supervisor has heard it",
        )
    assert await asyncio.gather(*jobs) == [1, 1]
    assert len(stage.ledger.runs("nap")) == len(stage.ledger.runs("anap")) == 1
    assert "ended by" not in supervisor.log


async def test_one_process_more_by_name(stage: Stage) -> None:
    supervisor = stage.start(1)
    before = pids(supervisor)
    job = stage.nap.apply_async(1.0)
    await has_started(stage, "nap")
    signal_all(supervisor, signal.SIGTTIN)
    wait_until(lambda: len(pids(supervisor)) == len(before) + 1, description="there is one more")
    assert await job == 1
    assert before < pids(supervisor)


async def test_a_death_by_a_signal_from_outside_is_no_strike(stage: Stage) -> None:
    """Even where user code has given the signal back its default: more deaths than a job that kills would survive."""
    supervisor = stage.start(1)
    for name in ("HUP", "TERM", "INT", "QUIT", "USR1", "USR2", "ALRM", "VTALRM"):
        number, label = Signals[f"SIG{name}"], f"reset {Signals[f'SIG{name}']:d}."
        job = stage.reset_and_nap.apply_async(int(number), 4)
        for attempt in range(1, 5):
            runs = await wait_until_async(
                lambda attempt=attempt, label=label: (runs := stage.ledger.runs(label))[attempt - 1 :] and runs,  # type: ignore[misc]
                description=f"it runs for the time {attempt}",
            )
            os.kill(runs[-1].pid, number)
        assert await job == "rested", name
        assert supervisor.log.count(f"SIG{name}") >= 4
    async with stage.app.inspector() as inspector:
        assert await inspector.dead() == []


async def test_a_process_that_a_job_forked_survives_what_all_workers_survive(stage: Stage) -> None:
    supervisor = stage.start(1)
    job = stage.fork_and_nap.apply_async(3.0)
    await has_started(stage, "forked")
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGTTIN, signal.SIGUSR2):
        signal_all(supervisor, number)
    assert await job == 0


BLOCKED = {signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1, signal.SIGALRM, signal.SIGVTALRM}


def launched(command: list[str], env: dict[str, str]) -> subprocess.Popen[bytes]:
    nowhere = subprocess.DEVNULL
    return subprocess.Popen(command, env=env, cwd=ROOT, stdin=nowhere, stdout=nowhere, stderr=nowhere)


#: Loaded by each interpreter that starts: it sends the signal to itself in the command, and in what that becomes.
EARLY = """
import os, signal, sys
{before}
class Sends:
    def find_spec(name, path=None, target=None):
        if name in ("aiotask_cli.main", "aiotask.daemon.supervisor"):
            os.kill(os.getpid(), signal.SIG{signal})
            with open({log!r}, "a") as log:
                print(name, file=log)
sys.meta_path.insert(0, Sends)
"""


@pytest.mark.parametrize(
    ("name", "before", "replaces"),
    [("HUP", "", True), ("HUP", "signal.signal(signal.SIGHUP, signal.SIG_IGN)", False), ("USR1", "", False)],
    ids=["HUP", "HUP as under nohup", "USR1"],
)
async def test_a_signal_before_the_service_handles_it_is_kept_until_then(
    stage: Stage, tmp_path: Path, name: str, before: str, replaces: bool
) -> None:
    sent = tmp_path / "sent"
    (tmp_path / "sitecustomize.py").write_text(EARLY.format(before=before, signal=name, log=str(sent)))
    stage.env["PYTHONPATH"] = str(tmp_path)
    supervisor = stage.start(1)
    assert sent.read_text().split() == ["aiotask_cli.main", "aiotask.daemon.supervisor"]
    if replaces:
        wait_until(lambda: "Replacing the worker processes" in supervisor.log, description="it is told")
    assert await stage.echo.apply_async(1) == 1
    assert supervisor.stop() == 0
    assert ("Replacing the worker processes" in supervisor.log) == replaces


async def test_signals_that_the_launcher_had_blocked_are_heard(stage: Stage, tmp_path: Path) -> None:
    launcher = tmp_path / "launcher.py"
    launcher.write_text(
        "import os, signal, sys\n"
        f"signal.pthread_sigmask(signal.SIG_BLOCK, {sorted(map(int, BLOCKED))})\n"
        "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])\n"
    )
    env = {**os.environ, **stage.env, "AIOTASK_URL": stage.url, "AIOTASK_HOME": str(tmp_path / "home")}
    process = launched([sys.executable, str(launcher), "-m", "aiotask_cli", "worker", stage.name, "-c", "1"], env)
    try:
        assert await stage.blocked_signals.apply_async() == ([], [])
        with psutil.Process(process.pid).oneshot():
            children = psutil.Process(process.pid).children()
        for pid in [process.pid, *(child.pid for child in children)]:
            mask = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "SigBlk" in line)
            assert int(mask.split()[1], 16) == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
