"""push: of calls with the same key, which one is a job."""

from __future__ import annotations

import time
from typing import Any

import pytest

from aiotask.broker import Broker, Overflow, Room
from aiotask.inspector import Inspector
from aiotask.job import Status
from aiotask.values.unique import verdict

from ...helpers import wait_until_async
from ...seam import Worker, a_push, drain, finish, ids, is_pending, listening, send, status_of
from .calls import call, end, name, push, state_of

POLICIES = ["kept", "unfinished", "pending", "period"]
ANSWERS = ["existing", "replace", "error"]


# ---- the table

#: By policy: the places at which the job with the key is the one that a call means.
KNOWN = {
    "kept": {"ended", "pending", "running", "node"},
    "unfinished": {"pending", "running", "node"},
    "pending": {"pending", "node"},
    "period": {"gone", "ended", "pending", "running", "node"},
}


@pytest.mark.parametrize("place", ["none", "gone", "ended", "pending", "running", "node"])
@pytest.mark.parametrize("policy", POLICIES)
def test_what_becomes_of_a_call(policy: str, place: str) -> None:
    if place not in KNOWN[policy]:
        assert {verdict(policy, answer, place) for answer in ANSWERS} == {"new"}
    else:
        assert verdict(policy, "existing", place) == "existing"
        assert verdict(policy, "error", place) == "refused"
        assert verdict(policy, "replace", place) == ("replace" if place == "pending" else "existing")


@pytest.mark.parametrize("place", ["none", "ended", "pending", "running"])
@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("policy", ["unfinished", "pending", "period"])
async def test_a_broker_does_what_the_table_says(
    broker: Broker, worker: Worker, policy: str, answer: str, place: str
) -> None:
    how: dict[str, Any] = {"policy": policy, "seconds": 600.0 if policy == "period" else 0.0}
    if place != "none":
        assert await push(broker, call("a", **how)) is None
    if place == "running":
        assert ids(await worker.claim()) == [name("a")]
    elif place == "ended":
        await end(broker, worker)

    said = await push(broker, call("b", on_conflict=answer, **how))

    match verdict(policy, answer, place):
        case "new" | "replace":
            assert said is None
            assert await status_of(broker, name("b")) is Status.PENDING
        case "existing":
            assert said == Overflow([], [], {name("b"): name("a")})
        case "refused":
            assert said == Overflow([], [], {}, {name("b"): name("a")})
    expected = 0 if place in ("running", "ended") else 1
    expected += verdict(policy, answer, place) == "new" and place != "none"
    assert len(await drain(worker)) == expected


# ---- existing


async def test_calls_of_other_keys_and_tasks_are_other_jobs(broker: Broker, worker: Worker) -> None:
    assert await push(broker, call("a"), call("b", key="other"), a_push("plain")) is None
    assert await drain(worker) == [name("a"), name("b", "other"), "plain"]


async def test_of_a_batch_the_first_call_is_the_job(broker: Broker, worker: Worker) -> None:
    said = await push(broker, call("a"), call("b"), a_push("plain"), call("c"))

    assert said == Overflow([], [], {name("b"): name("a"), name("c"): name("a")})
    assert await drain(worker) == [name("a"), "plain"]


async def test_a_batch_that_is_sent_again_is_answered_as_before(broker: Broker, worker: Worker) -> None:
    await push(broker, call("a"))
    batch = [call("b"), call("c", on_conflict="error"), a_push("d", delay=3600.0)]
    said = await broker.push("client", 1, batch)
    await end(broker, worker)

    assert said == Overflow([], [], {name("b"): name("a")}, {name("c"): name("a")})
    assert await broker.push("client", 1, batch) == said
    assert await drain(worker) == []


