"""The registry of technologies: a scheme of one's own, and what a broker cannot do."""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast

import pytest

from aiotask import App
from aiotask.brokers import check_url, connect, features, history_of, inspect, is_private, namespaces, push_blocking
from aiotask.brokers.history import History
from aiotask.brokers.memory.broker import MemoryBroker
from aiotask.brokers.memory.technology import MEMORY
from aiotask.brokers.technology import (
    AUDIT,
    DUE_NOW,
    ENTRY_POINTS,
    EXPIRY,
    GRAPHS,
    HIDES,
    HISTORY,
    LIMITS,
    METRICS,
    MOVE,
    PAUSES,
    PROCESSES,
    SCHEDULES,
    STREAMS,
    UNIQUE,
    by_scheme,
    having,
    register,
)
from aiotask.daemon.app_facts import app_facts
from aiotask.daemon.settings import WorkerSettings
from aiotask.errors import ConfigError
from aiotask.history.resultdb import ResultDB
from aiotask.inspector import Persistence
from aiotask.ops.durability import ROWS

from . import test_expires as expiring
from .commands import run_command
from .helpers import wait_until_async
from .seam import Worker, a_push, drain
from .workers import ROOT, Workers

#: The memory broker under another name, as one that keeps no history.
BARE = MEMORY._replace(
    features=frozenset({PROCESSES}),
    check_url=lambda parts: "" if parts.hostname else "it names no store",
    is_private=lambda url: "private" in url,
    examples=("bare://STORE",),
)


register(BARE, "bare")


def settings(**options: object) -> WorkerSettings:
    return WorkerSettings(apps=("shop",), app_dir="", concurrency=1, **options)


async def test_one_call_makes_a_scheme_usable_everywhere(app_name: str) -> None:
    url = "bare://private"
    push_blocking(url)(url, app_name, "client", 1, [a_push("a")])
    broker = connect(url, app_name)

    assert isinstance(broker, MemoryBroker)
    assert inspect(broker) is broker
    assert app_name in await namespaces(url)
    assert await drain(await Worker(broker, "host.1").enlist()) == ["a"]


async def test_an_app_runs_its_jobs_on_a_registered_broker(app_name: str) -> None:
    app = App(app_name, url="bare://private")

    @app.task
    async def double(n: int) -> int:
        return 2 * n

    async with app.worker():
        assert await double(21) == 42


async def test_an_app_runs_and_records_its_jobs_on_a_broker_outside_aiotask(app_name: str, tmp_path: Path) -> None:
    app = App(app_name, url=f"sqlite://{tmp_path}/broker")

    @app.task
    async def double(n: int) -> int:
        return 2 * n

    async with ResultDB(tmp_path / "history.db", app=app) as history, app.worker(result_db=history.path):
        job = double.apply_async(21)
        assert await job == 42
        await wait_until_async(lambda: history.exists(job.id), description="the job is in the history")


async def test_what_was_sent_at_the_end_of_an_interpreter_is_there(app_name: str, tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path}"
    push_blocking(url)(url, app_name, "client", 1, [a_push("a")])

    broker = connect(url, app_name)
    assert await namespaces(url) == [app_name]
    assert await drain(await Worker(broker, "host.1").enlist()) == ["a"]
    await broker.close()


def test_the_url_is_checked_by_its_technology() -> None:
    with pytest.raises(ConfigError, match=r'"bare://" is not a broker URL: it names no store\. Use redis://'):
        check_url("bare://")
    with pytest.raises(
        ConfigError, match=r"one of redis://, .*memory://, .*bare://.*\. Use redis://.*bare://STORE.*\."
    ):
        check_url("other://here")


def test_an_address_that_others_can_reach_needs_a_secret() -> None:
    assert is_private("bare://private") and not is_private("bare://public")

    with pytest.raises(ConfigError, match=r'"bare://public" can be reached from other machines'):
        _ = App("shop", url="bare://public").secrets


@pytest.mark.parametrize(
    ("url", "private"),
    [
        ("memory://shop", True),
        ("unix:///run/redis.sock", True),
        ("redis://", True),
        ("redis://127.0.0.9:6379/0", True),
        ("rediss://[::1]", True),
        ("redis://10.0.0.1", False),
        ("valkey://db", False),
        ("redis://?host=db", False),
    ],
)
def test_what_only_this_machine_can_reach_is_private(url: str, private: bool) -> None:
    assert is_private(url) is private


def test_a_scheme_means_one_technology() -> None:
    register(BARE, "bare")

    with pytest.raises(ConfigError, match=r"redis:// means another broker already"):
        register(BARE, "redis")
    assert by_scheme("redis") is not BARE


# ---- what a broker lacks


#: The features that aiotask's own brokers have.
ALL = {AUDIT, DUE_NOW, EXPIRY, GRAPHS, HIDES, HISTORY, LIMITS, METRICS, MOVE, PAUSES, SCHEDULES, STREAMS, UNIQUE}


