"""``app.work()``: a worker in the thread of its caller, for tasks; tests/rows_service has the same for rows."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from pathlib import Path
from uuid import uuid4

import pytest

from aiotask import App, ConfigError, Status

from .helpers import wait_until
from .workers import ROOT


class Shop:
    """An app with a queue of its own beside ``default``, and the values that its jobs have seen."""

    def __init__(self, url: str) -> None:
        self.app = App(f"test-{uuid4().hex[:12]}", url=url)
        self.seen: list[int] = []
        self.threads: set[str] = set()

        @self.app.task(name="shop:note")
        def note(n: int) -> int:
            self.threads.add(threading.current_thread().name)
            self.seen.append(n)
            return n

        @self.app.task(name="shop:anote", queue="other")
        async def anote(n: int) -> int:
            self.seen.append(n)
            return n

        @self.app.task(name="shop:fails", retries=2, backoff=lambda failed: 0.01)
        def fails() -> None:
            self.seen.append(-1)
            raise ValueError("no")

        self.note, self.anote, self.fails = note, anote, fails


@pytest.fixture(params=["memory", "redis"])
def shop(request: pytest.FixtureRequest) -> Shop:
    return Shop("memory://" if request.param == "memory" else request.getfixturevalue("redis_url"))


def test_a_burst_runs_what_is_there_and_returns_the_number_of_runs(shop: Shop) -> None:
    for n in range(20):
        (shop.note if n % 2 else shop.anote).apply_async(n)
    assert shop.app.work(burst=True) == 20
    assert sorted(shop.seen) == list(range(20))
    assert shop.app.work(burst=True) == 0


def test_a_limit_claims_that_many_and_leaves_the_others_unclaimed(shop: Shop) -> None:
    results = [shop.note.apply_async(n) for n in range(20)]
    assert shop.app.work(1) == 1 and shop.seen == [0]
    assert shop.app.work(5) == 5 and shop.seen == list(range(6))

    async def states() -> list[Status | None]:
        return [await result.status() for result in results]

    assert asyncio.run(states()) == [Status.SUCCESS] * 6 + [Status.PENDING] * 14
    assert shop.app.work(100, burst=True) == 14


def test_a_limit_waits_for_jobs_that_come_later(shop: Shop) -> None:
    counts: list[int] = []
    thread = threading.Thread(target=lambda: counts.append(shop.app.work(3)))
    thread.start()
    shop.note.apply_async(0)
    wait_until(lambda: shop.seen == [0], description="the first job has run")
    for n in (1, 2, 3):
        shop.note.apply_async(n)
    thread.join(30)
    assert counts == [3] and sorted(shop.seen) == [0, 1, 2]
    assert shop.app.work(burst=True) == 1


def test_every_run_of_a_job_that_is_retried_counts(shop: Shop) -> None:
    shop.fails.apply_async()
    assert shop.app.work(3) == 3
    assert shop.seen == [-1] * 3


def test_only_names_queues(shop: Shop) -> None:
    shop.note.apply_async(1)
    shop.anote.apply_async(2)
    assert shop.app.work(burst=True, only=["other"]) == 1 and shop.seen == [2]
    assert shop.app.work(burst=True, only=["default"]) == 1 and shop.seen == [2, 1]
    with pytest.raises(ConfigError, match="is not a row class of this app"):
        shop.app.work(burst=True, only=[Shop])


async def test_in_an_event_loop_it_is_refused_and_in_a_thread_of_it_it_works(shop: Shop) -> None:
    with pytest.raises(ConfigError, match=r"async with app\.worker\(\)"):
        shop.app.work(1)
    result = shop.note.apply_async(7)
    assert await asyncio.to_thread(shop.app.work, 1) == 1
    assert await result == 7
    await shop.app.client.close()


@pytest.mark.parametrize("limit", [0, -1, 1.5, True, "2"])
def test_a_limit_that_is_no_number_of_jobs_is_refused(limit: int) -> None:
    with pytest.raises(ConfigError, match="whole number from 1"):
        App("shop", url="memory://").work(limit)


SCRIPT = """
import sys, time
from pathlib import Path
import aiotask

app = aiotask.App("{name}", url="{url}")

@app.task
def slow(path: str) -> None:
    Path(path).write_text("begun")
    time.sleep(1)
    Path(path).write_text("ended")

if __name__ == "__main__":
    slow.apply_async("{path}")
    print(app.work(), flush=True)
    print(app.work(burst=True), flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_once_the_running_job_has_ended(
    redis_url: str, tmp_path: Path, number: signal.Signals
) -> None:
    ran, script = tmp_path / "ran", tmp_path / "script.py"
    script.write_text(SCRIPT.format(name=f"test-{uuid4().hex[:12]}", url=redis_url, path=ran))
    process = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    wait_until(lambda: ran.exists() and ran.read_text() == "begun", description="the job runs")
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert (process.returncode, output.split(), ran.read_text()) == (0, ["1", "0"], "ended")


@pytest.mark.parametrize("only", ["high>low", ["high>low"], ["high:9,low:1"], ["high:9", "low"], "high"])
def test_queues_have_an_order_or_weights_as_those_of_a_worker(shop: Shop, only: str | list[str]) -> None:
    for n in range(20):
        shop.note.options(queue="low" if n % 2 else "high").apply_async(n)
    count = shop.app.work(burst=True, only=only)
    assert count == (10 if only == "high" else 20)
    if "high>low" in only:
        assert shop.seen == [*range(0, 20, 2), *range(1, 20, 2)]


@pytest.mark.parametrize(("only", "said"), [("high:x", "has no weight"), (["high:2>low"], "takes no weights")])
def test_a_wrong_order_of_queues_is_refused(shop: Shop, only: str | list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        shop.app.work(burst=True, only=only)
