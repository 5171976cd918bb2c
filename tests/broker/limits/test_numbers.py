"""Who says what a limit allows: workers of several releases, clients, and operators."""

from __future__ import annotations

from typing import cast

import msgspec
import pytest

from aiotask.broker import Broker
from aiotask.brokers import inspect
from aiotask.brokers.limits import LimitInfo, Limits, LimitsReader, LineInfo
from aiotask.errors import BrokerError
from aiotask.values.limit import LimitSpec

from ...seam import Worker, ids, send
from .words import Declare, end, limited

BY = "shop:app"


async def known(limits: Limits) -> dict[str, LimitInfo]:
    return {info.name: info for info in await cast(LimitsReader, inspect(limits)).limits()}


async def test_a_younger_generation_wins_and_an_older_child_does_not_bring_its_numbers_back(limits: Limits) -> None:
    await limits.declare_limits(10.0, BY, [LimitSpec("api", max_running=1)])
    await limits.declare_limits(20.0, BY, [LimitSpec("api", max_running=2)])
    await limits.declare_limits(10.0, BY, [LimitSpec("api", max_running=1)])

    info = (await known(limits))["api"]
    assert info.spec == LimitSpec("api", max_running=2)
    assert (info.generation, info.by) == (20.0, BY)


async def test_a_client_declares_only_what_nobody_has_declared(limits: Limits) -> None:
    await limits.declare_limits(0.0, "client", [LimitSpec("api", max_running=1)])
    await limits.declare_limits(10.0, BY, [LimitSpec("api", max_running=2)])
    await limits.declare_limits(0.0, "client", [LimitSpec("api", max_running=3)])

    assert (await known(limits))["api"].spec == LimitSpec("api", max_running=2)


async def test_the_lines_of_a_limit_that_was_removed_drain_without_it(limits: Limits, worker: Worker) -> None:
    await limits.declare_limits(10.0, BY, [LimitSpec("api", max_running=1), LimitSpec("mail", max_running=1)])
    await limits.declare_limits(10.0, "other:app", [LimitSpec("theirs", max_running=1)])
    await send(limits, *(limited(f"job-{n}") for n in range(3)))
    assert ids(await worker.claim()) == ["job-0"]

    assert await limits.declare_limits(20.0, BY, [LimitSpec("mail", max_running=1)]) == []
    assert await limits.declare_limits(20.0, BY, [LimitSpec("mail", max_running=1)], removes=True) == ["api"]
    assert ids(await worker.claim()) == ["job-1", "job-2"]
    assert (await known(limits))["api"].removed
    assert not (await known(limits))["theirs"].removed

    await limits.declare_limits(30.0, BY, [LimitSpec("api", max_running=5)])
    assert not (await known(limits))["api"].removed


async def test_a_limit_of_two_services_stays_while_one_of_them_has_it(limits: Limits, worker: Worker) -> None:
    await limits.declare_limits(10.0, "other:app", [LimitSpec("api", max_running=2)], removes=True)
    await limits.declare_limits(20.0, BY, [LimitSpec("api", max_running=1)], removes=True)
    await send(limits, *(limited(f"job-{n}") for n in range(4)))

    assert await limits.declare_limits(30.0, BY, [], removes=True) == []
    assert ids(await worker.claim()) == ["job-0"]

    # As each service does once a minute.
    await limits.declare_limits(10.0, "other:app", [LimitSpec("api", max_running=2)], removes=True)
    assert ids(await worker.claim()) == ["job-1"]

    assert await limits.declare_limits(40.0, "other:app", [], removes=True) == ["api"]
    assert ids(await worker.claim()) == ["job-2", "job-3"]


async def test_what_an_operator_sets_wins_until_it_is_reset(limits: Limits, worker: Worker, declare: Declare) -> None:
    await declare(max_running=1)
    await send(limits, *(limited(f"job-{n}") for n in range(5)))
    claim = await worker.claim()

    assert await limits.set_limit("api", {"max_running": 3})
    assert len(ids(await worker.claim())) == 2
    info = (await known(limits))["api"]
    assert info.spec is not None and info.spec.max_running == 3
    assert info.declared is not None and info.declared.max_running == 1
    assert info.running == 3

    await limits.declare_limits(99.0, BY, [LimitSpec("api", max_running=1)])
    assert (await known(limits))["api"].spec == info.spec
    assert await limits.reset_limit("api")
    assert (await known(limits))["api"].declared is None
    await end(worker, *claim.deliveries)
    assert ids(await worker.claim()) == []


async def test_only_a_limit_that_there_is_can_be_set(limits: Limits) -> None:
    assert not await limits.set_limit("nothing", {"max_running": 1})
    assert not await limits.reset_limit("nothing")


async def test_a_limit_that_counts_from_now_on_counts_those_that_run(
    limits: Limits, worker: Worker, declare: Declare
) -> None:
    await declare()
    await send(limits, *(limited(f"job-{n}", "key") for n in range(4)))
    assert len(ids(await worker.claim(2))) == 2

    await limits.declare_limits(2.0, BY, [LimitSpec("api", max_running=2, max_running_each=2)])
    assert ids(await worker.claim()) == []


async def test_a_limit_that_nobody_declared_is_shown_with_what_waits_for_it(limits: Limits) -> None:
    await send(limits, limited("job", "key", queue="mail", priority=3))

    info = (await known(limits))["api"]
    assert info.spec is None
    assert info.places == [("mail", 3, 1)]


@pytest.mark.trap("older worker")
async def test_no_limit_is_declared_beside_a_worker_of_an_older_release(limits: Limits) -> None:
    if limits.url.startswith("memory"):
        pytest.skip("no other release shares the memory of a process")
    facts = {"host": "old-host", "queues": ["default"], "release": 1}
    await cast(Broker, limits).enlist("old-host.1", "old-host", msgspec.msgpack.encode(facts))

    with pytest.raises(BrokerError, match='"old-host"'):
        await limits.declare_limits(1.0, BY, [LimitSpec("api")])


# ---- what a line waits for


async def state_of(limits: Limits, key: str) -> LineInfo:
    return await cast(LimitsReader, inspect(limits)).line(f"l:default:5:api:{key}")


async def test_a_line_whose_key_is_full_has_no_turn(limits: Limits, worker: Worker, declare: Declare) -> None:
    await declare(max_running_each=1)
    await send(limits, limited("a-0", "a"), limited("a-1", "a"))
    assert await state_of(limits, "a") == LineInfo(has_turn=True)

    claim = await worker.claim()
    assert ids(await worker.claim()) == []
    assert await state_of(limits, "a") == LineInfo(has_turn=False)

    await end(worker, *claim.deliveries)
    assert await state_of(limits, "a") == LineInfo(has_turn=True)
    assert await state_of(limits, "unknown") == LineInfo(has_turn=False)


@pytest.mark.parametrize("level", ["rate", "rate_each"])
async def test_a_line_that_a_rate_holds_back_says_for_how_long(
    limits: Limits, worker: Worker, declare: Declare, level: str
) -> None:
    await declare(**{level: 0.001})
    await send(limits, limited("a-0", "a"), limited("a-1", "a"))
    await worker.claim()
    assert ids(await worker.claim()) == []

    state = await state_of(limits, "a")
    assert not state.has_turn
    assert state.seconds is not None and 900 < state.seconds <= 1_000
    whole = await state_of(limits, "")
    assert (whole.seconds is None) == (level == "rate_each")
