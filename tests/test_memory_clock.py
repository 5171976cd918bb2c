"""The memory broker by a clock that the test turns: what expires, what is due, what comes again."""

from __future__ import annotations

import pytest

from aiotask.broker import Broker, Cancelled, JobState
from aiotask.brokers import connect, graphs_of, history_of, inspect, inspect_graphs
from aiotask.brokers.bounds import BAD_GRAPH_TTL, CLIENT_TTL, OUTBOX_TTL, VOLUNTEER_TTL
from aiotask.brokers.graphs import STAGE_TIMEOUT, Taken
from aiotask.brokers.memory.record import RECORDER_IDLE
from aiotask.brokers.memory.stores import store_of
from aiotask.job import Status

from .graphs import Run, chain, end, node, parts, send_graph
from .seam import Worker, a_push, drain, ids, is_unknown, outcome_of, send
from .turned_clock import TurnedClock

DAY = 86_400.0


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock()


@pytest.fixture
def memory(app_name: str, clock: TurnedClock) -> Broker:
    store_of("memory://", app_name, clock)
    return connect("memory://", app_name)


async def test_what_is_due_tomorrow_is_promoted_tomorrow(memory: Broker, clock: TurnedClock) -> None:
    worker = await Worker(memory, "host.1").enlist()
    await send(memory, a_push("later", delay=DAY), a_push("eta", eta=clock.time() + 2 * DAY))
    assert await memory.promote() == (0, DAY)

    clock.turn(DAY)
    assert await memory.promote() == (1, DAY)
    clock.turn(DAY)
    assert await memory.promote() == (1, None)

    assert await drain(worker) == ["later", "eta"]


async def test_a_retry_waits_for_its_delay(memory: Broker, clock: TurnedClock) -> None:
    worker = await Worker(memory, "host.1").enlist()
    await send(memory, "job")
    [delivery] = (await worker.claim()).deliveries
    await worker.requeue(delivery, delay=60.0)

    clock.turn(59.0)
    assert await memory.promote() == (0, 1.0)
    clock.turn(1.0)
    assert await memory.promote() == (1, None)
    assert ids(await worker.claim()) == ["job"]


async def test_an_outcome_is_known_until_its_time_is_over(memory: Broker, clock: TurnedClock) -> None:
    await send(memory, "brief", "long")
    assert await memory.cancel("brief", b"gone", DAY) is Cancelled.DONE
    assert await memory.cancel("long", b"gone", 2 * DAY) is Cancelled.DONE

    clock.turn(DAY - 1)
    assert await memory.status(["brief", "long"]) == [JobState(outcome=b"gone")] * 2
    clock.turn(1)
    assert await memory.status(["brief", "long"]) == [JobState(), JobState(outcome=b"gone")]


async def test_a_client_that_was_silent_for_long_counts_anew(memory: Broker, clock: TurnedClock) -> None:
    await memory.push("client", 1, [a_push("first")])
    clock.turn(CLIENT_TTL)
    await memory.push("client", 1, [a_push("repeat")])
    clock.turn(CLIENT_TTL + 1)
    await memory.push("client", 1, [a_push("anew")])

    worker = await Worker(memory, "host.1").enlist()
    assert await drain(worker) == ["first", "anew"]


async def test_a_batch_of_an_outbox_is_remembered_for_seven_days(memory: Broker, clock: TurnedClock) -> None:
    await memory.push("outbox.0a", 1, [a_push("first")])
    for _ in range(6):
        clock.turn(DAY)
        # Clients that come and go meanwhile.
        await memory.push("client", 1, [])
    await memory.push("outbox.0a", 1, [a_push("repeat")])
    clock.turn(OUTBOX_TTL + 1)
    await memory.push("outbox.0a", 1, [a_push("anew")])

    worker = await Worker(memory, "host.1").enlist()
    assert await drain(worker) == ["first", "anew"]


async def test_a_batch_of_an_outbox_that_is_deleted_there_is_remembered_as_any_client(
    memory: Broker, clock: TurnedClock
) -> None:
    await memory.push("outbox.0a", 1, [a_push("first")])
    await memory.push("outbox.0a", 2, [])
    clock.turn(CLIENT_TTL)
    await memory.push("outbox.0a", 1, [a_push("late")])
    clock.turn(CLIENT_TTL + 1)
    await memory.push("outbox.0a", 1, [a_push("anew")])

    worker = await Worker(memory, "host.1").enlist()
    assert await drain(worker) == ["first", "anew"]


