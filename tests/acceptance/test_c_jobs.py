"""C. The life of a job: one per id, visible wherever it stands, not lost at a stop."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from signal import Signals
from typing import Any

import pytest
import redis

import aiotask
from aiotask import JobCancelled, ResultTimeout, Status, UnknownTask
from aiotask.brokers import connect, inspect

from ..helpers import wait_until, wait_until_async
from ..workers import ROOT, Supervisor, running_workers
from .stage import Put, Stage, prepared


@pytest.fixture(scope="module")
def shared(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    directory = tmp_path_factory.mktemp("life")
    with running_workers(directory, redis_url) as workers:
        stage = prepared("life", workers, directory / "ledger")
        stage.start(2)
        yield stage


@pytest.fixture
def life(shared: Stage) -> Iterator[Stage]:
    """Two worker processes, and jobs whose end a test decides."""
    close_gate(shared)
    with shared.active():
        yield shared


def open_gate(life: Stage) -> None:
    Path(life.GATE).touch()


def close_gate(life: Stage) -> None:
    Path(life.GATE).unlink(missing_ok=True)


@asynccontextmanager
async def inspector_of(life: Stage) -> AsyncIterator[Any]:
    broker = connect(life.app.url, life.app.name)
    try:
        yield inspect(broker)
    finally:
        await broker.close()


# ---- C7: one conformance suite


def test_c7_memory_and_redis_pass_the_same_tests() -> None:
    # The folders below hold what is asked of one broker alone.
    suite = sorted((ROOT / "tests" / "broker").glob("*.py"))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", *map(str, suite)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout
    cases: dict[str, Counter[str]] = {"memory": Counter(), "redis": Counter()}
    for line in done.stdout.splitlines():
        name, _, parameters = line.partition("[")
        for technology in set(parameters.rstrip("]").split("-")) & set(cases):
            cases[technology][name] += 1
    assert cases["memory"] == cases["redis"]
    assert cases["memory"].total() > 100
    # Nothing is left out for one of them when it runs.
    for file in suite:
        source = file.read_text()
        assert "skip" not in source and "xfail" not in source, file


# ---- C8: one job per id


async def test_c8_a_second_job_with_the_id_is_the_first_one(life: Stage) -> None:
    task = life.hold.options(id="order-1")
    first = task.apply_async("order-1 first")
    await wait_until_async(lambda: life.ledger.runs("order-1 first"), description="it runs")
    # While it runs, from here, from a handle, and from another process.
    second = task.apply_async("order-1 second")
    waiting = asyncio.gather(first, second, life.app.result("order-1"))
    await send_from_another_process(life, "hold", "order-1", "order-1 third")
    assert await second.status() is Status.RUNNING
    await asyncio.to_thread(open_gate, life)
    assert await asyncio.wait_for(waiting, 60) == ["order-1 first"] * 3
    # After its end, as long as its outcome is kept.
    fourth = task.apply_async("order-1 fourth")
    assert first.id == second.id == fourth.id == "order-1"
    assert await fourth.wait(60) == "order-1 first"
    assert life.ledger.counts()["order-1"] == 1


async def test_c8_before_any_worker_runs_there_is_one_job_too(stage: Put) -> None:
    life = stage("life")
    tasks = [life.work.options(id="soon"), life.work.options(id="later", delay=0.5)]
    results = [task.apply_async(f"call {n}") for n in range(3) for task in tasks]
    await life.app.flush()
    async with inspector_of(life) as inspector:
        assert sorted(job.id for job in await inspector.jobs()) == ["later", "soon"]
    await asyncio.to_thread(life.start)
    assert await asyncio.wait_for(asyncio.gather(*results), 60) == ["call 0"] * 6
    assert life.ledger.counts() == {"soon": 1, "later": 1}


async def test_c8_a_failed_job_is_not_run_again_under_its_id(life: Stage) -> None:
    task = life.fail.options(id="refund-1")
    for _ in range(2):
        with pytest.raises(LookupError, match="refund"):
            await task.apply_async("refund").wait(60)
    assert life.ledger.counts()["refund-1"] == 1


async def test_c8_calls_with_one_key_are_one_job_of_their_task(life: Stage) -> None:
    work, nap = life.work.options(key="customer-7"), life.nap.options(key="customer-7")
    results = [work.apply_async("key first"), work.apply_async("key second")]
    other = nap.apply_async("other task", 0.0)
    assert await asyncio.gather(*results) == ["key first", "key first"]
    assert await other == "other task"
    assert results[0].id == results[1].id != other.id
    assert await life.work.options(key="customer-8").apply_async("another key") == "another key"
    assert life.ledger.counts()[results[0].id] == life.ledger.counts()[other.id] == 1


async def test_c8_many_senders_of_one_id_get_one_run(life: Stage) -> None:
    def send(n: int) -> str:
        value: str = life.work.options(id="crowded").apply_async(f"crowd {n}").get(timeout=60)
        return value

    values = await asyncio.gather(*(asyncio.to_thread(send, n) for n in range(20)))
    assert len(set(values)) == 1
    assert life.ledger.counts()["crowded"] == 1


async def send_from_another_process(life: Stage, task: str, id: str, label: str) -> None:
    code = f"import {life.name} as life\nprint(life.{task}.options(id={id!r}).apply_async({label!r}).id)"
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", code], cwd=ROOT, env={**os.environ}, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, f"{id}\n"), done.stderr


# ---- C9: an unknown task


async def test_c9_an_unknown_task_is_parked_until_a_worker_knows_it(stage: Put) -> None:
    shop = stage("deploy")
    old = await asyncio.to_thread(start_release, shop, "1")
    result, lost = shop.refund.apply_async(5), shop.refund_async.apply_async(6)
    both = asyncio.gather(result.wait(), aiotask.gather([lost]), return_exceptions=True)
    for error, task in zip(await asyncio.wait_for(both, 60), ("refund", "refund_async"), strict=True):
        assert isinstance(error, UnknownTask)
        assert re.search(rf'"{shop.name}:{task}".*parked', str(error))
    assert await result.status() is await lost.status() is Status.PARKED
    async with inspector_of(shop) as inspector:
        assert {job.id for job in await inspector.jobs(status=Status.PARKED)} == {result.id, lost.id}
        assert sum(queue.parked for queue in await inspector.queues()) == 2
    # The others go on meanwhile, and the log says it once.
    assert await aiotask.gather([shop.charge.apply_async(n) for n in range(100)]) == list(range(100))
    assert old.log.count(f"{shop.name}:refund {result.id}") == 1
    # The deploy, beside the old worker.
    await asyncio.to_thread(start_release, shop, "2")
    assert await asyncio.wait_for(retried(result), 60) == -5
    assert await asyncio.wait_for(retried(lost), 60) == -6
    assert shop.ledger.counts() == {result.id: 1, lost.id: 1}
    assert [run.attempt for run in shop.ledger.runs()] == [1, 1]
    async with inspector_of(shop) as inspector:
        assert await inspector.jobs() == []
        assert sum(queue.parked for queue in await inspector.queues()) == 0


async def test_c9_a_rolling_deploy_loses_nothing_and_nobody_who_waits_hears_of_it(stage: Put) -> None:
    shop = stage("deploy")
    old = await asyncio.to_thread(start_release, shop, "1")
    early = shop.refund.apply_async(0)
    await wait_until_async(lambda: "□" in old.log, description="the old one parks what it does not know")
    new = await asyncio.to_thread(start_release, shop, "2")
    assert await early.wait(30) == 0
    # Both claim them; the old one cannot run those that are new.
    charges = [shop.charge.apply_async(n) for n in range(300)]
    refunds = [task.apply_async(n) for n in range(100) for task in (shop.refund, shop.refund_async)]
    mixed = [result for pair in zip(charges, refunds, strict=False) for result in pair] + charges[len(refunds) :]
    values = await asyncio.wait_for(asyncio.gather(*mixed), 60)
    assert dict(zip([each.id for each in mixed], values, strict=True)) == {
        **{each.id: n for n, each in enumerate(charges)},
        **{each.id: -(n // 2) for n, each in enumerate(refunds)},
    }
    assert "□" not in new.log
    # The last old one goes, with jobs of both kinds under way.
    more = [task.apply_async(n) for n in range(100) for task in (shop.charge, shop.refund)]
    await shop.app.flush()
    assert await asyncio.to_thread(old.stop) == 0
    assert await asyncio.wait_for(asyncio.gather(*more), 60) == [each for n in range(100) for each in (n, -n)]
    assert shop.ledger.counts() == dict.fromkeys([each.id for each in [early, *refunds, *more[1::2]]], 1)
    async with inspector_of(shop) as inspector:
        assert await inspector.jobs() == []


def start_release(shop: Stage, release: str) -> Supervisor:
    return shop.workers.start(shop.name, env={**shop.env, "TEST_RELEASE": release})


async def retried(result: aiotask.AsyncResult[Any]) -> Any:
    """Its value, once no look finds it parked any more."""

    async def left_the_park() -> bool:
        return await result.status() is not Status.PARKED

    await wait_until_async(left_the_park, description="it is not parked any more")
    return await result


# ---- C11: a stop


async def test_c11_a_stop_drains_what_runs_and_gives_back_the_rest(stage: Put) -> None:
    life = stage("life")
    first = await asyncio.to_thread(life.start, 1, "--max-in-flight", "4")
    results = [life.hold_sync.apply_async("sync 0"), *(life.hold.apply_async(f"async {n}") for n in range(20))]
    results += [life.hold_sync.apply_async(f"sync {n}") for n in range(1, 5)]
    labels = ["sync 0", *(f"async {n}" for n in range(20)), *(f"sync {n}" for n in range(1, 5))]
    await wait_until_async(lambda: len(life.ledger.runs()) == 5, description="every slot and the thread are taken")
    first.signal(Signals.SIGTERM)
    await wait_until_async(lambda: "Stopping" in first.log, description="it stops")

    async def given_back() -> bool:
        return [await result.status() for result in results].count(Status.PENDING) == 20

    await wait_until_async(given_back, description="what has not started is back before the stop is over")
    assert first.exit_code is None
    await asyncio.to_thread(open_gate, life)
    assert await asyncio.to_thread(first.wait) == 0
    assert len(life.ledger.runs()) == life.ledger.ended() == 5
    await asyncio.to_thread(life.start, 1)
    assert await asyncio.wait_for(asyncio.gather(*results), 60) == labels
    assert life.ledger.counts() == {result.id: 1 for result in results}
    assert {run.attempt for run in life.ledger.runs()} == {1}


@pytest.mark.parametrize("how", ["grace", "twice"])
async def test_c11_what_cannot_end_in_time_goes_back_and_runs_again(stage: Put, how: str) -> None:
    life = stage("life")
    first = await asyncio.to_thread(life.start, 2, "--grace", "0.3s" if how == "grace" else "10m")
    results = [life.hold.apply_async(f"async {n}") for n in range(4)]
    results += [life.hold_sync.apply_async(f"sync {n}") for n in range(4)]
    await wait_until_async(lambda: len(life.ledger.runs()) == 6, description="all that can run do")
    started = {run.id for run in life.ledger.runs()}
    first.signal(Signals.SIGTERM)
    if how == "twice":
        await wait_until_async(lambda: "Stopping" in first.log, description="it stops")
        first.signal(Signals.SIGTERM)
    await asyncio.to_thread(first.wait)
    # At its end everything is back in the queue, and no process is left that could still run it.
    assert [await result.status() for result in results] == [Status.PENDING] * 8
    assert first.session() == [] and life.ledger.ended() == 0
    await asyncio.to_thread(open_gate, life)
    await asyncio.to_thread(life.start, 1)
    values = await asyncio.wait_for(asyncio.gather(*results), 60)
    assert values == [f"async {n}" for n in range(4)] + [f"sync {n}" for n in range(4)]
    ends = Counter(run.id for run in life.ledger.runs() if run.end is not None)
    assert ends == {result.id: 1 for result in results}
    # A stop by the operator is no fault of the job: neither an attempt nor a death is counted.
    assert {run.attempt for run in life.ledger.runs()} == {1}
    assert life.ledger.counts() == {result.id: 2 if result.id in started else 1 for result in results}


async def test_c11_stops_in_the_middle_of_a_crowd_lose_nothing(stage: Put) -> None:
    life = stage("life")
    tasks = [life.work, life.nap]
    results = [tasks[n % 2].apply_async(*((f"{n}",) if n % 2 == 0 else (f"{n}", 0.01))) for n in range(2_000)]
    for least in (200, 900):
        supervisor = await asyncio.to_thread(life.start, 2)
        await wait_until_async(lambda n=least: life.ledger.ended() >= n, description=f"{least} have run")
        assert await asyncio.to_thread(supervisor.stop) == 0
        assert life.ledger.ended() == len(life.ledger.runs())
    await asyncio.to_thread(life.start, 2)
    assert await asyncio.wait_for(aiotask.gather(results), 60) == [f"{n}" for n in range(2_000)]
    assert life.ledger.counts() == {result.id: 1 for result in results}


# ---- C13: looking changes nothing


def everything(life: Stage) -> dict[bytes, tuple[bytes | None, int]]:
    """All that the server keeps of this app: each key with its content and its lifetime in milliseconds."""
    server = redis.Redis.from_url(life.url, protocol=2)
    try:
        keys = sorted(key for key in server.scan_iter(match=f"*{{{life.app.name}}}*", count=1_000))
        return {key: (server.dump(key), server.pttl(key)) for key in keys}
    finally:
        server.close()


async def poll(life: Stage, ids: list[str]) -> list[list[Status]]:
    """Everybody looks, several times: handles of the sender, of others, and the read side."""
    seen = []
    async with inspector_of(life) as inspector:
        for _ in range(5):
            seen.append([await life.app.result(id).status() for id in ids])
            for id in ids:
                assert (await inspector.job(id)) is not None
            await inspector.jobs()
            await inspector.queues()
    return seen


async def test_c13_polling_an_unfinished_job_changes_nothing(stage: Put) -> None:
    life = stage("life")
    supervisor = await asyncio.to_thread(life.start)
    retrying = life.fail_and_wait.apply_async("retrying")
    await wait_until_async(lambda: life.ledger.ended("retrying") == 1, description="its first run has failed")

    async def waits() -> bool:
        return await retrying.status() is Status.RETRYING

    await wait_until_async(waits, description="it waits for its retry")
    assert await asyncio.to_thread(supervisor.stop) == 0
    pending, scheduled = life.work.apply_async("pending"), life.work.options(delay=600.0).apply_async("scheduled")
    await life.app.flush()
    ids = [pending.id, scheduled.id, retrying.id]
    before = everything(life)
    assert len(before) > 3
    assert await poll(life, ids) == [[Status.PENDING, Status.SCHEDULED, Status.RETRYING]] * 5
    after = everything(life)
    assert {key: value[0] for key, value in after.items()} == {key: value[0] for key, value in before.items()}
    # An await that ends early leaves the job as it was, too.
    for result in (pending, scheduled, retrying):
        with pytest.raises(ResultTimeout):
            await result.wait(timeout=0.05)
    assert [await result.status() for result in (pending, scheduled, retrying)] == [
        Status.PENDING,
        Status.SCHEDULED,
        Status.RETRYING,
    ]
    assert len(life.ledger.runs()) == 1


async def test_c13_polling_a_running_job_does_not_disturb_it(life: Stage) -> None:
    result = life.hold.apply_async("polled")
    await wait_until_async(lambda: life.ledger.runs("polled"), description="it runs")
    assert await poll(life, [result.id]) == [[Status.RUNNING]] * 5
    await asyncio.to_thread(open_gate, life)
    assert await result.wait(60) == "polled"
    assert life.ledger.counts()[result.id] == 1


async def test_c13_polling_a_finished_job_changes_neither_outcome_nor_lifetime(life: Stage) -> None:
    good, bad = life.work.apply_async("good"), life.fail.apply_async("bad")
    late = life.work.options(delay=600.0).apply_async("late")
    await good
    with pytest.raises(LookupError):
        await bad
    await late.sent()
    await late.cancel()
    with pytest.raises(JobCancelled):
        await late.wait(60)
    ids = [good.id, bad.id, late.id]
    before = {key: value for key, value in everything(life).items() if any(id.encode() in key for id in ids)}
    assert len(before) == 3
    assert await poll_finished(life, ids) == [[Status.SUCCESS, Status.FAILED, Status.CANCELLED]] * 5
    for _ in range(3):
        assert await life.app.result(good.id) == "good"
        with pytest.raises(LookupError):
            await life.app.result(bad.id)
    after = {key: value for key, value in everything(life).items() if any(id.encode() in key for id in ids)}
    assert {key: value[0] for key, value in after.items()} == {key: value[0] for key, value in before.items()}
    assert all(0 < after[key][1] <= before[key][1] for key in before)


async def poll_finished(life: Stage, ids: list[str]) -> list[list[Status]]:
    return [[await life.app.result(id).status() for id in ids] for _ in range(5)]


def test_c13_waiting_in_a_thread_changes_nothing_either(life: Stage) -> None:
    result = life.work.apply_async("thread")
    assert result.get(timeout=60) == "thread"
    wait_until(lambda: life.ledger.ended("thread") == 1, description="its run has ended")
    assert [life.app.result(result.id).get(timeout=60) for _ in range(3)] == ["thread"] * 3
    assert life.ledger.counts()[result.id] == 1
