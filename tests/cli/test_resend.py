"""aiotask jobs resend: ended jobs of the history file are sent again by a filter."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from aiotask import App, ResultDB

from ..commands import run_command
from ..helpers import wait_until_async
from ..server import PrivateServer


class Shop:
    """An app whose worker records into a history file."""

    def __init__(self, url: str, name: str, path: Path) -> None:
        self.app = App(name, url=url)
        self.path = path
        self.url = url

        @self.app.task(name="shop:price", queue="tiles")
        async def price(tile: int) -> int:
            if tile < 0:
                raise ValueError(f"no tile {tile}")
            return tile

        @self.app.task(name="shop:other")
        async def other(tile: int) -> int:
            raise KeyError(tile)

        self.price, self.other = price, other

    async def run(self, recorded: int) -> None:
        """Run the pending jobs until the history file has this number of jobs."""
        async with ResultDB(self.path) as history:

            async def are_recorded() -> bool:
                return await history.count() == recorded

            async with self.app.worker(result_db=str(self.path), queues=["tiles", "default"]):
                await wait_until_async(are_recorded, description="they are recorded")

    async def resend(self, *arguments: str, code: int = 0) -> Any:
        where = ("--url", self.url, "--db", str(self.path))
        done = await asyncio.to_thread(run_command, "jobs", "resend", *arguments, "--yes", *where, "--json")
        assert done.returncode == code, done.stderr
        return done.stderr if code else json.loads(done.stdout)

    async def waiting(self) -> list[tuple[str, Any]]:
        """Task and first argument of the jobs that wait on the server."""
        done = await asyncio.to_thread(run_command, "jobs", "--url", self.url, "--json", "--limit", "100")
        return sorted((job["task"], job["arguments"][0][0]) for job in json.loads(done.stdout))


@pytest.fixture
async def shop(own_server: PrivateServer, app_name: str, tmp_path: Path) -> Shop:
    """Three jobs have failed, two have ended well, and no worker is there."""
    made = Shop(own_server.url, app_name, tmp_path / "results.db")
    async with made.app:
        for tile in (-1, -2, 3, 4):
            made.price.apply_async(tile)
        await made.other.apply_async(5).sent()
        await made.run(recorded=5)
    return made


async def test_ended_jobs_are_sent_again_by_their_status_and_a_filter(shop: Shop) -> None:
    seen = await shop.resend("--status", "failed", "--dry-run")
    assert (seen["matched"], seen["done"]) == (3, 0) and await shop.waiting() == []

    done = await shop.resend("--status", "failed", "--task", "shop:price")
    assert (done["matched"], done["done"], done["skipped"]) == (2, 2, {})
    assert await shop.waiting() == [("shop:price", -2), ("shop:price", -1)]
    again = await shop.resend("--status", "failed", "--queue", "tiles")
    assert (again["done"], again["skipped"]) == (0, {"was sent again before": 2})

    assert (await shop.resend("--status", "failed", "--error", "keyerror"))["done"] == 1
    assert (await shop.resend("--status", "success", "--text", "[[4]"))["done"] == 1
    assert (await shop.resend("--status", "success", "--since", "0s"))["matched"] == 0
    assert (await shop.resend("--status", "success", "--until", "1h"))["matched"] == 0
    assert (await shop.resend("--status", "expired"))["matched"] == 0
    assert await shop.waiting() == [("shop:other", 5), ("shop:price", -2), ("shop:price", -1), ("shop:price", 4)]
    # Without a status these are dead letters, of which there are none.
    assert (await shop.resend("--task", "shop:price"))["matched"] == 0


async def test_a_job_is_sent_again_once_also_when_the_server_has_forgotten_it(
    shop: Shop, own_server: PrivateServer
) -> None:
    assert (await shop.resend("--status", "failed", "--task", "shop:other"))["done"] == 1
    await shop.run(recorded=6)
    own_server.call("FLUSHALL")
    async with shop.app:
        await shop.price.apply_async(9).sent()

    done = await shop.resend("--status", "failed", "--task", "shop:other")

    # The second one has failed, too, and is sent again itself.
    assert (done["matched"], done["done"], done["skipped"]) == (2, 1, {"was sent again before": 1})


@contextmanager
def changing(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path)) as connection, connection:
        yield connection


async def test_jobs_whose_call_is_not_kept_are_left_out_and_counted(shop: Shop) -> None:
    with changing(shop.path) as connection:
        connection.execute("UPDATE jobs SET job = NULL WHERE arguments LIKE '[[-1]%'")
        connection.execute("UPDATE jobs SET job = zeroblob(200) WHERE arguments LIKE '[[5]%'")

    done = await shop.resend("--status", "failed")

    assert (done["matched"], done["done"]) == (3, 1)
    kept = "has no call in the history file, which kept its outcome alone"
    assert done["skipped"] == {kept: 1, "was sealed with another secret": 1}
    arguments = ("jobs", "resend", "--status", "failed", "--yes", "--url", shop.url, "--db", str(shop.path))
    said = (await asyncio.to_thread(run_command, *arguments)).stdout
    assert f"Skipped 1: {kept}." in said


async def test_a_job_that_waits_again_under_its_id_is_left_as_it_is(
    own_server: PrivateServer, app_name: str, tmp_path: Path
) -> None:
    shop = Shop(own_server.url, app_name, tmp_path / "results.db")

    @shop.app.task(name="shop:twice", retries=1, backoff=lambda failures: 0.01)
    async def twice() -> None:
        raise ValueError("no")

    async with shop.app:
        sent = twice.apply_async()
        await sent.sent()
        await shop.run(recorded=1)
    replayed = await asyncio.to_thread(run_command, "dead", "replay", sent.id, "--url", shop.url)
    assert replayed.returncode == 0, replayed.stderr

    done = await shop.resend("--status", "failed")

    assert (done["done"], done["skipped"]) == (0, {"is unfinished again, under its own ID": 1})


async def test_what_cannot_be_done_says_what_to_do(shop: Shop, tmp_path: Path) -> None:
    assert "Add --status failed" in await shop.resend("--since", "1h", code=2)
    shop.path = tmp_path / "none.db"
    said = await shop.resend("--status", "failed", code=2)
    assert "there is no history file" in said and "name it with --db FILE" in said
    assert "'pending' is not one of" in await shop.resend("--status", "pending", code=2)