async def test_rows_of_a_recorder_that_went_away_come_again(memory: Broker, clock: TurnedClock) -> None:
    history, worker = history_of(memory), await Worker(memory, "host.1").enlist()
    await history.read_history("gone", 10, 0.0)
    await send(memory, "a", "b")
    for delivery in (await worker.claim()).deliveries:
        await worker.finish(delivery)
    rows = await history.read_history("gone", 10, 10.0)
    assert len(rows) == 2
    clock.turn(RECORDER_IDLE)
    assert await history.read_history("later", 10, 0.0) == [], "their recorder may still trim them"

    clock.turn(1.0)

    assert await history.read_history("later", 10, 10.0) == rows


async def test_a_volunteer_that_does_not_come_back_is_replaced(memory: Broker, clock: TurnedClock) -> None:
    victim, first, second = [await Worker(memory, f"host.{n}").enlist() for n in range(3)]
    await send(memory, "pill")
    await victim.claim()
    await memory.recover(victim.name, blame=["pill"])
    assert (await first.claim()).suspects
    assert not (await second.claim()).suspects

    clock.turn(VOLUNTEER_TTL)

    assert (await second.claim()).suspects
    assert not (await first.claim()).suspects


async def test_dead_letters_and_replays_are_dated_by_the_clock(memory: Broker, clock: TurnedClock) -> None:
    worker = await Worker(memory, "host.1").enlist()
    await send(memory, "pill")
    [delivery] = (await worker.claim()).deliveries
    await worker.finish(delivery, status=Status.FAILED, dead=True)

    [letter] = await inspect(memory).dead()
    clock.turn(DAY)
    await memory.replay(["pill"])

    [again] = (await worker.claim()).deliveries
    assert (letter.at, again.meta.series) == (1_000_000_000.0, int((1_000_000_000.0 + DAY) * 1000))
    assert (await inspect(memory).facts()).time == clock.now


def test_the_clock_of_a_store_is_the_one_it_was_made_with(app_name: str, clock: TurnedClock) -> None:
    made = store_of("memory://", app_name, clock)

    assert store_of("memory://", app_name, TurnedClock(0.0)) is made
    assert made.clock is clock


async def test_a_graph_goes_with_its_time(memory: Broker, clock: TurnedClock) -> None:
    graphs, worker = graphs_of(memory), await Worker(memory, "host.1").enlist()
    await send_graph(graphs, "n2", [node(1, result_ttl=0.0), node(2, 1)])
    [first] = (await worker.claim()).deliveries
    await end(worker, "n2", first, 1, result_ttl=0.0)
    clock.turn(10 * DAY)

    assert await outcome_of(memory, "n1") is not None, "a node may want it"

    [second] = (await worker.claim()).deliveries
    await end(worker, "n2", second, 2)
    assert await is_unknown(memory, "n1")
    assert [graph.state for graph in await inspect_graphs(memory).graphs()] == ["ended"]
    clock.turn(3600.0)
    assert await inspect_graphs(memory).graphs() == []


async def test_what_a_replay_needs_goes_with_the_graph(memory: Broker, clock: TurnedClock) -> None:
    graphs, worker = graphs_of(memory), await Worker(memory, "host.1").enlist()
    await send_graph(graphs, "n2", [node(1, result_ttl=1.0), node(2, 1)])
    await Run(worker, "n2", {"n1": 1, "n2": 2}, ["n2"]).to_its_end()

    clock.turn(BAD_GRAPH_TTL - 1)
    assert await outcome_of(memory, "n1") is not None
    clock.turn(1)
    assert await is_unknown(memory, "n1")
    assert (await graphs.steer("n2", replay=True)).answer == "unknown"


async def test_a_graph_that_is_not_sent_to_its_end_is_dropped(memory: Broker, clock: TurnedClock) -> None:
    graphs, worker = graphs_of(memory), await Worker(memory, "host.1").enlist()
    first, *_, last = parts("big", chain(1000))
    await graphs.push_graph("client", 1, first)
    clock.turn(STAGE_TIMEOUT - 1)
    await graphs.push_graph("client", 1, first)  # and so it has that time anew
    clock.turn(STAGE_TIMEOUT - 1)
    assert await graphs.push_graph("client", 1, last) is Taken.MISSING

    clock.turn(STAGE_TIMEOUT)

    assert await drain(worker) == []
    assert (await graphs.steer("big")).answer == "unknown"
    assert await is_unknown(memory, "n1")
