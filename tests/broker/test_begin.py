"""begin: a job that runs once at most is not run again after it has begun."""

from __future__ import annotations

from aiotask.broker import Begin, Broker, JobState, Notice, Settled
from aiotask.job import Status

from ..helpers import wait_until_async
from ..seam import GONE, Worker, a_push, drain, listening, outcome_of, sealed_outcome, send, status_of

LOST = b"sealed: lost"


async def test_a_job_that_has_begun_is_not_run_again_whatever_becomes_of_its_worker(
    broker: Broker, worker: Worker, other: Worker
) -> None:
    await send(broker, a_push("begun", reply="client"), "waiting", "cancelled")
    begun, waiting, cancelled = (await worker.claim()).deliveries
    assert await broker.begin(worker.name, [Begin(begun, LOST, 60.0), Begin(cancelled, LOST, 60.0)]) == [True, True]
    assert await broker.begin(worker.name, [Begin(begun, LOST, 60.0)]) == [True], "an answer got lost"
    assert await broker.begin(other.name, [Begin(waiting, LOST, 60.0)]) == [False]
    assert await status_of(broker, "begun") is Status.RUNNING
    assert await broker.cancels(worker.name, ["begun"]) == [None]
    await broker.cancel("cancelled", GONE, 60.0)

    async with listening(broker, "client") as client:
        await broker.recover(worker.name, blame=["begun"], reason="killed by SIGSEGV")
        await wait_until_async(lambda: client.notices, description="the waiting client is notified")

    assert client.notices == [Notice("begun", LOST)]
    assert await broker.status(["begun", "cancelled"]) == [JobState(outcome=LOST), JobState(outcome=GONE)]
    assert await broker.begin(worker.name, [Begin(waiting, LOST, 60.0)]) == [False], "it is not this worker's any more"
    assert await drain(other) == ["waiting"]


async def test_a_job_that_has_begun_ends_as_any_other_or_goes_back_unstarted(broker: Broker, worker: Worker) -> None:
    await send(broker, "done", "back", "cancelled")
    done, back, cancelled = (await worker.claim()).deliveries
    await broker.begin(worker.name, [Begin(each, LOST, 60.0) for each in (done, back, cancelled)])
    await broker.cancel("cancelled", GONE, 60.0)

    assert await worker.finish(done) is Settled.DONE
    assert await worker.requeue(back) is Settled.DONE
    assert await worker.requeue(cancelled) is Settled.DONE

    assert await outcome_of(broker, "done") == sealed_outcome("done")
    assert await outcome_of(broker, "cancelled") == GONE
    [again] = (await worker.claim()).deliveries
    await broker.recover(worker.name)
    assert again.id == "back"
    assert await status_of(broker, "back") is Status.PENDING, "what was left for it is forgotten"
