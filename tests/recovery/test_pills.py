"""Jobs that kill are given up, and no innocent job with them."""

from __future__ import annotations

import asyncio
import importlib
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from aiotask import ResultDB, Status
from aiotask.broker import Replayed
from aiotask.brokers import connect, inspect
from aiotask.errors import WorkerLost
from aiotask.ops.connection import Place
from aiotask.ops.letters import read_letter
from aiotask.ops.views.job import timeline

from ..acceptance.ledger import most_at_once
from ..acceptance.stage import Stage
from ..helpers import wait_until_async
from .deaths import started

#: Nothing says that memory was short.
PILLS = [
    ("crash", "segfault", "signal 11 (SIGSEGV) in string_at ("),
    ("crash", "abort", "signal 6 (SIGABRT) in die (apps/hazards.py:"),
    ("crash", "1", "exit code 1"),
    ("crash", "0", "exit code 0"),
    ("acrash", "segfault", "signal 11 (SIGSEGV) in string_at ("),
    ("acrash", "75", "exit code 75"),
]


async def test_a_job_that_kills_is_given_up_after_three_deaths_and_no_innocent_with_it(stage: Stage) -> None:
    innocents: list[Any] = []
    pills = []
    for task, how, _ in PILLS:
        innocents += [stage.aecho.apply_async(n) for n in range(20)]
        innocents += [stage.nap.apply_async(0.01, "innocent") for _ in range(5)]
        innocents += [stage.anap.apply_async(0.2, "innocent") for _ in range(5)]
        pills.append(getattr(stage, task).options(retries=5).apply_async(how))
    await stage.app.flush()
    supervisor = stage.start(2)

    ends = await asyncio.gather(*pills, return_exceptions=True)
    for (task, how, last), end in zip(PILLS, ends, strict=True):
        assert isinstance(end, WorkerLost), end
        assert f"was given up: 3 processes died while they ran it, the last one by {last}" in str(end)
        assert end.stderr.endswith(f"going to die of {how}\nas C code says it"), end.stderr
        assert "Its last lines of stderr:" in str(end) and "  as C code says it" in str(end)
        assert (end.signal is None) is last.startswith("exit code") and end.signal in (None, 6, 11)
        assert end.exit_code == (int(how) if end.signal is None else None)
        assert ("in die" in end.stack) is (end.signal is not None)
        assert 10**7 < (end.peak_memory or 0) < 10**9
        assert len(stage.ledger.runs(f"{task} {how}")) == 3
    values = await asyncio.gather(*innocents)
    assert values == [*range(20), *([1] * 10)] * len(PILLS)
    async with stage.app.inspector() as inspector:
        assert {letter.id for letter in await inspector.dead()} == {pill.id for pill in pills}
    for pill in pills:
        # Its runs are known, and who gave it up has not run it.
        letter = await read_letter(pill.id, Place(stage.app.name, stage.app.url))
        assert (letter["deaths"], [run[2] for run in letter["trail"]]) == (3, ["died"] * 3)
        assert letter["worker"] == letter["trail"][-1][1]
        shown = [bar.label for bar in timeline(letter | {"status": "FAILED"}, letter["finished_at"])]
        assert shown == ["died", "died", "died"]
    for runs in {run.id: [r for r in stage.ledger.runs() if r.id == run.id] for run in stage.ledger.runs()}.values():
        # A killed run has no end; the one that follows it begins after the last sign of it.
        assert most_at_once([run for run in runs if run.end is not None]) <= 1
    # What was kept of its end is in the log as well; one death may count for two of them.
    assert supervisor.log.count("\nas C code says it\n") >= len(PILLS)
    assert supervisor.stop() == 0


async def test_who_waits_for_a_job_that_kills_hears_of_it_and_is_not_convicted_with_it(stage: Stage) -> None:
    # Both are in the one process that there is, each time.
    supervisor = stage.start(1)
    waiting = stage.await_a_pill.apply_async("abort")
    assert await waiting == "heard of it"
    assert len(stage.ledger.runs("acrash abort")) == 3
    async with stage.app.inspector() as inspector:
        assert [letter.id for letter in await inspector.dead()] == [f"pill-{waiting.id}"]
    # The same for one whose process dies when it has ended, and nobody was told.
    with pytest.raises(WorkerLost, match=re.escape("signal 6 (SIGABRT) in die (apps/hazards.py:")):
        await stage.acrash_after.apply_async("abort")
    with pytest.raises(WorkerLost, match="the last one by exit code 0"):
        await stage.acrash_after.apply_async("0")
    assert len(stage.ledger.runs("acrash_after abort")) == len(stage.ledger.runs("acrash_after 0")) == 3
    assert supervisor.stop() == 0


async def test_a_job_that_kills_does_not_convict_its_neighbour_of_another_app(stage: Stage) -> None:
    neighbour = importlib.import_module(f"{stage.name.rpartition('.')[0]}.neighbour")
    try:
        supervisor = stage.workers.start(stage.name, neighbour.__name__, env=stage.env)
        # It runs at the first death; if it did at the others too, it would be given up.
        beside = neighbour.anap.apply_async(1.5, "beside")
        await started(stage, "beside")
        with pytest.raises(WorkerLost):
            await stage.crash.apply_async("abort")
        assert await beside == "beside"
        assert [run.end is None for run in stage.ledger.runs("beside")] == [True, False]
        assert supervisor.stop() == 0
    finally:
        sys.modules.pop(neighbour.__name__)


async def test_what_failed_in_its_last_retry_is_run_again_once_its_cause_is_mended(
    stage: Stage, tmp_path: Path
) -> None:
    supervisor = stage.start(1, "--result-db", str(tmp_path / "results.db"))
    history = ResultDB(tmp_path / "results.db")
    failed = stage.fail_until_mended.apply_async("patient")
    hopeless = stage.fail_until_mended.options(retries=0).apply_async("hopeless")
    for result in (failed, hopeless):
        with pytest.raises(KeyError):
            await result
    await wait_until_async(lambda: history.fetch_status(failed.id), description="it is recorded")
    broker = connect(stage.app.url, stage.app.name)
    try:
        # One that was to run once has its outcome, and that is all.
        assert [letter.id for letter in await inspect(broker).dead()] == [failed.id]
        (stage.ledger.directory / "mended").touch()
        assert await broker.replay([failed.id]) == [Replayed.DONE]
        assert await broker.replay([failed.id]) == [Replayed.MISSING]
    finally:
        await broker.close()
    assert await stage.app.result(failed.id) == "mended"
    # Who awaited the first outcome keeps it.
    with pytest.raises(KeyError):
        await failed
    record = await wait_until_async(
        lambda: _succeeded(history, failed.id), description="the history has the new outcome alone"
    )
    assert record.attempts == 1 and len(stage.ledger.runs("patient")) == 3
    await history.close()
    assert supervisor.stop() == 0


async def _succeeded(history: ResultDB, id: str) -> Any:
    record = await history.fetch_record(id)
    return record if record is not None and record.status is Status.SUCCESS else None
