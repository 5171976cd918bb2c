"""Limited jobs as callers see them, on each broker that has limits, with a worker in this process."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest

import aiotask
from aiotask import App, ConfigError, Limit, Retry, Status, chain, group
from aiotask.brokers import connect, inspect
from aiotask.job import RELEASE, decode_job
from aiotask.wire.seal import Sealer

from .helpers import wait_until_async

SECRET = "x" * 32


@pytest.fixture
def url(broker_url: str, app_name: str) -> str:
    # In memory, the apps of one URL share their jobs.
    return f"memory://{app_name}" if broker_url == "memory://" else broker_url


@pytest.fixture
async def app(url: str, app_name: str) -> AsyncIterator[App]:
    app = App(app_name, url=url, secret=SECRET)
    async with app:
        yield app


class Gauge:
    """Counts what runs, in all and by key."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.running = 0
        self.now: Counter[str] = Counter()
        self.most, self.most_each = 0, 0
        self.began: list[str] = []

    @contextmanager
    def run(self, key: str = "") -> Iterator[None]:
        with self._lock:
            self.running += 1
            self.now[key] += 1
            self.most = max(self.most, self.running)
            self.most_each = max(self.most_each, self.now[key])
            self.began.append(key)
        try:
            yield
        finally:
            with self._lock:
                self.running -= 1
                self.now[key] -= 1


@pytest.fixture
def gauge() -> Gauge:
    return Gauge()


async def test_max_running_holds_for_sync_and_async_tasks(app: App, gauge: Gauge) -> None:
    shared = Limit("shared", max_running=2)

    @app.task(limit=shared)
    def in_thread(n: int) -> int:
        with gauge.run():
            time.sleep(0.002)
        return n

    @app.task(limit=shared)
    async def in_loop(n: int) -> int:
        with gauge.run():
            await asyncio.sleep(0.002)
        return n

    async with app.worker(concurrency=4):
        results = [task.apply_async(n) for n in range(20) for task in (in_thread, in_loop)]
        assert await aiotask.gather(results) == [n for n in range(20) for _ in range(2)]
    assert gauge.most == 2


async def test_jobs_of_a_key_start_in_the_order_sent_and_keys_take_turns(app: App, gauge: Gauge) -> None:
    order: dict[str, list[int]] = {}

    @app.task(limit=Limit(by="tenant", max_running_each=1))
    async def render(tenant: str, n: int) -> None:
        with gauge.run(tenant):
            order.setdefault(tenant, []).append(n)
            await asyncio.sleep(0)

    results = [render.apply_async("long", n) for n in range(60)]
    results += [render.apply_async("short", n) for n in range(5)]
    await app.flush()
    async with app.worker():
        await aiotask.gather(results)
    assert order == {"long": list(range(60)), "short": list(range(5))}
    assert gauge.most_each == 1
    # The short one does not wait behind the 60.
    assert "short" in gauge.began[:10]


async def test_a_rate_holds_from_the_first_job_on(app: App) -> None:
    starts: list[float] = []

    @app.task(rate="100/s")
    async def call(n: int) -> None:
        starts.append(time.monotonic())

    results = [call.apply_async(n) for n in range(31)]
    await app.flush()
    async with app.worker():
        await aiotask.gather(results)
    # 31 starts at 100/s with a burst of 5: the last one 0.26 s after the first one, or later.
    assert starts[-1] - starts[0] >= (31 - 5) / 100 - 0.06


async def test_graphs_groups_maps_and_signatures_are_limited(app: App, gauge: Gauge) -> None:
    @app.task(max_running=1)
    async def add(a: int, b: int = 1) -> int:
        with gauge.run():
            await asyncio.sleep(0.001)
        return a + b

    async with app.worker():
        assert await chain(add.s(1), add, add).apply_async() == 4
        assert await group([add.s(n) for n in range(5)]).apply_async() == [1, 2, 3, 4, 5]
        assert await add.map(range(6)) == [1, 2, 3, 4, 5, 6]
        assert await add.map(range(6), chunk=2) == [1, 2, 3, 4, 5, 6]
        assert await add.s(5).apply_async() == 6
    assert gauge.most == 1


