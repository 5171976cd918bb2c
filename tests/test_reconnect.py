"""A worker after a broken connection: it consumes again by itself, and each job still runs once."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from aiotask import App, gather

from .helpers import wait_until_async
from .server import PrivateServer


@pytest.mark.trap("stranded in the living")
async def test_what_is_claimed_with_a_new_connection_runs_once(own_server: PrivateServer, app_name: str) -> None:
    app = App(app_name, url=own_server.url)
    runs: Counter[int] = Counter()

    @app.task
    async def note(number: int) -> int:
        runs[number] += 1
        return number

    async with app, app.worker():
        for first in range(0, 400, 20):
            own_server.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            numbers = range(first, first + 20)
            assert await gather(note.apply_async(number) for number in numbers) == list(numbers)

    assert runs == Counter(range(400))


async def test_a_worker_whose_outcomes_are_refused_claims_no_more(
    own_server: PrivateServer, app_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiotask.worker.worker.BACKLOG", 50)
    app = App(app_name, url=own_server.url)
    index = f"aiotask1:{{{app_name}}}:index"
    runs = 0

    @app.task
    async def note(number: int) -> int:
        nonlocal runs
        runs += 1
        return number

    async with app:
        results = [note.apply_async(number) for number in range(3000)]
        await results[-1].sent()
        own_server.call("RENAME", index, "elsewhere")
        own_server.call("SET", index, "not ours")
        seen: list[int] = []

        async def has_paused() -> bool:
            seen.append(runs)
            return runs >= 50 and seen[-10:] == [runs] * 10

        async with app.worker():
            await wait_until_async(has_paused, description="it runs no more jobs")
            assert runs < 1000, "the rest waits at the broker, not here"
            own_server.call("RENAME", "elsewhere", index)
            assert await gather(results) == list(range(3000))
    assert runs == 3000


async def test_what_is_in_hand_is_not_begun_again_when_its_consumer_group_is_destroyed(
    own_server: PrivateServer, app_name: str
) -> None:
    app = App(app_name, url=own_server.url)
    runs: Counter[int] = Counter()
    end = asyncio.Event()

    @app.task
    async def hold(number: int) -> int:
        runs[number] += 1
        await end.wait()
        return number

    async with app, app.worker():
        first = hold.apply_async(1)
        await wait_until_async(lambda: runs[1], description="it runs")
        assert own_server.call("XGROUP", "DESTROY", f"aiotask1:{{{app_name}}}:q:default:5", "w")
        second = hold.apply_async(2)
        await wait_until_async(lambda: runs[2], description="the next one runs, from a new group")
        end.set()
        assert await gather((first, second)) == [1, 2]

    assert runs == {1: 1, 2: 1}
