"""The page on servers counts connections and bytes as they are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from aiotask import App, BrokerError

from .helpers import wait_until
from .server import PrivateServer
from .workers import ROOT, Workers

PAGE = (ROOT / "docs" / "servers.md").read_text(encoding="utf-8")


def cell(first: str) -> list[int]:
    """The numbers in the second cell of the row that begins so."""
    found = re.search(rf"^\| {re.escape(first)}[^|]*\|([^|]*)\|", PAGE, re.MULTILINE)
    assert found, first
    return [int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*", found[1])]


def connections(server: PrivateServer) -> int:
    """Connections of others than the test's own."""
    return len(server.call("CLIENT", "LIST").splitlines()) - 1


def memory(server: PrivateServer) -> int:
    return int(server.call("INFO", "memory")["used_memory"])


@pytest.mark.parametrize("history", [False, True])
def test_workers_have_as_many_connections_as_the_page_says(
    own_server: PrivateServer, workers: Workers, tmp_path: Path, app_name: str, history: bool
) -> None:
    (tmp_path / "shop.py").write_text(
        f"from aiotask import App\napp = App({app_name!r})\n\n@app.task\ndef double(number: int) -> int:\n"
        "    return 2 * number\n"
    )
    env = {"AIOTASK_URL": own_server.url} | ({"AIOTASK_RESULT_DB": str(tmp_path / "h.db")} if history else {})
    workers.start("shop", concurrency=2, env=env, app_dir=tmp_path)
    (each,) = cell("a worker process")
    keeper, recorder = cell("the keeper of a service")
    app = App(app_name, url=own_server.url)

    assert app.s("shop:double", 2).apply_async().get(timeout=30) == 4
    sender, awaiting = cell("a process that sends")
    expected = 2 * each + keeper + history * recorder + sender + awaiting

    wait_until(lambda: connections(own_server) == expected, description=f"there are {expected} connections")


async def test_a_waiting_job_takes_the_bytes_that_the_page_says(own_server: PrivateServer, app_name: str) -> None:
    app = App(app_name, url=own_server.url)

    @app.task
    def weigh(text: str) -> None: ...

    async with app:
        for task, row in ((weigh, "a job that waits"), (weigh.options(delay=3600), "a scheduled job")):
            await task.apply_async("").sent()
            before = memory(own_server)
            for _ in range(2000):
                task.apply_async("")
            await app.flush()
            taken = (memory(own_server) - before) / 2000
            told = cell(row)[0]
            # With what little the arguments are.
            assert told * 0.6 < taken < told * 1.5, (row, taken)


async def test_a_job_above_the_limit_is_refused_with_its_name(own_server: PrivateServer, app_name: str) -> None:
    own_server.call("CONFIG", "SET", "proto-max-bulk-len", 1024 * 1024)
    app = App(app_name, url=own_server.url)

    @app.task
    def weigh(data: bytes) -> None: ...

    async with app:
        with pytest.raises(BrokerError, match="proto-max-bulk-len"):
            await weigh.apply_async(bytes(2_000_000)).sent()