async def test_a_call_by_name_is_put_into_its_line_by_the_worker(app: App, url: str, gauge: Gauge) -> None:
    @app.task(name="shop:render", limit=Limit(by="tenant", max_running_each=1))
    def render(tenant: str, n: int) -> int:
        with gauge.run(tenant):
            time.sleep(0.002)
        return n

    @app.task(name="shop:name")
    def name() -> str:
        return "acme"

    stranger = App(app.name, url=url, secret=SECRET)
    async with stranger, app.worker(concurrency=4):
        calls = [stranger.s("shop:render", "acme", n=n) for n in range(8)]
        # The worker knows the key of this one when the values are there that it takes.
        calls.append(stranger.s("shop:render", stranger.s("shop:name").cast, n=8))
        assert [await result for result in [call.apply_async() for call in calls]] == list(range(9))
    assert gauge.most_each == 1


async def test_limit_and_key_are_sealed_in_the_job(app: App) -> None:
    @app.task(limit=Limit("api", by="tenant"))
    def render(tenant: str) -> None: ...

    result = render.apply_async("acme")
    await result.sent()
    broker = connect(app.url, app.name)
    info = await inspect(broker).job(result.id)
    assert info is not None and info.sealed is not None
    job = decode_job(Sealer([SECRET], "job").open(info.sealed))
    assert job.more is not None and job.more.limit == "api:acme"
    assert (job.version, info.status) == (RELEASE, Status.PENDING)
    assert info.position.startswith("l:default:5:api:acme|")
    await broker.close()


async def test_a_sender_declares_the_limit_of_its_first_job(app: App) -> None:
    stripe = Limit("stripe", rate="100/s")

    @app.task(limit=stripe)
    def charge() -> None: ...

    await charge.apply_async().sent()
    broker = connect(app.url, app.name)

    async def declared() -> bool:
        infos = await inspect(broker).limits()  # type: ignore[attr-defined]
        return [info.spec for info in infos] == [stripe.spec]

    await wait_until_async(declared, description="the limit is declared")
    await broker.close()


async def test_a_worker_in_a_program_changes_the_numbers_that_it_has_declared(app: App, url: str) -> None:
    async def declared_by(numbers: int) -> int:
        other = App(app.name, url=url, secret=SECRET)

        @other.task(limit=Limit("api", max_running=numbers))
        def render() -> None: ...

        broker = connect(url, app.name)

        async def max_running() -> int:
            infos = await inspect(broker).limits()  # type: ignore[attr-defined]
            return next((info.spec.max_running for info in infos if info.spec), 0)

        async with other, other.worker():

            async def is_declared() -> bool:
                return await max_running() == numbers

            await wait_until_async(is_declared, description=f"{numbers} is declared")
        found = await max_running()
        await broker.close()
        return found

    assert await declared_by(3) == 3
    assert await declared_by(5) == 5


async def test_a_retry_with_its_limit_holds_the_others(app: App) -> None:
    began: list[tuple[int, float]] = []

    @app.task(max_running=1, retries=1)
    async def call(n: int) -> None:
        began.append((n, time.monotonic()))
        if len(began) == 1:
            raise Retry("429", delay=0.5, limit=True)

    results = [call.apply_async(n) for n in range(3)]
    await app.flush()
    async with app.worker():
        await aiotask.gather(results)
    assert sorted(n for n, _ in began) == [0, 0, 1, 2]
    assert all(at - began[0][1] >= 0.5 - 0.05 for _, at in began[1:])


async def test_a_plain_retry_lets_the_others_go_on(app: App) -> None:
    began: list[int] = []

    @app.task(max_running=1, retries=1)
    async def call(n: int) -> None:
        began.append(n)
        if len(began) == 1:
            raise Retry("later", delay=0.3)

    results = [call.apply_async(n) for n in range(3)]
    await app.flush()
    async with app.worker():
        await aiotask.gather(results)
    assert began == [0, 1, 2, 0]


