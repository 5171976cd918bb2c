"""Ctrl-C and other signals, at every moment in the life of a worker."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ..acceptance.stage import prepared
from ..helpers import wait_until, wait_until_async
from ..workers import ROOT, Supervisor, Workers
from .jobs import has_status


def _press(supervisor: Supervisor) -> None:
    """What a terminal does: the whole foreground group gets the signal."""
    os.killpg(supervisor.pid, signal.SIGINT)


def _leaves_nobody(supervisor: Supervisor, *codes: int) -> None:
    assert supervisor.wait(30) in codes, supervisor.log
    wait_until(lambda: not supervisor.session(), description="nobody is left of its session")
    assert "Traceback" not in supervisor.log


def test_ctrl_c_while_the_app_is_being_imported(workers: Workers, tmp_path: Path) -> None:
    started = tmp_path / "started"
    (tmp_path / "slow_app.py").write_text(f"open({str(started)!r}, 'w').close()\nimport time\ntime.sleep(60)\n")
    supervisor = workers.start("slow_app", app_dir=tmp_path, wait=False)
    wait_until(started.exists, description="the import has begun")

    _press(supervisor)
    _press(supervisor)

    _leaves_nobody(supervisor, 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGQUIT])
def test_signals_until_the_supervisor_is_gone(workers: Workers, number: signal.Signals) -> None:
    env = {"TEST_APP": "gone", "TEST_LEDGER": "/dev/null"}
    supervisor = workers.start("tests.acceptance.apps.calls", concurrency=1, env=env)

    while supervisor.exit_code is None:
        os.kill(supervisor.pid, number)

    _leaves_nobody(supervisor, 0)


def test_ctrl_c_just_as_the_supervisor_begins(workers: Workers) -> None:
    supervisor = workers.start(
        "tests.acceptance.apps.calls", env={"TEST_APP": "never", "TEST_LEDGER": "/dev/null"}, wait=False, fresh=True
    )
    # By its program, or by the title that it gives itself.
    became = re.compile(r"aiotask_cli\.supervise|aiotask worker .*\[supervisor\]")
    wait_until(lambda: became.search(_command(supervisor.pid)), description="it is the supervisor now")

    _press(supervisor)

    _leaves_nobody(supervisor, 0)


def _command(pid: int) -> str:
    return subprocess.run(
        ["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout


async def test_ctrl_c_drains_and_the_second_one_ends_at_once(workers: Workers, tmp_path: Path) -> None:
    stage = prepared("hostile", workers, tmp_path / "ledger")
    supervisor = stage.start(2)
    with stage.active():
        async with stage.app:
            result = stage.nap.apply_async(60.0)
            await wait_until_async(lambda: has_status(result, "RUNNING"), description="it runs")
            _press(supervisor)
            wait_until(lambda: "Stopping: no more jobs are claimed" in supervisor.log, description="it drains")
            assert supervisor.exit_code is None
            _press(supervisor)
            _leaves_nobody(supervisor, 0)
            assert await result.status() == "PENDING", "it is back in the queue"


def test_a_worker_with_all_streams_closed_works(workers: Workers, tmp_path: Path) -> None:
    stage = prepared("hostile", workers, tmp_path / "ledger")
    log = tmp_path / "log"
    command = [sys.executable, "-m", "aiotask_cli", "worker", stage.name, "-c", "1", "--app-dir", str(ROOT)]
    env = {**os.environ, **stage.env, "AIOTASK_URL": workers.url, "AIOTASK_HOME": str(tmp_path / "home")}
    shell = f"exec {' '.join(command)} <&- >&- 2>&-"
    supervisor = Supervisor(["bash", "-c", shell], log, env, ROOT)
    workers.all.append(supervisor)
    with stage.active():
        assert stage.echo.apply_async("heard").get(30) == "heard"
    assert supervisor.stop() == 0
