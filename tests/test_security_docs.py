"""The page on security: the permissions and the parameters of TLS that it names are enough, and none is idle."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from aiotask import (
    App,
    AsyncResult,
    BrokerError,
    Limit,
    ResultDB,
    Status,
    UnknownTask,
    WorkerLost,
    current_job,
    gather,
)

from .commands import run_command
from .helpers import wait_until_async
from .pages import blocks
from .server import PrivateServer
from .test_tls import tls_in_front_of
from .workers import ROOT, Workers

PAGE = ROOT / "docs" / "security.md"
SECRET = "not so secret, but long enough for a test"
TASKS = """
import asyncio, os, signal
from aiotask import App, Retry, current_job

app = App("shop")


@app.task(retries=1)
async def retried() -> int:
    if current_job().attempt == 1:
        raise Retry("once more", delay=0.1)
    return current_job().attempt


@app.task(acks="early")
def early(number: int) -> int:
    return number


@app.task
async def nap(seconds: float) -> None:
    await asyncio.sleep(seconds)


@app.task
def crash() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(retries=1, backoff=lambda failures: 0.05)
def fail() -> None:
    raise ValueError("always")
"""


def permissions() -> list[str]:
    """The rules of the page for the user ``shop``, as the words of one command."""
    (block,) = [each for each in blocks(PAGE) if each.text.startswith("ACL SETUSER")]
    return block.text.replace("PASSWORD", "pw").split()


def test_every_command_of_a_script_is_granted() -> None:
    used = set()
    for script in (ROOT / "aiotask" / "brokers" / "redis" / "scripts").rglob("*.lua"):
        used |= set(re.findall(r"redis\.p?call\('([A-Z]+)'(?:, '(NUMSUB|[A-Z]+)')?", script.read_text()))
    assert len(used) > 40
    words = {(command.lower(), sub.lower()) for command, sub in used}
    granted = {word[1:] for word in permissions() if word.startswith("+")}
    assert {command for command, sub in words if not {command, f"{command}|{sub}"} & granted} == set()


def denied(server: PrivateServer) -> set[str]:
    """The commands, keys and channels that the server has refused so far."""
    rows = [dict(zip(row[::2], row[1::2], strict=True)) for row in server.call("ACL", "LOG")]
    return {row[b"object"].decode() for row in rows}


def ask_shop(command: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """A command of aiotask on the app ``shop``."""
    return run_command(*command.split(), "--name", "shop", env={**os.environ, **environment})


@pytest.fixture
def environment(own_server: PrivateServer, tmp_path: Path) -> dict[str, str]:
    """Variables of a process that is the user of the page."""
    own_server.call(*permissions())
    return {
        "AIOTASK_URL": f"unix://shop:pw@{own_server.socket}",
        "AIOTASK_SECRET": SECRET,
        "AIOTASK_RESULT_DB": str(tmp_path / "history.db"),
    }


async def test_the_user_of_the_page_serves_every_kind_of_job_and_every_command(
    own_server: PrivateServer, workers: Workers, environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "shop.py").write_text(TASKS)
    workers.start("shop", concurrency=2, env=environment, app_dir=tmp_path)
    app = App("shop", url=environment["AIOTASK_URL"], secret=SECRET)

    def send(name: str, *args: Any, **options: Any) -> AsyncResult[Any]:
        return app.s(f"shop:{name}", *args, **options).apply_async()

    async with app:
        assert await send("retried") == 2
        assert await send("early", 7) == 7
        napping = send("nap", 300)
        await wait_until_async(lambda: is_running(napping), description="the job runs")
        await napping.cancel()
        with pytest.raises(WorkerLost):
            await send("crash")
        with pytest.raises(ValueError, match="always"):
            await send("fail")
        with pytest.raises(UnknownTask):
            await send("never")
        async with ResultDB(environment["AIOTASK_RESULT_DB"], app=app) as history:
            await wait_until_async(lambda: history.exists(napping.id), description="the history has it")

    environment["AIOTASK_HOME"] = str(tmp_path / "home")
    for command in ("queues", "jobs", "jobs --status dead", "dead list", "stack", "doctor", "dead replay --all --yes"):
        done = ask_shop(command, environment)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    # That one is doctor's, and the page says so.
    assert denied(own_server) == {"config|get"}


async def is_running(result: AsyncResult[Any]) -> bool:
    return await result.status() is Status.RUNNING


async def test_delayed_jobs_limits_and_keys_need_no_more(
    own_server: PrivateServer, environment: dict[str, str]
) -> None:
    app = App("shop", url=environment["AIOTASK_URL"], secret=SECRET, max_pending={"full": 2}, when_full="drop_oldest")

    @app.task(queue="full")
    def weigh(grams: int) -> int:
        return grams

    @app.task
    def double(number: int) -> int:
        return 2 * number

    async with app, app.worker(queues=["default"]):
        assert await double.options(delay=0.2).apply_async(2) == 4
        later = double.options(delay=3600).apply_async(1)
        await later.sent()
        await later.cancel()
        keyed = double.options(key="once").apply_async(3)
        assert await keyed == 6
        await keyed.forget()
        for grams in range(5):
            await weigh.apply_async(grams).sent()

    assert not denied(own_server)


async def test_limits_unique_jobs_schedules_streams_and_pauses_need_no_more(
    own_server: PrivateServer, environment: dict[str, str]
) -> None:
    app = App("shop", url=environment["AIOTASK_URL"], secret=SECRET)

    @app.task(limit=Limit("api", by="number", max_running_each=1, rate="100/s"))
    def limited(number: int) -> int:
        return number

    @app.task(key="save", unique="pending", on_conflict="replace", delay=0.1)
    def save(text: str) -> str:
        return text

    @app.task
    async def count(most: int) -> AsyncIterator[int]:
        for number in range(most):
            current_job().progress(number, most)
            yield number

    @app.task(batch=8)
    async def many(numbers: list[int]) -> list[int]:
        return numbers

    async with app, app.worker():
        assert await gather([limited.apply_async(number % 2) for number in range(6)]) == [0, 1] * 3
        assert set(await gather([save.apply_async(text) for text in "abc"])) == {"c"}
        stream = count.apply_async(5)
        assert [number async for number in stream] == [0, 1, 2, 3, 4]
        assert [each async for each in count.apply_async(2).progress()]
        assert await gather([many.apply_async(number) for number in range(3)]) == [0, 1, 2]
        await app.schedules.set("nightly", limited.s(1), every=3600)
        assert await (await app.schedules.run_now("nightly")) == 1
        for steer in (app.schedules.pause, app.schedules.resume, app.schedules.remove):
            await steer("nightly")
        await app.pause(task=limited, where="number == 1", why="a test")
        paused = limited.options(expires=60).apply_async(1)
        await paused.sent()
        assert await app.resume(task=limited, where="number == 1")
        assert await paused == 1

    assert not denied(own_server)
    for command in (
        "limits",
        "limits show api",
        "limits set api rate=10/s",
        "schedules",
        "tasks",
        "cancel --all --yes",
    ):
        done = ask_shop(command, environment)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    assert not denied(own_server)


async def test_the_user_of_the_page_cannot_touch_another_app(
    own_server: PrivateServer, environment: dict[str, str]
) -> None:
    app = App("another", url=environment["AIOTASK_URL"], secret=SECRET)

    @app.task
    def double(number: int) -> int:
        return 2 * number

    async with app:
        with pytest.raises(BrokerError, match="does not permit this user a command or key that aiotask needs"):
            await double.apply_async(1).sent()


def test_no_permission_of_the_page_is_idle() -> None:
    folder = ROOT / "aiotask" / "brokers" / "redis"
    sources = "\n".join(path.read_text() for path in folder.rglob("*.*") if path.suffix in (".py", ".lua")).upper()
    commands = [word[1:].partition("|")[0].upper() for word in permissions() if word.startswith("+")]

    # A connection is pinged by redis-py, and a subscription is ended by it.
    idle = [name for name in commands if not re.search(rf"\b{name}\b", sources) and name not in ("PING", "UNSUBSCRIBE")]

    assert not idle


async def test_the_parameters_of_tls_are_understood(own_server: PrivateServer, tmp_path: Path, app_name: str) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    client = authority.issue_cert("client")
    client.cert_chain_pems[0].write_to_path(str(tmp_path / "client.pem"))
    client.private_key_pem.write_to_path(str(tmp_path / "client.key"))
    page = PAGE.read_text()
    named = set(re.findall(r"\bssl_\w+", page))
    assert named == {"ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname", "ssl_cert_reqs"}

    async with tls_in_front_of(own_server.socket, authority, asks_for_a_certificate=True) as port:
        ours = f"ssl_certfile={tmp_path}/client.pem&ssl_keyfile={tmp_path}/client.key"
        for query in (
            f"ssl_ca_certs={tmp_path}/ca.pem&{ours}",
            f"ssl_ca_certs={tmp_path}/ca.pem&ssl_check_hostname=false&{ours}",
            f"ssl_cert_reqs=none&{ours}",
        ):
            app = App(app_name, url=f"rediss://localhost:{port}/0?{query}")

            @app.task
            def double(number: int) -> int:
                return 2 * number

            async with app, app.worker():
                assert await double.apply_async(2) == 4

        bare = App(app_name, url=f"rediss://localhost:{port}/0?ssl_ca_certs={tmp_path}/ca.pem")
        with pytest.raises(BrokerError):
            await asyncio.wait_for(bare.s("any:thing").apply_async().sent(), 60)
        await bare.client.close()
