"""Actions on all jobs that match a filter, on the brokers that have the verbs."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from aiotask import App
from aiotask.broker import Broker
from aiotask.brokers import connect, inspect
from aiotask.client.bulk import Action, BulkAction, Done
from aiotask.errors import ConfigError, JobCancelled
from aiotask.inspector import JobFilter
from aiotask.job import Status, decode_job
from aiotask.wire.seal import OVERHEAD

from ..seam import Worker, drain, ids


@pytest.fixture
async def app(broker_url: str, app_name: str) -> AsyncIterator[App]:
    async with App(app_name, url=broker_url) as made:
        yield made


@pytest.fixture
async def broker(app: App) -> AsyncIterator[Broker]:
    made = connect(app.url, app.name)
    await made.open()
    yield made
    await made.close()


@pytest.fixture
async def worker(broker: Broker) -> Worker:
    return await Worker(broker, "host.1", ["default", "mail"]).enlist()


def an_action(app: App, broker: Broker, action: Action, wanted: JobFilter) -> BulkAction:
    return BulkAction(action, wanted, broker, app.secrets, app.result_ttl)


async def do(app: App, broker: Broker, action: Action, wanted: JobFilter) -> Done:
    done = Done()
    async for now in an_action(app, broker, action, wanted).run():
        done = now
    return done


async def send_some(app: App, count: int, queue: str = "default", delay: float = 0.0) -> list[str]:
    task = app.register_task(len, name="shop:work")
    results = [task.options(queue=queue, delay=delay).apply_async([n]) for n in range(count)]
    await app.flush()
    return [result.id for result in results]


async def test_a_purge_ends_pending_jobs_and_leaves_running_ones(app: App, broker: Broker, worker: Worker) -> None:
    running = await send_some(app, 3)
    assert sorted(ids(await worker.claim())) == sorted(running)
    pending = await send_some(app, 700)
    later = await send_some(app, 2, delay=600.0)
    mail = await send_some(app, 2, "mail")

    done = await do(app, broker, Action.PURGE, JobFilter(queue="default"))

    assert (done.done, done.asked, dict(done.skipped)) == (700, 0, {})
    with pytest.raises(JobCancelled):
        await app.result(pending[-1])
    states = await broker.status([*running, *later, *mail])
    assert [state.status for state in states] == [Status.RUNNING] * 3 + [Status.SCHEDULED] * 2 + [Status.PENDING] * 2
    assert (await do(app, broker, Action.PURGE, JobFilter(queue="default"))).done == 0


async def test_a_cancel_ends_what_waits_and_asks_for_what_runs(app: App, broker: Broker, worker: Worker) -> None:
    running = await send_some(app, 3)
    await worker.claim()
    await send_some(app, 300)
    await send_some(app, 300, delay=600.0)

    done = await do(app, broker, Action.CANCEL, JobFilter(task="shop:work"))

    assert (done.done, done.asked) == (603, 3)
    assert all(await broker.cancels(worker.name, running))
    assert await drain(worker) == []
    stats = await inspect(broker).stats()
    assert (stats.pending, stats.scheduled, stats.running) == (0, 0, 3)


async def test_an_action_that_was_interrupted_is_repeated(app: App, broker: Broker) -> None:
    await send_some(app, 900)
    action = an_action(app, broker, Action.CANCEL, JobFilter(queue="default"))
    async for done in action.run():
        if done.done:
            break
    left = (await inspect(broker).stats(max_age=0.0)).pending
    assert 0 < left < 900

    assert (await do(app, broker, Action.CANCEL, JobFilter(queue="default"))).done == left
    assert (await inspect(broker).stats(max_age=0.0)).pending == 0


async def test_scheduled_jobs_run_now(app: App, broker: Broker, worker: Worker) -> None:
    later = await send_some(app, 400, delay=600.0)
    assert await an_action(app, broker, Action.RUN_NOW, JobFilter(queue="default")).count(10_000) == 400

    done = await do(app, broker, Action.RUN_NOW, JobFilter(queue="default"))

    assert done.done == 400
    assert sorted(await drain(worker)) == sorted(later)


async def test_dead_letters_are_sent_again_once(app: App, broker: Broker, worker: Worker) -> None:
    sent = await send_some(app, 5)
    for delivery in (await worker.claim()).deliveries:
        await worker.finish(delivery, status=Status.FAILED, dead=True)

    done = await do(app, broker, Action.RESEND, JobFilter(queue="default"))
    again = await do(app, broker, Action.RESEND, JobFilter(queue="default"))

    assert (done.done, dict(again.skipped), again.done) == (5, {"was sent again before": 5}, 0)
    new = (await worker.claim()).deliveries
    assert len(new) == 5 and not set(ids(new)) & set(sent)
    for delivery in new:
        job = decode_job(delivery.sealed[OVERHEAD:])
        assert (job.id, job.task, job.queue, delivery.meta.attempt) == (delivery.id, "shop:work", "default", 1)


async def test_an_action_is_refused_for_jobs_that_it_is_not_for(app: App, broker: Broker) -> None:
    with pytest.raises(ConfigError, match="scheduled, retrying"):
        an_action(app, broker, Action.RUN_NOW, JobFilter(Status.PENDING))


async def test_an_app_cancels_its_jobs(app: App, broker: Broker) -> None:
    await send_some(app, 3)
    await send_some(app, 2, "mail", delay=600.0)
    await send_some(app, 1, "mail")

    assert await app.cancel_jobs(queue="mail", status=Status.SCHEDULED) == 2
    assert await app.cancel_jobs(task="shop:other") == 0
    assert await app.cancel_jobs() == 4
    with pytest.raises(ConfigError, match="not for those that are success"):
        await app.cancel_jobs(status=Status.SUCCESS)