def test_the_features_of_a_broker_are_those_of_its_technology() -> None:
    assert features("redis://db") == features("unix:///so") == ALL | {PROCESSES}
    assert features("memory://") == ALL
    assert features("bare://store") == {PROCESSES}
    assert having(HISTORY)[:6] == ["redis://", "rediss://", "unix://", "valkey://", "valkeys://", "memory://"]
    assert "bare://" in having(PROCESSES) and "bare://" not in having(HISTORY)


def test_a_unique_task_is_refused_at_a_broker_that_knows_none(app_name: str) -> None:
    register(BARE, "bare")
    app = App(app_name, url="bare://store", secret="x" * 40)
    with pytest.raises(ConfigError, match=r'unique= or on_conflict= needs a broker with the feature "unique"'):
        app.register_task(lambda: None, name="unique", key="k", unique="unfinished")
    kept = app.register_task(lambda: None, name="kept", key="k")
    with pytest.raises(ConfigError, match="needs a broker with the feature"):
        kept.options(unique="pending").apply_async()


def test_a_broker_that_has_a_history_has_its_verbs(app_name: str) -> None:
    verbs = {name for name in vars(History) if not name.startswith("_")}
    assert verbs == {"start_history", "read_history", "unrecorded", "trim_history"}

    for url in ("memory://", "redis://localhost"):
        broker = history_of(connect(url, app_name))
        assert not verbs - set(dir(broker))


LACKS = r'result_db needs a broker with the feature "history", which the one at "bare://private" lacks\. .*memory://'


async def test_a_worker_refuses_a_history_that_its_broker_cannot_keep(app_name: str, tmp_path: Path) -> None:
    app = App(app_name, url="bare://private")

    with pytest.raises(ConfigError, match=LACKS):
        async with app.worker(result_db=tmp_path / "history.db"):
            pass

    assert not (tmp_path / "history.db").exists()
    with pytest.raises(ConfigError, match=LACKS):
        history_of(connect("bare://private", app_name))


def test_aiotask_worker_refuses_it_too(app_name: str, tmp_path: Path) -> None:
    app = App(app_name, url="bare://private")

    with pytest.raises(ConfigError, match=LACKS):
        app_facts(app, settings(result_db=str(tmp_path / "history.db")))


# ---- what every process knows

SQLITE = "tests.brokers_sqlite.technology:SQLITE"


def declare(folder: Path, **entries: str) -> Path:
    """A folder for PYTHONPATH with an installed package that declares brokers."""
    package = folder / "stores-1.0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: stores\nVersion: 1.0\n")
    lines = [f"{scheme} = {value}\n" for scheme, value in entries.items()]
    (package / "entry_points.txt").write_text(f"[{ENTRY_POINTS}]\n{''.join(lines)}")
    return folder


def test_worker_processes_need_a_broker_that_the_keeper_knows(app_name: str) -> None:
    with pytest.raises(ConfigError, match=r'bare:// is registered by the app, .* in the group "aiotask\.brokers"'):
        app_facts(App(app_name, url="bare://private"), settings())


def test_worker_processes_and_commands_know_a_broker_that_a_package_declares(
    tmp_path: Path, workers: Workers, app_name: str
) -> None:
    url = f"sqlite://{tmp_path}/broker"
    paths = f"{declare(tmp_path / 'site', sqlite=SQLITE)}{os.pathsep}{ROOT}"
    workers.start("tests.test_expires", env={"TEST_APP": app_name, "AIOTASK_URL": url, "PYTHONPATH": paths})

    task = App(app_name, url=url).register_task(expiring.fresh.func, name="tests.test_expires:fresh")
    # The keeper moves it into its queue.
    assert task.options(delay=0.1).apply_async().get(timeout=60) == "in time"
    said = run_command("queues", "--url", url, env={**os.environ, "PYTHONPATH": paths})
    assert (said.returncode, said.stderr) == (0, "") and app_name in said.stdout


@pytest.mark.parametrize(
    ("value", "said"),
    [("no.such.module:X", "cannot be loaded .* ModuleNotFoundError"), ("os:sep", "which is no Technology")],
)
def test_a_declared_broker_that_is_none_is_named(
    value: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(declare(tmp_path, broken=value))
    with pytest.raises(ConfigError, match=f"The broker of broken:// .*{said}"):
        check_url("broken://here")


def test_worker_processes_need_a_broker_that_they_can_reach(app_name: str) -> None:
    with pytest.raises(ConfigError, match=r'keeps its jobs in memory \("memory://"\)'):
        app_facts(App(app_name, url="memory://"), settings())


def test_what_is_said_never_shows_a_password() -> None:
    with pytest.raises(ConfigError) as caught:
        history_of(cast("History", connect("bare://user:hunter2@private", "shop")))

    assert "hunter2" not in str(caught.value)


# ---- durability


def test_doctor_has_a_row_for_each_way_in_which_a_broker_may_keep_jobs() -> None:
    assert sorted(row.kind for row in ROWS.values()) == sorted(Persistence)