async def test_the_id_of_a_call_that_is_another_job_leads_to_it(broker: Broker, inspector: Inspector) -> None:
    await push(broker, call("a"))
    await push(broker, call("b"), call("c", on_conflict="error"))

    assert (await state_of(broker, name("b"))).same == name("a")
    shown = await inspector.job(name("b"))
    assert shown is not None and shown.id == name("a")
    assert (await state_of(broker, name("c"))).exists == name("a")
    assert (await state_of(broker, name("d"))).same == ""


async def test_a_job_that_is_sent_again_under_its_id_is_itself(broker: Broker, worker: Worker) -> None:
    first = call("a", custom=True)
    await push(broker, first)
    assert await push(broker, first) is None
    await push(broker, call("b", custom=True))
    await end(broker, worker)

    # It was the first one when it was sent; that it has ended since does not make it a new job.
    assert await push(broker, call("b", custom=True)) == Overflow([], [], {name("b"): name("a")})
    assert await push(broker, first) is None
    assert await drain(worker) == []


async def test_a_job_between_two_runs_waits(broker: Broker, worker: Worker) -> None:
    await push(broker, call("a"))
    [delivery] = (await worker.claim()).deliveries
    await worker.requeue(delivery, delay=3600.0)

    assert await push(broker, call("b", "pending")) == Overflow([], [], {name("b"): name("a")})


@pytest.mark.trap("key of another")
async def test_a_job_that_was_sent_while_one_ran_has_the_key(broker: Broker, worker: Worker) -> None:
    await push(broker, call("a", "pending"))
    [delivery] = (await worker.claim()).deliveries
    await push(broker, call("b", "pending"))
    assert await push(broker, call("c", "pending")) == Overflow([], [], {name("c"): name("b")})

    # The end of the first one does not free the key of the second.
    await broker.finish_special(worker.name, [finish(delivery, special=True)])  # type: ignore[attr-defined]
    assert await push(broker, call("d", "pending")) == Overflow([], [], {name("d"): name("b")})
    assert await end(broker, worker) == name("b")
    assert await push(broker, call("e", "pending")) is None


async def test_a_period_begins_anew_when_it_is_over(broker: Broker, worker: Worker) -> None:
    await push(broker, call("a", "period", seconds=0.2))
    await end(broker, worker)
    assert await push(broker, call("b", "period", seconds=0.2)) is not None

    async def is_new() -> bool:
        return await push(broker, call("c", "period", seconds=600)) is None

    await wait_until_async(is_new, description="the period is over")
    assert await drain(worker) == [name("c")]


async def test_a_period_holds_without_an_outcome(broker: Broker, worker: Worker) -> None:
    await push(broker, call("a", "period", seconds=600))
    await end(broker, worker, result_ttl=0.0)
    assert await push(broker, call("b", "period", seconds=600)) == Overflow([], [], {name("b"): name("a")})

    await broker.forget([name("a")])
    assert await push(broker, call("c", "period", seconds=600)) is None


# ---- replace


async def test_what_replaces_a_job_keeps_its_time_unless_it_has_one(broker: Broker) -> None:
    await push(broker, call("a", delay=3600.0))
    await push(broker, call("b", on_conflict="replace"))
    assert await status_of(broker, name("b")) is Status.SCHEDULED
    at = time.time()
    await push(broker, call("c", on_conflict="replace", eta=at - 1))
    assert await status_of(broker, name("c")) is Status.PENDING
    assert (await broker.promote())[1] is None


async def test_every_id_in_a_row_of_replaced_jobs_leads_to_the_last(broker: Broker, worker: Worker) -> None:
    await push(broker, call("0", "pending", "replace", delay=3600.0))
    for n in range(1, 20):
        await push(broker, call(str(n), "pending", "replace", delay=3600.0))
    await push(broker, call("same", "pending"))
    await push(broker, call("last", "pending", "replace", delay=3600.0))

    for tail in [*map(str, range(20)), "same"]:
        assert (await state_of(broker, name(tail))).same == name("last")
    assert await status_of(broker, name("last")) is Status.SCHEDULED


