"""serializer="json" through real workers: what arrives, what is refused, and where that is said."""

from __future__ import annotations

import datetime as dt
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aiotask import App, SerializationError

from .acceptance.stage import Stage, prepared
from .workers import Workers, running_workers


@pytest.fixture(scope="module")
def shop(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    directory = tmp_path_factory.mktemp("annotated")
    with running_workers(directory, redis_url) as workers:
        stage = prepared("annotated", workers, directory / "ledger")
        stage.start(1)
        with stage.active():
            yield stage


@pytest.fixture
def by_name(shop: Stage) -> App:
    """The same app in a program that does not know the tasks."""
    return App(shop.app.name, url=shop.url, serializer="json")


async def test_it_arrives_and_comes_back_as_it_was(shop: Stage) -> None:
    async with shop.app:
        assert await shop.user.apply_async(shop.User(userId=3)) == (3, ["user_id"])
        assert await shop.same_bytes.apply_async(b"\xff\x00") == b"\xff\x00"
        file = shop.File(name="a", data=b"\x89PNG")
        assert await shop.same_file.apply_async(file) == file
        assert await shop.unpacked.apply_async(size=1, at=dt.date(2026, 1, 30)) == [
            "size: 1",
            "at: datetime.date(2026, 1, 30)",
        ]
        assert await shop.partial.apply_async(2) == 3
        assert await shop.adder.apply_async(2) == 5


async def test_what_would_arrive_as_something_else_is_not_sent(shop: Stage) -> None:
    async with shop.app:
        for task, value, reason in (
            (shop.kind, dt.datetime(2026, 1, 30), r'argument "value" of kind\(\) \(datetime\) cannot be serialized'),
            (shop.kind, {"a": [(1, 2)]}, r"argument \"value\['a'\]\[0\]\" of kind\(\) \(tuple\)"),
            (shop.login, shop.Login(password="hunter2"), r'argument "value\.password" of login\(\) \(SecretStr\)'),
        ):
            with pytest.raises(SerializationError, match=reason):
                task.apply_async(value)


async def test_what_would_come_back_as_something_else_is_the_error_of_the_job(shop: Stage) -> None:
    async with shop.app:
        for task, reason in (
            (
                shop.animal,
                r"the value of animal\(\) \(Dog\) cannot be serialized with json: it would arrive as",
            ),
            (shop.price, r'the value of price\(\) at "cents" \(int\).*\(150 as 15000\)'),
            (shop.pair, r'the value of pair\(\) \(tuple\).*would arrive as "list"'),
        ):
            with pytest.raises(SerializationError, match=reason):
                await task.apply_async().wait(30)


async def test_calls_by_name_give_the_task_the_same_value_or_say_why_not(shop: Stage, by_name: App) -> None:
    def call(task: str, value: Any) -> Any:
        return by_name.s(f"{shop.name}:{task}", value).apply_async()

    async with by_name:
        for data in (b"abcd", b"\xff\x00"):
            assert await shop.same_bytes.result(call("same_bytes", data).id).wait(30) == data
        assert await call("of_moment", dt.datetime(2026, 1, 30)).wait(30) == "2026-01-30T00:00:00"
        assert await call("user", {"userId": 3}).wait(30) == [3, ["user_id"]]
        with pytest.raises(SerializationError, match='sent by name as "datetime" but arrived as "str"'):
            await call("kind", dt.datetime(2026, 1, 30)).wait(30)
        with pytest.raises(SerializationError, match='sent by name as "bytes" but arrived as "str"'):
            await call("kind", b"a").wait(30)
        with pytest.raises(SerializationError, match="in a call by name, keys must be text"):
            call("kind", {1: 2})


async def test_errors_come_back_as_they_were_raised(shop: Stage) -> None:
    async with shop.app:
        with pytest.raises(FileNotFoundError, match="No such file or directory: '/nowhere/at/all'") as caught:
            await shop.missing.apply_async()
        assert caught.value.filename == "/nowhere/at/all"
        with pytest.raises(KeyError) as key:
            await shop.key.apply_async()
        assert key.value.args == (("a", 1),)


def test_a_worker_does_not_start_with_annotations_that_it_cannot_read(
    workers: Workers, tmp_path: Path, app_name: str
) -> None:
    (tmp_path / "later_shop.py").write_text(
        textwrap.dedent(f"""
            from __future__ import annotations
            from aiotask import App
            app = App("{app_name}", serializer="json")

            @app.task
            def sell(item: Item) -> None: ...
        """)
    )

    supervisor = workers.start("later_shop", app_dir=tmp_path, wait=False)

    assert supervisor.wait() != 0
    assert 'Task "later_shop:sell": The annotations of "sell" cannot be resolved: "Item"' in supervisor.log