@pytest.mark.parametrize("how", ["await", "gather", "group", "map", "chain", "wait"])
async def test_a_job_does_not_wait_for_the_slot_that_it_holds(app: App, how: str) -> None:
    @app.task(name="shop:work", max_running=1)
    async def work(depth: int = 0) -> int:
        if depth:
            match how:
                case "await":
                    await work.apply_async()
                case "gather":
                    await aiotask.gather([work.apply_async()])
                case "group":
                    await group([work.s(), work.s()]).apply_async()
                case "map":
                    await work.map([0, 0])
                case "chain":
                    await chain(work.s(), show).apply_async()
                case "wait":
                    await work.apply_async().wait(10)
        return depth

    @app.task
    async def show(value: int) -> int:
        return value

    async with app.worker():
        with pytest.raises(ConfigError, match="would wait for itself: it holds the only slot"):
            await work.apply_async(1)


@pytest.mark.parametrize("how", ["iterate", "items", "await", "progress"])
async def test_a_job_does_not_read_what_waits_for_the_slot_that_it_holds(app: App, how: str) -> None:
    limit = Limit("press", max_running=1)

    @app.task(name="shop:pages", limit=limit)
    async def pages() -> AsyncIterator[int]:
        yield 1

    @app.task(name="shop:book", limit=limit)
    async def book() -> list[object]:
        stream = pages.apply_async()
        match how:
            case "iterate":
                return [page async for page in stream]
            case "items":
                return [page async for page in stream.items()]
            case "progress":
                return [each async for each in stream.progress()]
        return list(await stream)

    async with app.worker():
        with pytest.raises(ConfigError, match="would wait for itself: it holds the only slot"):
            await book.apply_async().wait(10)


async def test_a_job_may_wait_for_one_of_another_key(app: App, caplog: pytest.LogCaptureFixture) -> None:
    @app.task(limit=Limit(by="tenant", max_running_each=1, max_running=5))
    async def work(tenant: str, other: str = "") -> str:
        return await work.apply_async(other) if other else tenant

    async with app.worker():
        assert await work.apply_async("a", "b") == "b"
        assert "waits for job" in caplog.text and "of its own limit" in caplog.text
        with pytest.raises(ConfigError, match="would wait for itself"):
            await work.apply_async("a", "a")


async def test_a_job_that_returns_the_call_gives_its_slot_back(app: App) -> None:
    @app.task(max_running=1)
    async def fib(n: int) -> int:
        return n if n < 2 else total.s([fib.s(n - 1).cast, fib.s(n - 2).cast])  # type: ignore[return-value]

    @app.task
    async def total(values: list[int]) -> int:
        return sum(values)

    async with app.worker():
        assert await fib.apply_async(6) == 8


async def test_a_burst_ends_when_nothing_can_be_admitted_now(app: App) -> None:
    ran: list[int] = []

    @app.task(rate="1/h")
    async def hourly(n: int) -> None:
        ran.append(n)

    @app.task
    async def plain(n: int) -> None:
        ran.append(n)

    for n in range(3):
        hourly.apply_async(n)
    plain.apply_async(3)
    await app.flush()
    async with app.worker(burst=True) as worker:
        await asyncio.wait_for(worker.finished(), 30)
    assert sorted(ran) == [0, 3]


async def test_plain_jobs_go_on_beside_a_limit_that_is_full(app: App) -> None:
    gate = asyncio.Event()

    @app.task(max_running=1)
    async def hold() -> None:
        await gate.wait()

    @app.task
    async def plain(n: int) -> int:
        return n

    held = [hold.apply_async() for _ in range(5)]
    async with app.worker():
        assert await aiotask.gather([plain.apply_async(n) for n in range(50)]) == list(range(50))
        gate.set()
        await aiotask.gather(held)


async def test_a_limit_that_no_task_has_any_more_lets_its_jobs_go(app: App, url: str) -> None:
    @app.task(name="shop:render", limit=Limit("api", max_running=1))
    def render(n: int) -> int:
        return n

    results = [render.apply_async(n) for n in range(3)]
    await app.flush()
    later = App(app.name, url=url, secret=SECRET)
    later.register_task(render.func, name="shop:render")
    async with later, later.worker():
        assert await aiotask.gather(results) == [0, 1, 2]


async def test_a_worker_refuses_two_numbers_of_one_limit(app: App) -> None:
    @app.task(limit=Limit("api", max_running=1))
    def one() -> None: ...

    @app.task(limit=Limit("api", max_running=2))
    def other() -> None: ...

    with pytest.raises(ConfigError, match='limit "api" has other numbers'):
        async with app.worker():
            pass
