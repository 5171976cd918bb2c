"""Who blocks others is named with the place where; and every process shows where it stands, on every host."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from signal import Signals
from typing import Any

import pytest
from typer.testing import CliRunner

from aiotask import App
from aiotask.broker import Notice
from aiotask.brokers import connect
from aiotask.inloop import watch as inloopwatch
from aiotask.outcome import Outcome, decode_outcome
from aiotask.wire.control import Control
from aiotask.wire.seal import Sealer

from .acceptance.stage import Stage, staged
from .helpers import wait_until, wait_until_async
from .workers import Supervisor, running_workers


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Stage]:
    directory: Path = tmp_path_factory.mktemp("watchdog")
    with (
        running_workers(directory / "workers", redis_url) as workers,
        staged("hazards", workers, directory / "ledger") as stage,
    ):
        yield stage


@pytest.fixture(scope="module")
def supervisor(stage: Stage) -> Supervisor:
    return stage.start(1, "--log-json", "--blocked-loop", "0.3", "--long-job", "0.5")


@pytest.fixture(autouse=True)
def _logs(worker_logs: None) -> None:
    """What the workers said is shown with every failure."""


def said_of(supervisor: Supervisor, id: str) -> list[dict[str, Any]]:
    """What the watchdog said of a job."""
    lines = [json.loads(line) for line in supervisor.log.splitlines() if line.startswith("{")]
    return [line for line in lines if line.get("event") in ("blocking", "long") and line.get("id") == id]


async def test_who_blocks_or_takes_long_is_said_once_with_the_place(stage: Stage, supervisor: Supervisor) -> None:
    suspended = stage.anap.apply_async(100.0, "beside")
    blocking = stage.block_the_loop.apply_async(2.0)
    assert await blocking == 1
    (said,) = said_of(supervisor, blocking.id)
    assert said["event"] == "blocking" and said["level"] == "warning"
    assert said["task"].endswith(":block_the_loop") and said["worker"] == "worker-1"
    assert 0.3 < said["seconds"] < 2.5
    # The user's line, not one of asyncio or aiotask.
    assert "apps/hazards.py:" in said["place"] and said["place"].endswith("in block_the_loop")
    assert said["stack"].startswith('  File "') and "in block_the_loop" in said["stack"]
    assert "has blocked the event loop of worker-1 for" in said["message"]
    # The supervisor logs it; who ends that process ends the host.
    worker = await stage.pid.apply_async()
    assert said["pid"] == worker != supervisor.pid

    # What it used goes with its outcome: of an async job, the time for which it kept the loop.
    outcome = await outcome_of(stage, blocking.id)
    assert 1_900_000 < outcome.cpu < 20_000_000 and 5_000 < outcome.memory < 10_000_000

    # A sync job blocks nobody. What it calls is Python's own; what is named is the line that calls it.
    long = stage.nap.apply_async(2.0)
    assert await long == 1
    (said,) = said_of(supervisor, long.id)
    assert (said["event"], said["level"], said["pid"]) == ("long", "info", worker)
    assert "apps/hazards.py:" in said["place"] and "in nap" in said["place"]

    outcome = await outcome_of(stage, long.id)
    assert outcome.cpu < 1_000_000 and outcome.memory > 5_000

    # Whoever holds the GIL lets no loop turn, and cannot be asked himself.
    holding = stage.hold_the_gil.options(timeout=2.0, retries=1).apply_async(True)
    assert await holding == "in the end"
    said = next(each for each in said_of(supervisor, holding.id) if each["event"] == "blocking")
    assert "held the GIL" in said["message"] and "in hold_the_gil" in said["place"]
    await suspended.cancel()
    assert said_of(supervisor, suspended.id) == []


async def test_stack_shows_every_process_of_every_host(stage: Stage, supervisor: Supervisor) -> None:
    other = stage.start(1)
    broker = connect(stage.app.url, stage.app.name)
    hosts = await wait_until_async(lambda: leases_of(broker, 2), description="both keepers are at work")
    waiting, running = stage.anap.apply_async(100.0, "shown"), stage.nap.apply_async(100.0, "shown too")
    for label in ("shown", "shown too"):
        await wait_until_async(lambda label=label: stage.ledger.runs(label), description="it has started")

    code, shown = await stack(stage)
    assert code == 0 and shown["silent"] == [] and set(shown["hosts"]) == set(hosts)
    for answer in shown["hosts"].values():
        assert sorted(process["name"].split("-")[0] for process in answer["processes"]) == [
            "keeper",
            "supervisor",
            "worker",
        ]
        assert all(process["threads"] and process["pid"] for process in answer["processes"])
    processes = [process for answer in shown["hosts"].values() for process in answer["processes"]]
    jobs = {job["id"]: (job, process) for process in processes for job in process["jobs"]}
    job, _ = jobs[waiting.id]
    assert job["task"].endswith(":anap") and any(frame[2] == "anap" for frame in job["awaits"])
    _, process = jobs[running.id]
    assert any(frame[2] == "nap" for thread in process["threads"] for frame in thread["frames"])

    code, shown = await stack(stage, running.id)
    assert code == 0
    (chosen,) = [process for answer in shown["hosts"].values() for process in answer["processes"]]
    assert chosen["pid"] == process["pid"]
    for result in (waiting, running):
        await result.cancel()

    # Who cannot seal cannot ask: nobody answers, and it is counted.
    before = await rejected(stage)
    forged = Control(["another secret"], stage.app.name).ask("forged", "operator-forged")
    foreign = Control(stage.app.secrets, "another app").ask("foreign", "operator-forged")
    for message in (forged, foreign, b"", b"\x01" * 100):
        assert await broker.publish(hosts[0], Notice("x", message))

    async def counted() -> bool:
        return await rejected(stage) == before + 4

    await wait_until_async(counted, description="the forged ones are counted")

    # A host that does not answer is named.
    await broker.renew("ghost-1-abc", 1)
    # And for a supervisor that does not react its keeper says what it sees.
    other.signal(Signals.SIGSTOP)
    code, shown = await stack(stage)
    other.signal(Signals.SIGCONT)
    await broker.declare_dead("ghost-1-abc")
    await broker.close()
    (note,) = [answer["note"] for answer in shown["hosts"].values() if answer["note"]]
    assert "supervisor does not answer" in note
    assert code == 1 and shown["silent"] == ["ghost-1-abc"] and len(shown["hosts"]) == 2
    assert other.stop() == 0


async def outcome_of(stage: Stage, id: str) -> Outcome:
    async with stage.app.inspector() as inspector:
        job = await inspector.job(id)
    assert job is not None and job.outcome is not None
    return decode_outcome(Sealer(stage.app.secrets, "outcome").open(job.outcome))


async def leases_of(broker: Any, count: int) -> list[str]:
    leases = await broker.leases()
    return sorted(leases) if len(leases) == count else []


async def rejected(stage: Stage) -> int:
    async with stage.app.inspector() as inspector:
        count: int = await inspector.rejected()
        return count


async def stack(stage: Stage, *target: str) -> tuple[int, dict[str, Any]]:
    """Exit code and output of ``aiotask stack --json``."""
    from aiotask_cli.main import app

    command = ["stack", *target, "--name", stage.app.name, "--url", stage.app.url, "--json"]
    ended = await asyncio.to_thread(CliRunner().invoke, app, command)
    return ended.exit_code, json.loads(ended.stdout)


async def test_who_blocks_somebody_s_own_loop_is_said_too(
    app_name: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inloopwatch, "BLOCKED_LOOP", 0.2)
    monkeypatch.setattr(logging.getLogger("aiotask"), "propagate", True)
    app = App(app_name, url="memory://")

    @app.task
    async def block() -> None:
        until = time.monotonic() + 10.0
        wait_until(lambda: said(caplog) or time.monotonic() > until, description="it is said", timeout=15.0)

    async with app.worker():
        result = block.apply_async()
        await result
    (facts,) = said(caplog)
    assert facts["id"] == result.id and facts["task"] == block.name
    assert "helpers.py" in facts["place"] and "in block" in facts["stack"]


def said(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    facts = [getattr(record, "facts", {}) for record in caplog.records]
    return [each for each in facts if each.get("event") == "blocking"]
