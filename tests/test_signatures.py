"""A call as a value keeps the options of its task."""

from __future__ import annotations

import pytest

from aiotask import App, gather


@pytest.fixture
def app(app_name: str, broker_url: str) -> App:
    return App(app_name, url=broker_url)


async def test_two_signatures_with_one_key_are_one_job(app: App) -> None:
    runs: list[int] = []

    @app.task(name="test:charge")
    async def charge(amount: int) -> int:
        runs.append(amount)
        return amount

    keyed = charge.options(key="order-7")
    first, second = keyed.s(5), keyed.s(6)
    async with app, app.worker():
        values = await gather([first.apply_async(), second.apply_async(), keyed.apply_async(7)])

    assert first.id == second.id
    assert values == [5, 5, 5] and runs == [5]
