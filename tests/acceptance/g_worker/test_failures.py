"""G10, G11, G30: what fails, and what is behind it, which never runs."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
import redis

from aiotask import DependencyFailed, JobCancelled, JobExpired, JobTimeout, Status, UnknownTask, WorkerLost
from aiotask.brokers.graphs import Graphs
from aiotask.outcome import Outcome, decode_outcome, encode_outcome
from aiotask.results.result import AsyncResult
from aiotask.wire.seal import Sealer

from ...crossed import crossed
from ...helpers import wait_until_async
from ..stage import Stage


async def failure(result: AsyncResult[object]) -> DependencyFailed:
    """The error of a job behind one that has failed."""
    with pytest.raises(DependencyFailed) as caught:
        async with asyncio.timeout(60):
            await result
    return caught.value


async def test_g10_nothing_behind_a_failed_job_runs_and_all_of_it_names_the_first(nodes: Stage) -> None:
    nodes.start(2)
    boom = nodes.boom.s()
    first = nodes.after.s(boom.cast, nodes.give.s(1).cast)
    second = nodes.aafter.s(first.cast)
    third = nodes.after.s([second.cast])
    result = third.apply_async()

    error = await failure(result)

    assert (error.job_id, error.task) == (boom.id, boom.task)
    assert f'job "{boom.id}" ({boom.task}), upstream of it, ended as FAILED: KeyError' in str(error)
    assert isinstance(error.__cause__, KeyError)
    notes = "".join(error.__cause__.__notes__)
    assert "Remote traceback" in notes and "raise KeyError(label)" in notes
    for call in (first, second):
        error = await failure(nodes.app.result(call.id))
        assert (error.job_id, error.task, type(error.__cause__)) == (boom.id, boom.task, KeyError)
    assert nodes.ledger.runs("after") == []
    assert len(nodes.ledger.runs("boom")) == 1


async def test_g10_thousands_of_dependents_end_with_the_job_that_they_need(nodes: Stage, is_full: bool) -> None:
    count = 10_000 if is_full else 3_000
    nodes.start(2)
    boom = nodes.boom.s()
    members = [nodes.after.s(boom.cast) for _ in range(count)]
    result = nodes.agive.s([member.settled for member in members], "report").apply_async()

    async with asyncio.timeout(100):
        errors = await result

    assert {(type(error), error.job_id) for error in errors} == {(DependencyFailed, boom.id)}
    assert len(errors) == count and nodes.ledger.runs("after") == []


@pytest.mark.parametrize(
    ("task", "cause", "text"),
    [
        ("too_long", JobTimeout, "ended as FAILED: JobTimeout"),
        ("never_ends", JobTimeout, "ended as FAILED: JobTimeout"),
        ("die", WorkerLost, "ended as FAILED: WorkerLost"),
        ("die_early", WorkerLost, "ended as FAILED: WorkerLost"),
    ],
)
async def test_g11_whatever_ends_a_job_without_a_value_ends_what_is_behind_it(
    nodes: Stage, task: str, cause: type[Exception], text: str
) -> None:
    nodes.start(1)
    call = getattr(nodes, task).s()

    error = await failure(nodes.after.s(call.cast).apply_async())

    assert (error.job_id, type(error.__cause__)) == (call.id, cause)
    assert text in str(error)
    assert nodes.ledger.runs("after") == []


async def test_g11_what_is_cancelled_or_expires_ends_what_is_behind_it(nodes: Stage) -> None:
    cancelled = nodes.give.s(1)
    expired = nodes.give.options(expires=0.01).s(1)
    results = [nodes.after.s(call.cast).apply_async() for call in (cancelled, expired)]
    await asyncio.gather(*(result.sent() for result in results))
    await nodes.app.result(cancelled.id).cancel()
    nodes.start(1)

    errors = [await failure(result) for result in results]

    assert [type(error.__cause__) for error in errors] == [JobCancelled, JobExpired]
    assert [error.job_id for error in errors] == [cancelled.id, expired.id]
    assert nodes.ledger.runs() == []


async def test_g11_the_wait_for_what_is_behind_a_job_that_no_worker_knows_ends(nodes: Stage) -> None:
    nodes.start(1)
    unknown = nodes.app.named("shop.tasks:render").s()
    behind = nodes.after.s(nodes.after.s(unknown.cast).cast)
    result = behind.apply_async()

    for id in (unknown.id, behind.id):
        with pytest.raises(UnknownTask, match=f'"shop.tasks:render".*job "{unknown.id}" is parked'):
            async with asyncio.timeout(60):
                await nodes.app.result(id)

    assert await result.status() is Status.WAITING
    assert nodes.ledger.runs() == []


async def test_g12_what_takes_the_error_runs_in_any_case_and_in_order(nodes: Stage) -> None:
    nodes.start(2)
    calls = [nodes.give.s(1), nodes.boom.s(), nodes.after.s(nodes.boom.s("other").cast), nodes.agive.s("x")]

    values = await nodes.agive.s([call.settled for call in calls], "report").apply_async()

    assert values[0] == 1 and values[3] == "x"
    assert isinstance(values[1], KeyError) and isinstance(values[2], DependencyFailed)
    assert values[2].task == nodes.boom.name


# ---- forged and damaged outcomes


def forged(kind: str, outcome: Outcome, secrets: list[str], other: bytes) -> bytes | None:
    """The bytes that stand in the place of an outcome; None: it was deleted."""
    sealer = Sealer(secrets, "outcome")
    match kind:
        case "another secret":
            return Sealer(["not the secret"], "outcome").seal(encode_outcome(outcome))
        case "another id":
            return other
        case "a bit flipped":
            sealed = bytearray(sealer.seal(encode_outcome(outcome)))
            sealed[-1] ^= 1
            return bytes(sealed)
        case "a job's seal":
            return Sealer(secrets, "job").seal(encode_outcome(outcome))
        case "no value":
            return sealer.seal(encode_outcome(msgspec.structs.replace(outcome, value=None)))
        case _:
            return None


FORGED = ["another secret", "another id", "a bit flipped", "a job's seal", "no value", "deleted by hand"]


@pytest.mark.parametrize(("kind", "settled"), crossed(FORGED, {"cast": False, "settled": True}))
async def test_g30_a_job_whose_value_cannot_be_trusted_never_runs(
    nodes: Stage, graphs: Graphs, kind: str, settled: bool
) -> None:
    server = redis.Redis.from_url(nodes.url)
    # The value is there, and what takes it waits for a second job, which no worker runs yet.
    value, other = nodes.give.s("value"), nodes.give.s("other")
    late = nodes.give.options(queue="later").s("late")
    taken = value.settled if settled else value.cast
    result = nodes.after.options(queue="later").s(taken, other.cast, late.cast).apply_async()
    supervisor = nodes.start(1, "--queues", "default")
    await wait_until_async(lambda: nodes.ledger.ended("give") == 2, description="two values are there")

    async def sealed(id: str) -> bytes:
        [state] = await graphs.status([id])
        return state.outcome or b""

    before = await wait_until_async(lambda: sealed(value.id), description="the outcome is there")
    another = await wait_until_async(lambda: sealed(other.id), description="so is the other")
    assert supervisor.stop() == 0
    secrets = list(nodes.app.secrets)
    outcome = decode_outcome(Sealer(secrets, "outcome").open(before))
    key = f"aiotask1:{{{nodes.app.name}}}:r:{value.id}"
    assert server.exists(key)
    fake = forged(kind, outcome, secrets, another)
    if fake is None:
        server.delete(key)
    else:
        server.set(key, fake)
    nodes.start(1, "--queues", "default,later")

    error = await failure(result)

    assert error.job_id == value.id
    assert "cannot be used" in str(error)
    assert await result.status() == Status.FAILED
    assert nodes.ledger.runs("after") == []
