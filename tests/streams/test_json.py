"""Streams with the JSON serializer: items have the type that the generator declares."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from pydantic import BaseModel

from aiotask import App, SerializationError, StreamTask


class Dish(BaseModel):
    name: str
    grams: int


async def cook(count: int) -> AsyncIterator[Dish]:
    for number in range(count):
        yield Dish(name=f"dish {number}", grams=number)


async def spoil(count: int) -> AsyncIterator[int]:
    yield count
    yield "not a number"  # type: ignore[misc]


@pytest.fixture
def kitchen(redis_url: str, app_name: str) -> App:
    return App(app_name, url=redis_url, serializer="json")


async def test_items_are_read_as_what_they_were(kitchen: App) -> None:
    task = kitchen.register_task(cook)
    assert isinstance(task, StreamTask)
    async with kitchen.worker():
        stream = task.apply_async(3)
        assert await stream == [Dish(name=f"dish {number}", grams=number) for number in range(3)]
        assert await kitchen.stream(stream.id) == [{"name": f"dish {number}", "grams": number} for number in range(3)]
        assert [dish.grams async for _, dish in task.result(stream.id).items(after=1)] == [1, 2]
        await kitchen.client.close()


async def test_an_item_of_another_type_is_an_error_after_those_before_it(kitchen: App) -> None:
    task = kitchen.register_task(spoil)
    seen = []
    async with kitchen.worker():
        with pytest.raises(SerializationError):
            async for number in task.apply_async(7):
                seen.append(number)
        await kitchen.client.close()
    assert seen == [7]
