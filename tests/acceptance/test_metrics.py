"""What workers count, over real processes: in the minutes, on `/metrics` and in `aiotask workers`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from aiotask import App
from aiotask.brokers import connect, inspect
from aiotask.brokers.metrics import MetricsInspector
from aiotask.errors import JobError
from aiotask.values.metrics import Counts, Slot

from ..commands import run_command
from ..helpers import wait_until, wait_until_async
from ..server import PrivateServer
from ..test_health import ask, free_port
from ..workers import Supervisor, Workers

TASK = "tests.acceptance.apps.counted:"


def start(workers: Workers, server: PrivateServer, app: str, *options: str, concurrency: int = 2) -> Supervisor:
    workers.url = server.url
    return workers.start(
        "tests.acceptance.apps.counted", concurrency=concurrency, options=options, env={"TEST_APP": app}
    )


def families(port: int) -> dict[str, Counter[tuple[str, ...]]]:
    """The samples on `/metrics` by name and labels; those of buckets without theirs."""
    status, text = ask(port, "/metrics")
    assert status == 200, text
    found: dict[str, Counter[tuple[str, ...]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = tuple(value for name, value in sorted(sample.labels.items()) if name != "app")
            found.setdefault(sample.name, Counter())[labels] += sample.value
    return found


async def counted(reader: MetricsInspector) -> dict[str, Counts]:
    """What all minutes have of each task, by the last part of its name."""
    found: dict[str, Counts] = {}
    for minute in await reader.minutes(0.0):
        for task, counts in minute.tasks.items():
            name = task.rpartition(":")[2]
            found[name] = found.get(name, Counts()) + counts
    return found


async def results(handles: list[Any]) -> None:
    for handle in handles:
        with contextlib.suppress(JobError, KeyError):
            await handle


def send(app: App, count: int) -> list[Any]:
    quick = app.named(f"{TASK}quick")
    handles = [quick.apply_async(n) for n in range(10 * count)]
    handles += [app.named(f"{TASK}slow").apply_async(n) for n in range(count)]
    handles += [app.named(f"{TASK}fails").options(retries=2).apply_async(n) for n in range(count)]
    return handles


async def test_minutes_and_metrics_agree_with_what_has_ended(
    workers: Workers, own_server: PrivateServer, app_name: str
) -> None:
    port = free_port()
    start(workers, own_server, app_name, "--health-port", str(port))
    app = App(app_name, url=own_server.url)
    broker = connect(own_server.url, app_name)
    reader: MetricsInspector = inspect(broker)  # type: ignore[assignment]
    async with app:
        await results([*send(app, 50), app.named(f"{TASK}hangs").apply_async()])

        async def has_all() -> bool:
            found = await counted(reader)
            return sum(counts.ended for counts in found.values()) == 601

        await wait_until_async(has_all, description="all ends are in the minutes", timeout=90)
        found = await counted(reader)
    stats = await reader.stats(max_age=0.0)
    assert (stats.ended["SUCCESS"], stats.ended["FAILED"], stats.retried, stats.sent) == (550, 51, 100, 601)
    assert (found["quick"].of(Slot.SUCCEEDED), found["slow"].of(Slot.SUCCEEDED)) == (500, 50)
    assert (found["fails"].of(Slot.FAILED), found["fails"].of(Slot.RETRIED), found["fails"].runs) == (50, 100, 150)
    assert (found["hangs"].of(Slot.FAILED), found["hangs"].of(Slot.TIMED_OUT)) == (1, 1)
    assert sum(found["slow"].histogram) == found["slow"].runs == 50
    assert (found["slow"].percentile(0.5) or 0.0) >= 0.015
    minutes = await reader.minutes(0.0)
    errors = Counter[str]()
    for minute in minutes:
        errors.update(minute.errors)
    assert errors[f"{TASK}fails\tKeyError: order … is missing"] == 150
    assert sum(counts.runs for minute in minutes for counts in minute.queues.values()) > 0
    await broker.close()

    told = families(port)
    jobs = {(outcome, task.rpartition(":")[2]): n for (outcome, task), n in told["aiotask_jobs_total"].items() if n}
    assert jobs == {
        ("succeeded", "quick"): 500,
        ("succeeded", "slow"): 50,
        ("failed", "fails"): 50,
        ("retried", "fails"): 100,
        ("failed", "hangs"): 1,
        ("timed_out", "hangs"): 1,
    }
    assert told["aiotask_job_run_seconds_count"][(f"{TASK}slow",)] == 50
    assert told["aiotask_sent_total"][()] == 601 and told["aiotask_dead_letters"][()] == 50
    assert told["aiotask_workers"] == {("serving",): 2, ("wanted",): 2}
    assert len(told["aiotask_worker_resident_bytes"]) == 2
    assert all(number > 10**7 for number in told["aiotask_worker_resident_bytes"].values())
    assert ask(port, "/metrics", "HEAD")[1] == ""
    assert ask(port, "/metricsx")[0] == 404


@pytest.mark.parametrize(
    "keeper_too",
    [pytest.param(False, marks=pytest.mark.full_only("the other case kills as many workers, and keepers too")), True],
)
async def test_processes_that_are_killed_take_a_second_along_at_most(
    workers: Workers, own_server: PrivateServer, app_name: str, keeper_too: bool
) -> None:
    port = free_port()
    supervisor = start(workers, own_server, app_name, "--health-port", str(port), concurrency=3)
    app = App(app_name, url=own_server.url)
    broker = connect(own_server.url, app_name)
    reader: MetricsInspector = inspect(broker)  # type: ignore[assignment]
    async with app:
        for round_ in range(4):
            handles = send(app, 60)
            await asyncio.sleep(0.2 * round_)
            killed = _kill(supervisor, keeper=keeper_too and round_ % 2 == 0)
            await results(handles)
            wait_until(lambda pid=killed: not psutil.pid_exists(pid), description="it is gone")  # type: ignore[misc]

        async def is_at_rest() -> bool:
            before = await counted(reader)
            await asyncio.sleep(6.0)
            return before == await counted(reader)

        await wait_until_async(is_at_rest, description="all is reported", timeout=120)
    found = await counted(reader)
    ended = (await reader.stats(max_age=0.0)).ended
    totals = {"SUCCESS": found["quick"].of(Slot.SUCCEEDED) + found["slow"].of(Slot.SUCCEEDED)}
    totals["FAILED"] = found["fails"].of(Slot.FAILED)
    assert (ended["SUCCESS"], ended["FAILED"]) == (4 * 660, 4 * 60)
    for status, number in totals.items():
        assert number <= ended[status], f"{status}: more are counted than have ended"
    assert sum(totals.values()) >= 0.3 * (4 * 720)
    on_page = families(port)["aiotask_jobs_total"]
    page = sum(number for (outcome, _), number in on_page.items() if outcome in ("succeeded", "failed"))
    assert page == sum(totals.values()), "the minutes have each number of the pages once, whoever was killed"
    await broker.close()


def _kill(supervisor: Supervisor, *, keeper: bool) -> int:
    """Kill a worker process, or the keeper; its pid."""

    def victims() -> list[psutil.Process]:
        """One that has just been started has the title of the supervisor at first."""
        title = "aiotask: keeper" if keeper else "aiotask: worker-"
        return [child for child in supervisor.children() if title in " ".join(child.cmdline())]

    wait_until(lambda: bool(victims()), description="there is one to kill")
    victim = victims()[0]
    victim.send_signal(signal.SIGKILL)
    return int(victim.pid)


async def test_hosts_say_how_they_are(
    workers: Workers, own_server: PrivateServer, app_name: str, tmp_path: Path
) -> None:
    supervisor = start(workers, own_server, app_name, concurrency=1)
    app = App(app_name, url=own_server.url)

    def asked(*options: str) -> str:
        done = run_command("workers", "--url", own_server.url, "--name", app_name, *options)
        assert done.returncode == 0, done.stderr
        return done.stdout

    async with app:
        waiting = app.named(f"{TASK}waits").apply_async(str(tmp_path / "go"))

        def runs() -> bool:
            hosts = json.loads(asked("--json"))
            return bool(hosts) and any(job["id"] == waiting.id for job in hosts[0].get("running", ()))

        await asyncio.to_thread(wait_until, runs, description="the job is in the report", timeout=60)
        [host] = json.loads(asked("--json"))
        [process] = host["processes"]
        [job] = host["running"]
        assert host["pid"] == supervisor.pid and host["age"] < 12 and host["live"] == process["incarnations"]
        assert process["memory"] > 10**7 and process["running"] == 1
        assert (job["task"], job["pid"], job["waits"]) == (f"{TASK}waits", process["pid"], False)
        shown = asked()
        assert waiting.id in shown and process["incarnations"][0] in shown and "running longest" in shown

        psutil.Process(process["pid"]).kill()
        (tmp_path / "go").touch()
        await waiting
    await asyncio.to_thread(
        wait_until, lambda: "ended: 1 by signal" in asked(), description="the exit is counted", timeout=60
    )
    assert supervisor.stop() == 0
    assert json.loads(asked("--json")) == []