async def test_a_row_of_calls_in_one_batch_is_one_job(broker: Broker, worker: Worker) -> None:
    batch = [call(str(n), "pending", "replace") for n in range(10)]
    await push(broker, *batch, a_push("plain"))

    assert sorted(await drain(worker)) == sorted([name("9"), "plain"])
    assert (await state_of(broker, name("3"))).same == name("9")


async def test_those_who_wait_for_a_replaced_job_are_told_to_ask_again(broker: Broker) -> None:
    async with listening(broker, "me") as listener:
        await push(broker, call("a", reply="me"))
        await push(broker, call("b", on_conflict="replace", reply="me"))

        async def is_told() -> bool:
            return bool(listener.notices_of(name("a")))

        await wait_until_async(is_told, description="the notice arrives")
    assert listener.notices_of(name("a"))[0].outcome is None


async def test_max_wait_counts_from_the_first_call(broker: Broker) -> None:
    await push(broker, call("a", "pending", "replace", max_wait=3.0, delay=2.0))
    for n in range(5):
        await push(broker, call(str(n), "pending", "replace", max_wait=3.0, delay=100.0))
    _, until = await broker.promote()
    assert until is not None and until <= 3.0


async def test_a_steady_stream_of_calls_does_not_keep_a_job_at_the_end_of_its_lane(
    broker: Broker, worker: Worker
) -> None:
    await push(broker, call("a", "pending", "replace", delay=0.01, max_wait=0.01))
    await wait_until_async(lambda: is_pending(broker, name("a")), description="it is due")
    await send(broker, "other")
    await push(broker, call("b", "pending", "replace", delay=60.0, max_wait=0.01))

    assert await drain(worker) == [name("b"), "other"]


async def test_a_running_job_is_never_replaced(broker: Broker, worker: Worker) -> None:
    await push(broker, call("a"))
    await worker.claim()
    assert await push(broker, call("b", on_conflict="replace")) == Overflow([], [], {name("b"): name("a")})
    assert await push(broker, call("c", "pending", "replace")) is None


async def test_a_kept_job_is_replaced_under_its_id(broker: Broker, worker: Worker) -> None:
    plain = a_push("00key-1", body=b"old", special=call("x", "kept", "replace").special, custom=True, reply="me")
    changed = a_push("00key-1", body=b"new", special=call("x", "kept", "replace").special, custom=True)
    async with listening(broker, "me") as listener:
        await push(broker, plain)
        assert await push(broker, changed) is None
        [delivery] = (await worker.claim()).deliveries
        assert delivery.sealed == changed.sealed
        await worker.finish(delivery)

        async def is_told() -> bool:
            return bool(listener.notices_of("00key-1"))

        await wait_until_async(is_told, description="the first caller gets the outcome")
    refused = await push(broker, a_push("00key-1", special=call("x", "kept", "error").special, custom=True))
    assert refused == Overflow([], [], {}, {"00key-1": "00key-1"})


# ---- a full queue


async def test_a_call_that_is_another_job_needs_no_room(broker: Broker, worker: Worker) -> None:
    room = Room({"": 1})
    await push(broker, call("a"), room=room)
    assert await push(broker, call("b"), room=room) == Overflow([], [], {name("b"): name("a")})
    assert await push(broker, call("c", on_conflict="replace"), room=room) is None
    assert await push(broker, call("d", key="other"), room=room) == Overflow([name("d", "other")])
    assert await drain(worker) == [name("c")]


async def test_a_call_without_room_replaces_nothing(broker: Broker, worker: Worker) -> None:
    room = Room({"": 1})
    await push(broker, call("a", delay=3600.0), room=room)
    await push(broker, a_push("plain"), room=room)
    said = await push(broker, call("b", on_conflict="replace", eta=time.time() - 1), room=room)

    assert said == Overflow([name("b")])
    assert await status_of(broker, name("a")) is Status.SCHEDULED
