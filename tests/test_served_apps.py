"""Code that is loaded again says something else of its app: what supervisor and keeper know follows it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from signal import Signals
from typing import Any

import pytest
import redis

from aiotask import App
from aiotask.daemon.app_facts import AppFacts
from aiotask.daemon.board import SharedBoard
from aiotask.daemon.child import Child
from aiotask.daemon.health.probe import probe
from aiotask.daemon.served_apps import ServedApps

from .crossed import crossed
from .helpers import wait_until, wait_until_async
from .server import PrivateServer
from .workers import Supervisor, Workers, running_workers

HEAD = "import os, time\nfrom aiotask import App\n"
BODY = """
{app} = App({name!r}, url={url!r})
@{app}.task(name={name!r} + ":nap", queue={queue!r})
def {app}_nap(seconds, marks):
    with open(marks, "a") as file:
        file.write(f"{{os.getpid()}}\\n")
    time.sleep(seconds)
    return {version!r}
"""


class Service:
    """One module that is written anew, and the worker that runs it."""

    def __init__(self, workers: Workers, directory: Path) -> None:
        self._workers = workers
        self._directory = directory
        directory.mkdir()

    def write(self, *parts: str) -> None:
        new = self._directory / "served.new"
        new.write_text(HEAD + "".join(parts))
        new.replace(self._directory / "served_here.py")

    def start(self, *options: str, concurrency: int = 2) -> Supervisor:
        return self._workers.start(
            "served_here", concurrency=concurrency, options=options,
            env={"PYTHONDONTWRITEBYTECODE": "1"}, app_dir=self._directory,
        )  # fmt: skip


def part(name: str, url: str, version: str, *, app: str = "app", queue: str = "default") -> str:
    return BODY.format(app=app, name=name, url=url, version=version, queue=queue)


@pytest.fixture
def service(workers: Workers, tmp_path: Path) -> Service:
    return Service(workers, tmp_path / "code")


def nap(name: str, url: str, marks: Path, seconds: float = 0.0, **options: Any) -> Any:
    def of_the_service(seconds: float, marks: str) -> str: ...

    task = App(name, url=url).register_task(of_the_service, name=f"{name}:nap")
    return task.options(**options).apply_async(seconds, str(marks))


async def version_is(name: str, url: str, marks: Path, version: str) -> None:
    """Wait until every process runs this version of the code."""

    async def all_do() -> bool:
        said = await asyncio.gather(*[nap(name, url, marks, 0.01) for _ in range(20)])
        return set(said) == {version}

    await wait_until_async(all_do, description=f"all run version {version} of {name}")


async def kill_while_it_runs(name: str, url: str, marks: Path, **options: Any) -> object:
    """The value of a job whose first process is killed."""
    marks.unlink(missing_ok=True)
    job = nap(name, url, marks, 0.5, **options)
    await wait_until_async(lambda: marks.exists() and marks.read_text().endswith("\n"), description="it runs")
    os.kill(int(marks.read_text().split()[0]), signal.SIGKILL)
    return await job


async def is_served(name: str, url: str, marks: Path, **options: Any) -> None:
    """Jobs at once, due later, and of a process that dies."""
    assert await nap(name, url, marks, **options).wait(60) == await nap(name, url, marks, delay=0.3, **options).wait(60)
    assert await kill_while_it_runs(name, url, marks, **options)


CHANGES: dict[str, Callable[[str, str], tuple[str, str, dict[str, Any]]]] = {
    "a second app": lambda name, url: (
        part(name, url, "2") + part(f"{name}-two", url, "2", app="two"), f"{name}-two", {}
    ),
    "another name": lambda name, url: (part(f"{name}-new", url, "2"), f"{name}-new", {}),
    "another queue": lambda name, url: (part(name, url, "2", queue="other"), name, {"queue": "other"}),
}  # fmt: skip


@pytest.mark.parametrize(("change", "by"), crossed(CHANGES, ["HUP", "death"]))
async def test_what_new_code_serves_is_served_like_the_old(
    service: Service, app_name: str, redis_url: str, tmp_path: Path, change: Callable[..., Any], by: str
) -> None:
    service.write(part(app_name, redis_url, "1"))
    supervisor = service.start(concurrency=1)
    await is_served(app_name, redis_url, tmp_path / "marks")
    code, name, options = change(app_name, redis_url)
    service.write(code)
    if by == "HUP":
        supervisor.signal(signal.SIGHUP)
    else:
        os.kill(int((tmp_path / "marks").read_text().split()[-1]), signal.SIGKILL)
    await is_served(name, redis_url, tmp_path / "marks", **options)
    assert "The running code has changed: " in supervisor.log
    wait_until(lambda: len(supervisor.children()) == 2, description="one worker and one keeper are left")
    assert supervisor.stop() == 0
    # All of its hosts have left all of its apps.
    for each in {app_name, name}:
        async with App(each, url=redis_url).inspector() as inspector:
            assert await inspector.workers() == []


async def test_an_app_that_is_lost_is_kept_until_its_last_process_has_gone(
    service: Service, app_name: str, redis_url: str, tmp_path: Path
) -> None:
    """A job of the old app runs on while the new one is in service, and its process dies with the job unfinished."""
    service.write(part(app_name, redis_url, "1"))
    supervisor = service.start(concurrency=1)
    marks = tmp_path / "marks"
    job = nap(app_name, redis_url, marks, 600.0)
    await wait_until_async(marks.exists, description="it runs")
    old = int(marks.read_text())
    service.write(part(f"{app_name}-new", redis_url, "2"))
    supervisor.signal(signal.SIGHUP)
    await version_is(f"{app_name}-new", redis_url, tmp_path / "others", "2")
    # Due jobs of the old app still come into their queue, and it is live.
    due = nap(app_name, redis_url, tmp_path / "others", 0.0, delay=0.2)
    await due.sent()

    async def is_waiting() -> bool:
        async with App(app_name, url=redis_url).inspector() as inspector:
            found = await inspector.job(due.id)
            return found is not None and found.status.value in ("PENDING", "RUNNING")

    await wait_until_async(is_waiting, description="it is due")
    os.kill(old, signal.SIGKILL)

    async def is_back() -> bool:
        async with App(app_name, url=redis_url).inspector() as inspector:
            found = await inspector.job(job.id)
            return found is not None and found.status.value == "PENDING" and not await inspector.workers()

    await wait_until_async(is_back, description="the job is back, and no worker of the old app is left")
    wait_until(lambda: f'app "{app_name}" at' in supervisor.log, description="that it is gone is said")
    await version_is(f"{app_name}-new", redis_url, tmp_path / "others", "2")
    assert supervisor.stop() == 0


@pytest.fixture
def private(own_server: PrivateServer, tmp_path: Path) -> Iterator[Service]:
    with running_workers(tmp_path / "workers", own_server.url) as workers:
        yield Service(workers, tmp_path / "code")


def cut_all(server: redis.Redis) -> None:
    for client in server.client_list():
        with contextlib.suppress(redis.ResponseError):
            server.client_kill_filter(_id=client["id"], skipme=True)


async def test_a_password_that_is_rotated(
    private: Service, own_server: PrivateServer, app_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marks, url = tmp_path / "marks", own_server.url
    home = tmp_path / "workers" / "home"
    monkeypatch.setenv("AIOTASK_HOME", str(home))
    private.write(part(app_name, url, "1"))
    supervisor = private.start()
    await is_served(app_name, url, marks)
    with redis.Redis(unix_socket_path=url.removeprefix("unix://").partition("?")[0]) as server:
        server.config_set("requirepass", "rotated")
        cut_all(server)
    # The old password is refused for good: a restart is what helps, unless the code is loaded again.
    wait_until(lambda: not probe("live")[0], description="it is not live")
    assert "has refused this host's lease" in probe("live")[1]
    locked = url.replace("unix://", "unix://:rotated@")
    private.write(part(app_name, locked, "2"))
    supervisor.signal(Signals.SIGHUP)
    await version_is(app_name, locked, marks, "2")
    await is_served(app_name, locked, marks)
    wait_until(lambda: probe("live")[0], description="it is live")


# ---- what is believed, of pages without processes


@pytest.fixture
def children() -> Iterator[Callable[..., Child]]:
    made: list[Child] = []

    def make(number: int, *apps: AppFacts, up: bool = True) -> Child:
        child = Child(number, SharedBoard(1))
        child.apps = list(apps)
        child.up = {app.name for app in apps} if up else set()
        made.append(child)
        return child

    yield make
    for child in made:
        child.begin(0)
        child.close()


def facts(name: str = "shop", url: str = "redis://here", secret: str = "s", queues: Sequence[str] = ("q",)) -> AppFacts:
    return AppFacts(
        name=name, address=url, url=url, secrets=[secret], tasks=["t"], queues=list(queues), needs=["task:t"]
    )


def test_the_newest_process_in_service_is_believed(children: Callable[..., Child]) -> None:
    served = ServedApps()
    old = children(1, facts(secret="old"))
    new = children(2, facts(secret="new", url="redis://:***@here"), up=False)
    assert served.tick([old]) and served.apps == old.apps
    assert not served.tick([old, new])
    new.up = {"shop"}
    assert served.tick([old, new]) and served.apps == new.apps
    assert not served.tick([new]) and not served.tick([])


def test_what_older_processes_consume_is_kept_while_they_live(children: Callable[..., Child]) -> None:
    served = ServedApps()
    old = children(1, facts(queues=["q", "gone"]), facts("lost"))
    new = children(2, facts(queues=["q", "new"]))
    served.tick([old, new])
    assert [(app.name, app.queues) for app in served.apps] == [("shop", ["q", "new", "gone"]), ("lost", ["q"])]
    before = served.apps
    assert served.tick([new]) and served.apps == new.apps
    assert served.changes(before) == 'app "lost" at redis://here was removed, queue "gone" was removed'


def test_before_any_is_in_service_the_last_that_loaded_is_believed(children: Callable[..., Child]) -> None:
    served = ServedApps()
    assert not served.tick([children(1)])
    served.tick([children(1, facts(), up=False), children(2, facts("other"), up=False)])
    assert [app.name for app in served.apps] == ["other", "shop"]
