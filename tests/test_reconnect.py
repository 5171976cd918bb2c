"""A worker after a broken connection: it consumes again by itself, and each job still runs once."""

from __future__ import annotations

from collections import Counter

import pytest

from aiotask import App, gather

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
