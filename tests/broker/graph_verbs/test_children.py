"""The list of the jobs that a job has sent."""

from __future__ import annotations

from typing import cast

from aiotask.broker import Broker
from aiotask.brokers import graphs_of
from aiotask.brokers.graphs import CHILDREN
from aiotask.inspector import GraphInspector, Inspector

from ...helpers import wait_until_async


async def test_each_is_listed_once_in_the_order_of_their_sending(broker: Broker, inspector: Inspector) -> None:
    view = cast("GraphInspector", inspector)
    await graphs_of(broker).add_children("parent", ["a", "b"], 60.0)
    await graphs_of(broker).add_children("parent", ["b", "c"], 60.0)
    await graphs_of(broker).add_children("another", ["d"], 60.0)

    assert await view.children("parent") == ["a", "b", "c"]
    assert await view.children("nobody") == []


async def test_the_newest_are_kept(broker: Broker, inspector: Inspector) -> None:
    for first in range(0, CHILDREN + 1, 7):
        await graphs_of(broker).add_children("parent", [f"{n}" for n in range(first, first + 7)], 60.0)

    children = await cast("GraphInspector", inspector).children("parent")

    assert len(children) == CHILDREN and children[-1] == f"{first + 6}" and "0" not in children


async def test_the_list_is_kept_from_the_first_one_on(broker: Broker, inspector: Inspector) -> None:
    await graphs_of(broker).add_children("parent", ["a"], 2.0)
    await graphs_of(broker).add_children("parent", ["b"], 3600.0)

    async def is_gone() -> bool:
        return not await cast("GraphInspector", inspector).children("parent")

    await wait_until_async(is_gone, description="the list has ended with its first time")
