"""The history is read without running or loading anything that is not trusted."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from aiotask import ResultDB, Status
from aiotask.errors import ConfigError, JobCancelled, JobTimeout, RemoteError, SealError
from aiotask.history.recorder import Recorder
from aiotask.outcome import ErrorInfo
from aiotask.wire.seal import Sealer

from ..history import SECRET, TASK, Canary, finished, pickled, sqlite


async def test_what_is_recorded_is_never_executed(recorder: Recorder, db: ResultDB, path: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    hostile = pickled(Canary(canary))

    recorder.record([finished("a", body=hostile, result=hostile)])

    assert sqlite(path, "SELECT arguments, result FROM jobs") == [
        (f'"<pickled, {len(hostile)} B>"', f'"<pickled, {len(hostile)} B>"')
    ]
    assert len(await db.fetch_all()) == 1
    assert await db.search(task=TASK)
    assert not canary.exists()


async def test_a_forged_outcome_is_refused_before_it_is_loaded(
    recorder: Recorder, db: ResultDB, path: Path, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    recorder.record([finished("a", 1), finished("b", 2)])
    forged = finished("a", result=pickled(Canary(canary)), secret="another")
    as_job = Sealer([SECRET], "job").seal(b"")

    for blob, why in (
        (forged.outcome, "another secret"),
        (forged.outcome[:5] + forged.outcome, "another secret"),
        (as_job, "outcome"),
        (b"", "no seal"),
        (None, "no seal"),
        (finished("b", 2).outcome, 'outcome of job "b"'),
    ):
        sqlite(path, "UPDATE jobs SET outcome = ? WHERE id = 'a'", blob)
        with pytest.raises(SealError, match=why):
            await db.fetch_result("a")

    assert await db.fetch_result("b") == 2
    assert not canary.exists()


async def test_without_an_app_only_plain_data_is_read(
    recorder: Recorder, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = tmp_path / "canary"
    own, foreign = ErrorInfo("aiotask.errors.JobTimeout", "too long"), ErrorInfo("shop.Broken", "cracked", "in shop")
    recorder.record(
        [
            finished("plain", [1, b"2"]),
            finished("json", result=b'J{"a": 1}'),
            finished("object", Decimal(1)),
            finished("hostile", result=pickled(Canary(canary))),
            finished("own", status=Status.FAILED, error=own),
            finished("foreign", status=Status.FAILED, error=foreign),
            finished("cancelled", status=Status.CANCELLED),
        ]
    )

    for secret in ("", f"newer, {SECRET}"):
        monkeypatch.setenv("AIOTASK_SECRET", secret)
        async with ResultDB(path) as db:
            assert await db.fetch_result("plain") == [1, b"2"]
            assert await db.fetch_result("json") == {"a": 1}
            for id in ("object", "hostile"):
                with pytest.raises(ConfigError, match="app=app"):
                    await db.fetch_result(id)
            with pytest.raises(JobTimeout, match="too long"):
                await db.fetch_result("own")
            with pytest.raises(RemoteError, match=r"shop\.Broken: cracked") as caught:
                await db.fetch_result("foreign")
            assert caught.value.type == "shop.Broken" and caught.value.__notes__ == ["in shop"]
            with pytest.raises(JobCancelled, match="cancelled"):
                await db.fetch_result("cancelled")
    monkeypatch.setenv("AIOTASK_SECRET", "wrong")
    async with ResultDB(path) as db:
        with pytest.raises(SealError, match="another secret"):
            await db.fetch_result("plain")
    assert not canary.exists()
