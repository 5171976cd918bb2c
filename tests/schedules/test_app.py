"""Schedules as an app has them: options of tasks, and ``app.schedules``."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aiotask import App, Call, Middleware, current_job, group
from aiotask.brokers import connect, schedules_of
from aiotask.errors import ConfigError
from aiotask.values.schedule import Spec
from aiotask.wire.scheduled import Schedules as Seals

from ..helpers import wait_until_async
from ..server import PrivateServer


@pytest.fixture(params=["memory", "redis"])
def app(request: pytest.FixtureRequest, app_name: str) -> App:
    url = "memory://" if request.param == "memory" else str(request.getfixturevalue("redis_url"))
    return App(app_name, url=url, secret="of the app")


def shop_task(number: int = 0) -> int:
    return number


async def numbers() -> AsyncIterator[int]:
    yield 1


# ---- options of a task


def test_a_generator_runs_by_itself_where_its_items_are_dropped(app: App) -> None:
    with pytest.raises(ConfigError, match="ignore_result=True"):
        app.task(name="kept", every=60)(numbers)
    app.task(name="dropped", every=60, ignore_result=True)(numbers)
    assert "dropped" in app.scheduled


def test_options_of_a_task_say_when_it_runs() -> None:
    app = App("shop", url="memory://")
    app.register_task(shop_task, name="a", cron="@daily", timezone="Asia/Tokyo", jitter=timedelta(minutes=1))
    app.register_task(shop_task, name="b", every=timedelta(minutes=5), missed="all")
    app.register_task(shop_task, name="c")

    assert app.scheduled == {
        "a": Spec("0 0 * * *", timezone="Asia/Tokyo", jitter=60.0),
        "b": Spec(every=300.0, missed="all"),
    }
    # As a reload does.
    app.register_task(shop_task, name="a")
    assert list(app.scheduled) == ["b"]


def needs(customer: int) -> None: ...


@pytest.mark.parametrize(
    ("function", "options", "said"),
    [
        (shop_task, {"cron": "* * * * * *"}, r'Task "shop_task": .*six fields'),
        (shop_task, {"cron": 5}, "cron=5: give text"),
        (shop_task, {"every": 0.01}, "at least 0.1"),
        (shop_task, {"every": "5 min"}, "not a duration"),
        (shop_task, {"jitter": 5}, "either cron="),
        (shop_task, {"every": 5, "missed": "never"}, "skip, once, all"),
        (shop_task, {"cron": "@daily", "timezone": "Mars/Olympus"}, "Mars/Olympus"),
        (shop_task, {"cron": "@daily", "timezone": "localtime"}, "another one on other machines"),
        (shop_task, {"cron": "@daily", "timezone": "right/Europe/Berlin"}, "another one on other machines"),
        (shop_task, {"every": 5, "delay": 5}, "delay= and a schedule"),
        (shop_task, {"every": 5, "eta": 1_900_000_000}, "eta= and a schedule"),
        (shop_task, {"every": 5, "id": "one"}, "id= and a schedule"),
        (shop_task, {"every": 5, "expires": datetime(2026, 1, 1, tzinfo=UTC)}, "expires= is a moment"),
        (needs, {"every": 5}, r"without arguments.*'customer'.*app.schedules.set"),
    ],
)
def test_a_task_that_cannot_be_scheduled_is_refused(function: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        App("shop", url="memory://").register_task(function, **options)


def test_a_schedule_is_no_option_of_a_call() -> None:
    task = App("shop", url="memory://").register_task(shop_task)
    with pytest.raises(ConfigError, match='"cron" is an option of a task'):
        task.options(cron="@daily")  # type: ignore[call-arg]


def test_a_broker_without_schedules_refuses_them_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    app = App("shop", url="memory://")
    monkeypatch.setattr("aiotask.brokers.by_scheme", lambda scheme: _Bare())
    with pytest.raises(ConfigError, match=r'A schedule .* needs a broker with the feature "schedules"'):
        app.register_task(shop_task, every=5)


class _Bare:
    features: frozenset[str] = frozenset()
    check_url = staticmethod(lambda parts: "")


# ---- at run time


async def test_what_is_set_runs_with_its_arguments_until_it_is_removed(app: App) -> None:
    ran: list[tuple[int, str]] = []

    @app.task
    async def report(customer: int) -> None:
        ran.append((customer, current_job().id))

    async with app, app.worker():
        await app.schedules.set("report-7", report.s(7), every=0.2)
        await wait_until_async(lambda: len(ran) >= 3, description="it has run three times")
        assert await app.schedules.remove("report-7")
        assert not await app.schedules.remove("report-7")
        assert [schedule async for schedule in app.schedules.list()] == []

    assert {customer for customer, _ in ran} == {7}
    assert len({id for _, id in ran}) == len(ran)
    assert all(id.startswith("run-") for _, id in ran)


async def test_a_schedule_that_cannot_be_declared_stops_no_other(app: App, caplog: pytest.LogCaptureFixture) -> None:
    ran: list[str] = []

    @app.task(name="broken", every=0.2, key=lambda: 1 // 0, unique="unfinished")
    async def broken() -> None: ...

    @app.task(name="sound", every=0.2)
    async def sound() -> None:
        ran.append(current_job().id)

    async with app, app.worker():
        await wait_until_async(lambda: ran, description="it has run")
    assert 'The schedule "broken" could not be declared' in caplog.text


async def test_a_worker_in_a_loop_declares_again_what_an_emptied_server_has_lost(
    own_server: PrivateServer, app_name: str
) -> None:
    app, ran = App(app_name, url=own_server.url), []

    @app.task(every=0.2)
    async def tick() -> None:
        ran.append(current_job().id)

    async with app, app.worker():
        await wait_until_async(lambda: ran, description="it has run")
        own_server.call("FLUSHALL")
        ran.clear()
        # Much sooner than the next declaration, which comes once a minute.
        await wait_until_async(lambda: ran, description="it has run again")


async def test_a_schedule_is_shown_paused_resumed_and_run_at_once(app: App) -> None:
    @app.task(queue="mail")
    async def report(customer: int) -> int:
        return customer

    async with app, app.worker():
        await app.schedules.set("report-7", report.s(7), cron="0 9 * * *", timezone="Asia/Tokyo")
        await wait_until_async(lambda: is_planned(app), description="the next run is known")
        (shown,) = [schedule async for schedule in app.schedules.list()]
        assert (shown.name, shown.task, shown.queue, shown.cron) == ("report-7", report.name, "mail", "0 9 * * *")
        assert shown.next_run is not None and (shown.next_run.hour, shown.next_run.minute) == (0, 0)
        assert (shown.runs, shown.last_run, shown.paused, shown.declared_by) == (0, None, None, "")

        await app.schedules.pause("report-7")
        (paused,) = [schedule async for schedule in app.schedules.list()]
        assert paused.paused is not None and paused.next_run is None
        assert await (await app.schedules.run_now("report-7")).wait(30) == 7
        await app.schedules.resume("report-7")
        await wait_until_async(lambda: is_planned(app), description="the next run is known again")

        for steer in (app.schedules.pause, app.schedules.resume, app.schedules.run_now):
            with pytest.raises(ConfigError, match='no schedule "report-8"'):
                await steer("report-8")


async def is_planned(app: App) -> bool:
    return all([schedule.next_run is not None async for schedule in app.schedules.list()])


async def test_pages_follow_each_other(app: App) -> None:
    task = app.register_task(shop_task)
    async with app:
        for number in range(7):
            await app.schedules.set(f"s{number}", task.s(number), every=1000 + number)
        names: list[str] = []
        while page := [schedule.name async for schedule in app.schedules.list(names[-1] if names else "", 3)]:
            names += page
    assert sorted(names) == [f"s{number}" for number in range(7)]


async def test_what_cannot_be_scheduled_is_refused_at_the_call(app: App) -> None:
    task = app.register_task(shop_task, name="shop:task")
    async with app:
        with pytest.raises(ConfigError, match="a task that sends it"):
            await app.schedules.set("a", group(task.s(1), task.s(2)), every=5)  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="follow-ups"):
            await app.schedules.set("a", task.s(1).on_success(task), every=5)
        with pytest.raises(ConfigError, match="cannot send a graph"):
            await app.schedules.set("a", task.s(task.s(1).cast), every=5)
        with pytest.raises(ConfigError, match=r'Schedule "a": delay= and a schedule'):
            await app.schedules.set("a", task.options(delay=5).s(1), every=5)
        with pytest.raises(ConfigError, match=r'Schedule "a": .*either cron='):
            await app.schedules.set("a", task.s(1))
        assert [schedule async for schedule in app.schedules.list()] == []


async def test_a_schedule_of_code_is_not_changed_at_run_time(app: App) -> None:
    task = app.register_task(shop_task, name="shop:task", every=1000)
    async with app, app.worker():
        await wait_until_async(lambda: is_declared(app), description="the worker has declared it")
        with pytest.raises(ConfigError, match="declared in the code of a worker"):
            await app.schedules.set("shop:task", task.s(1), every=5)


async def is_declared(app: App) -> bool:
    return [schedule.declared_by async for schedule in app.schedules.list()] == ["in-loop"]


async def test_middleware_runs_when_a_schedule_is_set_and_its_headers_travel_with_each_run(app_name: str) -> None:
    calls: list[str] = []

    class Tenant(Middleware):
        @contextlib.contextmanager
        def send(self, call: Call, /) -> Iterator[None]:
            calls.append(call.task)
            call.headers["tenant"] = "7"
            yield

    app = App(app_name, url="memory://", middleware=[Tenant()])
    ran: list[str] = []

    @app.task(name="shop:report", expires=30)
    async def report() -> None:
        ran.append(current_job().headers["tenant"])

    async with app, app.worker():
        await app.schedules.set("a", report.s(), every=0.2)
        await wait_until_async(lambda: len(ran) >= 3, description="it has run three times")

    assert set(ran) == {"7"}
    assert calls == ["shop:report"]


async def test_runs_with_a_key_are_unique_while_one_goes_on(app: App) -> None:
    @app.task(name="shop:sync", key="sync-{shop}", unique="unfinished")
    async def sync(shop: int) -> None: ...

    async with app:
        await app.schedules.set("a", sync.s(7), every=60)
        first = await app.schedules.run_now("a")
        assert first.id.startswith("00u") and first.id.endswith("-sync-7")
        assert (await app.schedules.run_now("a")).id == first.id
        assert sync.apply_async(7).id != first.id
        async with app.worker():
            await first
        assert (await app.schedules.run_now("a")).id != first.id


async def test_runs_keep_to_the_limit_of_their_task(app: App) -> None:
    running, most, ran = 0, 0, 0

    @app.task(name="shop:report", max_running=1)
    async def report(shop: int) -> None:
        nonlocal running, most, ran
        running, ran = running + 1, ran + 1
        most = max(most, running)
        await asyncio.sleep(0.05)
        running -= 1

    async with app, app.worker():
        for shop in range(3):
            await app.schedules.set(f"shop {shop}", report.s(shop), every=0.2)
        await wait_until_async(lambda: ran >= 9, description="it has run nine times")
    assert most == 1


async def test_runs_with_a_key_alone_are_one_job_while_its_outcome_is_kept(app: App) -> None:
    @app.task(name="shop:sync", key="sync-{shop}")
    async def sync(shop: int) -> None: ...

    async with app:
        await app.schedules.set("a", sync.s(7), every=60)
        assert (await app.schedules.run_now("a")).id == sync.apply_async(7).id


async def test_a_schedule_that_was_written_by_another_is_shown_as_unreadable_and_not_run(app: App) -> None:
    task = app.register_task(shop_task)
    stranger = App(app.name, url=app.url, secret="of a stranger")
    theirs = stranger.register_task(shop_task)
    async with app, stranger:
        await stranger.schedules.set("a", theirs.s(1), every=5)
        (shown,) = [schedule async for schedule in app.schedules.list()]
        assert "another secret" in shown.unreadable and (shown.task, shown.cron, shown.every) == ("", "", 0.0)
        # Who has the secret may take its place.
        await app.schedules.set("a", task.s(1), every=5)
        (shown,) = [schedule async for schedule in app.schedules.list()]
        assert not shown.unreadable and shown.every == 5.0


async def test_many_thousands_are_set_paged_and_steered(redis_url: str, app_name: str) -> None:
    app = App(app_name, url=redis_url, secret="of the app")
    app.register_task(shop_task)
    broker = schedules_of(connect(redis_url, app_name))
    try:
        from aiotask.parts.schedules import _Call, declaration

        definition = app.registry.get(next(iter(app.registry.names)))
        assert definition is not None
        spec = Spec(cron="0 0 1 1 *")
        for start in range(0, 5_000, 250):
            calls = [(f"s{n:05}", _Call(definition, (n,), {})) for n in range(start, start + 250)]
            await broker.set_schedules([declaration(app, name, spec, call) for name, call in calls])
        async with app:
            await app.schedules.pause("s00017")
            await app.schedules.set("s00018", app.s(definition.name, 1), every=1000)
            assert await app.schedules.remove("s00019")
            names = [schedule.name async for schedule in app.schedules.list(limit=10_000)]
        assert sorted(names) == [f"s{n:05}" for n in range(5_000) if n != 19]
        assert names[-1] == "s00017"
        state = await broker.schedule("s04999")
        assert state is not None
        assert Seals(["of the app"], app_name).open("s04999", state.sealed).spec == spec
    finally:
        await broker.close()
