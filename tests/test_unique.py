"""Calls with the same key: which of them are one job, and what its handles know."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from aiotask import App, AsyncResult, ConfigError, JobExists, ResultExpired, SealError, gather
from aiotask.broker import Cancelled
from aiotask.brokers.redis.keys import prefix
from aiotask.values.unique import is_same_key, is_unique, key_hash, unique_id

from .helpers import wait_until_async
from .server import PrivateServer

app = App("unique", url="memory://")


@pytest.fixture
def here(broker_url: str, app_name: str) -> App:
    return App(app_name, url=broker_url)


# ---- what is refused


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"unique": "unfinished"}, "needs a key"),
        ({"on_conflict": "error"}, "needs a key"),
        ({"unique": "forever", "key": "a"}, "give one of kept, unfinished, pending"),
        ({"unique": 0, "key": "a"}, "leaves the job no time"),
        ({"on_conflict": "ignore", "key": "a"}, "give one of existing, replace, error"),
        ({"unique": "unfinished", "key": "a", "id": "b"}, "Leave out id="),
        ({"max_wait": 5, "key": "a"}, "replace each other"),
        ({"max_wait": 5, "key": "a", "unique": "kept", "on_conflict": "replace"}, "replace each other"),
        ({"max_wait": 5, "delay": 9, "key": "a", "unique": "pending", "on_conflict": "replace"}, "before its delay"),
        ({"key": "user-{user}"}, "no parameter of the function"),
        ({"key": "user-{user.id}"}, "only the name of a parameter"),
        ({"key": 7}, "give text"),
    ],
)
def test_options_that_make_no_sense_are_refused_at_the_task(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        app.task(**options)(lambda user_id: None)


def test_a_key_at_the_call_is_literal_and_no_function() -> None:
    task = app.register_task(lambda user_id: user_id, name="unique:literal", key="user-{user_id}")
    assert "user-_user_id_" in task.options(key="user-{user_id}").s(1).id
    with pytest.raises(ConfigError, match="is the key itself"):
        task.options(key=lambda **_: "a")


def test_no_call_of_a_graph_but_the_sent_one_has_a_key() -> None:
    task = app.register_task(lambda n: n, name="unique:node", key="n-{n}", unique="unfinished")
    with pytest.raises(ConfigError, match=r"Use \.options\(key=None\)"):
        task.map([1, 2])
    after = app.register_task(lambda n: n, name="unique:after")
    for options in ({"unique": "pending"}, {"unique": 60}, {"unique": "unfinished", "on_conflict": "replace"}):
        with pytest.raises(ConfigError, match="nothing takes the place of a graph"):
            task.options(**options).s(1).on_success(after).apply_async()


def test_ids_say_the_key() -> None:
    one, other = unique_id("a:b", "user 7|x", "00-1"), unique_id("a:b", "user 7|x", "00-2")
    assert one != other and is_same_key(one, other) and one.endswith("-user_7_x")
    assert not is_same_key(one, unique_id("a:c", "user 7|x", "00-1"))
    assert not is_unique("00key-abc") and not is_unique("00u") and not is_unique(f"00u{'g' * 24}-1")
    assert key_hash(one) == key_hash(other)


# ---- handles


async def slow(user: int, n: int) -> int:
    await asyncio.sleep(0)
    return n


async def test_both_handles_are_one_job(here: App) -> None:
    task = here.register_task(slow, key="user-{user}", unique="unfinished")
    async with here:
        first, second = task.apply_async(1, 10), task.apply_async(1, 20)
        other = task.apply_async(2, 30)
        early = second.id
        await asyncio.gather(first.sent(), second.sent(), other.sent())
        assert first.id == second.id != other.id
        assert await here.result(early).status() == await second.status() == "PENDING"
        async with here.worker():
            assert await gather([first, second, other]) == [10, 10, 30]
            assert await here.result(early) == 10
        again = task.apply_async(1, 40)
        await again.sent()
        assert again.id != first.id


async def test_a_cancel_of_either_handle_is_one_of_the_job(here: App) -> None:
    task = here.register_task(slow, key="user-{user}", unique="unfinished")
    async with here:
        first, second = task.apply_async(1, 10), task.apply_async(1, 20)
        assert await second.cancel() is Cancelled.DONE
        assert await first.status() == "CANCELLED"
        third = task.apply_async(1, 30)
        await third.sent()
        assert third.id != first.id


async def test_an_error_names_the_job_that_has_the_key(here: App) -> None:
    task = here.register_task(slow, key="user-{user}", unique="unfinished", on_conflict="error")
    async with here:
        first = task.apply_async(1, 10)
        await first.sent()
        for use in (AsyncResult.sent, AsyncResult.wait):
            with pytest.raises(JobExists, match=r'job ".+" has its key') as caught:
                await use(task.apply_async(1, 20))
            assert caught.value.job_id == first.id
        refused = task.apply_async(1, 30)
        with pytest.raises(JobExists):
            await refused.sent()
        with pytest.raises(JobExists):
            await here.result(refused.id).status()
        assert await first.status() == "PENDING"


async def both(user: int, first: int, second: int) -> int:
    return first + second


async def test_the_root_of_a_graph_is_unique_until_it_has_ended(here: App) -> None:
    total = here.register_task(both, key="user-{user}", unique="unfinished")
    part = here.register_task(slow)
    async with here:
        first, second = (total.s(1, part.s(1, 20).cast, n).apply_async() for n in (1, 2))
        plain = total.apply_async(1, 0, 0)
        await asyncio.gather(first.sent(), second.sent(), plain.sent())
        assert first.id == second.id == plain.id
        async with here.worker():
            assert await gather([first, second, plain]) == [21, 21, 21]
            again = total.s(1, part.s(1, 20).cast, 3).apply_async()
            assert await again == 23
    assert again.id != first.id


@pytest.mark.parametrize("unique", ["kept", "unfinished"])
async def test_a_graph_is_refused_while_another_one_has_its_key(here: App, unique: Any) -> None:
    total = here.register_task(both, key="user-{user}", unique=unique, on_conflict="error")
    part = here.register_task(slow)
    async with here:
        first = total.s(1, part.s(1, 20).cast, 1).apply_async()
        await first.sent()
        for use in (AsyncResult.sent, AsyncResult.wait):
            with pytest.raises(JobExists, match=r'job ".+" has its key') as caught:
                await use(total.s(1, part.s(1, 20).cast, 2).apply_async())
            assert caught.value.job_id == first.id
        async with here.worker():
            assert await first == 21


async def test_calls_that_replace_each_other_run_once_with_the_last_arguments(here: App) -> None:
    ran: list[int] = []

    def write(doc: str, n: int) -> int:
        ran.append(n)
        return n

    task = here.register_task(write, key="doc-{doc}")
    save = task.options(delay=0.2, unique="pending", on_conflict="replace", max_wait=60)
    async with here, here.worker():
        results = [save.apply_async("a", n) for n in range(50)]
        for n in range(50, 60):
            results.append(save.apply_async("a", n))
            await results[-1].sent()
        assert await asyncio.wait_for(gather(results), 60) == [59] * 60
        assert ran == [59]
        assert len({result.id for result in results}) == 1


async def test_a_timeout_ends_the_wait_of_a_replaced_handle(here: App) -> None:
    task = here.register_task(slow, key="k", unique="pending", on_conflict="replace", delay=3600)
    async with here:
        first = task.apply_async(1, 1)
        waiting = asyncio.ensure_future(first.wait(3.0))
        await first.sent()
        await task.apply_async(1, 2).sent()
        with pytest.raises(TimeoutError):
            await waiting
        assert not here.client.session().mailbox.is_awaited


async def test_the_key_is_free_for_the_job_that_follows(here: App) -> None:
    task = here.register_task(slow, key="k", unique="unfinished")
    async with here, here.worker():
        ids = []
        for n in range(20):
            result = task.apply_async(1, n)
            assert await result == n
            ids.append(result.id)
        assert len(set(ids)) == 20


async def test_a_call_without_a_key_is_a_job_of_its_own(here: App) -> None:
    task = here.register_task(slow, key=lambda user, **_: user or None, unique="unfinished")
    async with here:
        results = [task.apply_async(0, 1), task.apply_async(0, 2), task.options(key=None).apply_async(7, 3)]
        results += [task.apply_async(7, 4), task.apply_async(7, 5)]
        async with here.worker():
            assert await gather(results) == [1, 2, 3, 4, 4]


async def test_a_signature_that_is_sent_twice_is_one_job(here: App) -> None:
    task = here.register_task(slow, key="k", unique="unfinished")
    async with here:
        first = task.apply_async(1, 1)
        await first.sent()
        call = task.s(1, 2)
        async with here.worker():
            assert await gather([call.apply_async(), call.apply_async(), first]) == [1, 1, 1]
            assert await call.apply_async() == 1


async def test_jobs_send_unique_jobs(here: App) -> None:
    child = here.register_task(slow, key="user-{user}", unique="unfinished")

    async def parent() -> list[int]:
        return await gather([child.apply_async(1, 1), child.apply_async(1, 2), child.apply_async(2, 3)])

    async with here, here.worker():
        result = here.register_task(parent).apply_async()
        assert await result == [1, 1, 3]
        assert all(is_unique(each.id) for each in await result.children())


async def test_threads_send_unique_jobs(here: App) -> None:
    task = here.register_task(slow, key="k", unique="unfinished")
    results: list[AsyncResult[int]] = []

    def send() -> None:
        result = task.apply_async(1, 5)
        result.blocking.sent()
        results.append(result)

    async with here:
        threads = [threading.Thread(target=send) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            await asyncio.to_thread(thread.join)
        assert len({result.id for result in results}) == 1
        async with here.worker():
            assert await gather(results) == [5] * 4


async def test_a_result_that_is_ignored_keeps_no_trace(here: App) -> None:
    task = here.register_task(slow, key="k", unique="unfinished", ignore_result=True)
    async with here, here.worker():
        first = task.apply_async(1, 1)
        await first.sent()

        async def is_over() -> bool:
            try:
                await here.result(first.id).status()
            except ResultExpired:
                return True
            return False

        await wait_until_async(is_over, description="the job has ended")
        second = task.apply_async(1, 2)
        await second.sent()
        assert second.id != first.id


# ---- on a server


async def test_keys_that_were_left_behind_block_nothing(own_server: PrivateServer, app_name: str) -> None:
    here = App(app_name, url=own_server.url)
    task = here.register_task(slow, key="k", unique="unfinished")
    async with here:
        first = task.apply_async(1, 1)
        await first.sent()
        for key in own_server.call("KEYS", "*"):
            if b":unique" not in key:
                own_server.call("DEL", key)
        second = task.apply_async(1, 2)
        await second.sent()
        assert second.id != first.id
        own_server.call("DEL", f"{prefix(app_name)}unique")
        async with here.worker():
            assert await second == 2


async def test_a_server_leads_no_handle_to_a_job_of_another_key(own_server: PrivateServer, app_name: str) -> None:
    here = App(app_name, url=own_server.url)
    task = here.register_task(slow, key="user-{user}", unique="unfinished")
    async with here, here.worker():
        secret = task.apply_async(1, 1)
        assert await secret == 1
        forged = unique_id(f"{slow.__module__}:{slow.__qualname__}", "user-2", "00-1")
        own_server.call("SET", f"{prefix(app_name)}same:{forged}", secret.id)
        with pytest.raises(SealError, match="has another key"):
            await task.result(forged)
        with pytest.raises(SealError, match="has another key"):
            await task.result(forged).status()


async def test_plain_jobs_write_none_of_it(own_server: PrivateServer, app_name: str) -> None:
    here = App(app_name, url=own_server.url)
    plain, keyed = here.register_task(slow, name="plain"), here.register_task(slow, name="keyed", key="k-{user}")
    async with here, here.worker():
        assert await gather([plain.apply_async(1, 1), keyed.apply_async(1, 2), keyed.apply_async(1, 3)]) == [1, 2, 2]
    names = {key.split(b":")[2] for key in own_server.call("KEYS", f"{prefix(app_name)}*")}
    assert names.isdisjoint({b"unique", b"once", b"same"})


async def test_nothing_is_left_of_unique_jobs_but_outcomes(own_server: PrivateServer, app_name: str) -> None:
    here = App(app_name, url=own_server.url)
    task = here.register_task(slow, key="user-{user}", unique="unfinished")
    async with here, here.worker():
        await gather([task.apply_async(user, 1) for user in range(50)])
    assert not own_server.call("EXISTS", f"{prefix(app_name)}unique")
