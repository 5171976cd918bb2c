"""The public surface as type checkers see it. Checked by mypy and pyright, never run.

A line with ``# type: ignore[code]`` must be an error of exactly this kind: strict mode reports an
ignore that nothing needs (``tests/test_types.py``).
"""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn, ParamSpec, TypeVar, assert_type

import aiotask
from aiotask import (
    App,
    AsyncResult,
    AsyncTask,
    Call,
    Depends,
    Interrupted,
    JobContext,
    Middleware,
    ResultDB,
    Signature,
    Status,
    SyncTask,
    Task,
    current_job,
)

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

app = App("kitchen", max_pending={"heavy": 1_000}, when_full="wait")


@dataclass
class Dish:
    name: str
    grams: int


# ---- every way to register


@app.task
def weigh(dish: Dish, precision: int = 1) -> float:
    return float(dish.grams // precision)


@app.task()
def slice_up(name: str, *, parts: int) -> list[str]:
    return [name] * parts


@app.task(retries=5, timeout=30)
async def roast(name: str, *, minutes: float = 20.0) -> Dish:
    return Dish(name, 100)


@app.task
async def double(grams: int) -> int:
    return grams * 2


@app.task(acks="early", queue="heavy", priority=0, result_ttl=60.0)
async def combine(left: int, right: int) -> int:
    return left + right


@app.task
def ring() -> None: ...


@app.task
async def find(name: str) -> Dish | None:
    return None


@app.task
def tally(*grams: int, **notes: str) -> dict[str, int]:
    return {}


@app.task
def anything(raw: str) -> Any:
    return raw


@app.task
def first(names: list[T], default: int = 0) -> T:
    return names[default]


@app.task
def same(thing: T) -> T:
    return thing


@app.task
async def first_async(names: Sequence[T]) -> T:
    return names[0]


@app.task
def refuse(reason: str) -> NoReturn:
    raise ValueError(reason)


def hurried(fn: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
    """A decorator that hides that the function is a coroutine function."""
    return fn


@app.task
@hurried
async def fry(name: str) -> Dish:
    return Dish(name, 1)


@app.task(retries=1)
@hurried
async def boil(name: str) -> Dish:
    return Dish(name, 1)


def plain(grams: int) -> str:
    return str(grams)


registered = app.register_task(plain, name="kitchen:plain")


def kinds() -> None:
    sync_task: SyncTask[..., float] = weigh
    async_task: AsyncTask[[int], int] = double
    tasks: list[Task[..., Any]] = [sync_task, async_task, registered, anything, refuse]
    assert_type(tasks[0].apply_async(), AsyncResult[Any])
    assert_type(registered(3), str)


# ---- run here


async def run_here() -> None:
    assert_type(weigh(Dish("leek", 3)), float)
    assert_type(ring.options(queue="bells"), SyncTask[[], None])
    coroutine: Coroutine[Any, Any, Dish] = roast("leek", minutes=3)
    assert_type(await coroutine, Dish)
    assert_type(await roast.options(timeout=1)("leek"), Dish)
    assert_type(weigh.options(queue="scales")(Dish("leek", 3), precision=2), float)


# ---- run there


async def run_there() -> None:
    handle = weigh.apply_async(Dish("leek", 3))
    assert_type(handle, AsyncResult[float])
    assert_type(handle.id, str)
    assert_type(await handle, float)
    assert_type(await handle.sent(), None)
    assert_type(await handle.wait(timeout=5.0), float)
    assert_type(handle.get(), float)
    assert_type(handle.get(timeout=1), float)
    assert_type(handle.blocking.sent(timeout=1), None)
    assert_type(handle.blocking.status(), Status)
    assert_type(await ring.apply_async(), None)
    assert_type(await fry.apply_async("leek"), Dish)
    assert_type(await boil.options(result_ttl=5, ignore_result=False).apply_async("leek"), Dish)
    assert_type(await handle.forget(), bool)
    assert_type(handle.blocking.forget(), bool)
    assert_type(await find.apply_async("leek"), Dish | None)
    assert_type(await tally.apply_async(1, 2, note="fresh"), dict[str, int])
    assert_type(await anything.apply_async("raw"), Any)
    assert_type(refuse.apply_async("no"), AsyncResult[Any])
    await first.apply_async([1, 2])
    await first.apply_async(["leek"], default=1)
    await first.options(queue="x").apply_async(["leek"], 1)
    await same.apply_async(Dish("leek", 1))
    await first_async.apply_async([1, 2])
    options = roast.options(queue="oven", delay=2, retries=1, timeout=None, priority=9, key="leek", id="leek-1")
    assert_type(await options.apply_async("leek", minutes=2.5), Dish)
    key: str | None = None
    assert_type(await roast.options(key=key).apply_async("leek"), Dish)
    debounced = roast.options(key="k", delay=5, unique="pending", on_conflict="replace", max_wait=timedelta(minutes=1))
    assert_type(await debounced.apply_async("leek"), Dish)
    assert_type(await roast.options(key="k", unique=30.0, on_conflict="error").apply_async("leek"), Dish)


async def with_asyncio() -> None:
    names = ["leek", "kale"]
    assert_type(await asyncio.gather(*(roast.apply_async(name) for name in names)), list[Dish])
    grams, parts = await asyncio.gather(weigh.apply_async(Dish("leek", 3)), slice_up.apply_async("leek", parts=2))
    assert_type(grams, float)
    assert_type(parts, list[str])
    assert_type(await asyncio.wait_for(double.apply_async(2), 5), int)
    async with asyncio.TaskGroup() as group:
        child = group.create_task(double.apply_async(2).wait())
    assert_type(child.result(), int)


async def handles_on_known_ids() -> None:
    assert_type(weigh.result("some-id"), AsyncResult[float])
    assert_type(await roast.result("some-id").wait(5.0), Dish)
    assert_type(app.result("some-id"), AsyncResult[Any])


async def gathered(return_exceptions: bool) -> None:
    handles = [double.apply_async(n) for n in range(3)]
    assert_type(await aiotask.gather(handles), list[int])
    assert_type(await aiotask.gather(handles, return_exceptions=False), list[int])
    assert_type(await aiotask.gather(handles, return_exceptions=True), list[int | Exception])
    assert_type(await aiotask.gather(handles, return_exceptions=return_exceptions), list[int | Exception])
    await aiotask.gather(handles[0], handles[1])  # type: ignore[call-overload]
    assert_type(await double.apply_async(1).wait(timedelta(seconds=5)), int)
    assert_type(double.apply_async(1).get(timeout=timedelta(seconds=5)), int)
    double.apply_async(1).blocking.sent(timeout=timedelta(seconds=5))


# ---- calls that are not sent yet


async def signatures() -> None:
    total = combine.s(double.s(1).cast, double.s(2).cast)
    assert_type(total, Signature[int])
    assert_type(total.id, str)
    assert_type(total.cast, int)
    assert_type(total.apply_async(), AsyncResult[int])
    assert_type(await total.apply_async(), int)


# ---- history, and what a task sees at its limit


async def history() -> None:
    async with ResultDB("results.db") as db:
        for record in await db.fetch_all():
            assert_type(record.task, str)
    try:
        ring()
    except Interrupted as interrupted:
        assert_type(interrupted, Interrupted)


# ---- generic helpers keep the types


def send_later(task: Task[P, R], /, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]:
    return task.options(delay=60.0).apply_async(*args, **kwargs)


async def through_a_helper() -> None:
    assert_type(send_later(slice_up, "leek", parts=2), AsyncResult[list[str]])
    assert_type(await send_later(combine, 1, 2), int)
    send_later(combine, 1)  # type: ignore[call-arg]


# ---- what must be an error


async def mistakes() -> None:
    weigh.apply_async("leek")  # type: ignore[arg-type]
    weigh.apply_async()  # type: ignore[call-arg]
    slice_up.apply_async("leek")  # type: ignore[call-arg]
    roast.apply_async("leek", minute=3)  # type: ignore[call-arg]
    await roast(3)  # type: ignore[arg-type]
    combine.s(roast.s("leek").cast, 2)  # type: ignore[arg-type]
    weigh.options(retires=3)  # type: ignore[call-arg]
    weigh.options(queue=3)  # type: ignore[arg-type]
    app.task(retires=3)  # type: ignore[call-overload]
    app.task(acks="sooner")  # type: ignore[call-overload]
    App("kitchen", max_pending="many")  # type: ignore[arg-type]
    refuse.apply_async()  # type: ignore[call-arg]
    weigh.result(7)  # type: ignore[arg-type]
    await double.s(1)  # type: ignore[misc]


# ---- middleware and what a worker provides


class Pool:
    def query(self, sql: str) -> list[int]:
        return [len(sql)]


class Client:
    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None: ...


@asynccontextmanager
async def open_pool() -> AsyncGenerator[Pool, None]:
    yield Pool()


def make_client() -> Client:
    return Client()


async def fetch_token() -> str:
    return ""


def a_number() -> int:
    return 1


def session() -> Iterator[bytes]:
    yield b""


async def async_session() -> AsyncIterator[bytes]:
    yield b""


@contextmanager
def span(job: JobContext = Depends(current_job)) -> Generator[float, None, None]:
    yield 1.0


class Timing(Middleware):
    @contextmanager
    def send(self, call: Call, /) -> Generator[None, None, None]:
        call.headers["tenant"] = "a"
        assert_type(call.kwargs, dict[str, Any])
        yield

    @contextmanager
    def execute(self, job: JobContext, /) -> Generator[None, None, None]:
        assert_type(job.attempt, int)
        assert_type(job.headers, Mapping[str, str])
        yield

    def on_retry(self, job: JobContext, error: Exception, delay: float, /) -> None: ...

    async def on_finish(self, job: JobContext, status: str, error: Exception | None, /) -> None:
        assert_type(error, Exception | None)


class InLoop(Middleware):
    @asynccontextmanager
    async def execute(self, job: JobContext, /) -> AsyncGenerator[None, None]:
        yield


provided = App("provided", middleware=[Timing(), InLoop()], lifespan=[open_pool])
App("wrong", middleware=[open_pool])  # type: ignore[list-item]
App("wrong", lifespan=[a_number])  # type: ignore[list-item]


@provided.task
def load(
    key: str, pool: Pool = Depends(open_pool), http: Client = Depends(make_client), secret: str = Depends(fetch_token)
) -> list[int]:
    return pool.query(key)


@provided.task
async def timed(n: int, job: JobContext = Depends(current_job), began: float = Depends(span)) -> str:
    return job.task


@provided.task
def mistaken(pool: Client = Depends(open_pool)) -> None: ...  # type: ignore[assignment]


async def providing() -> None:
    assert_type(await load.apply_async("k"), list[int])
    assert_type(load("k", Pool(), Client(), "t"), list[int])
    assert_type(await timed.apply_async(1), str)
    assert_type(Depends(open_pool), Pool)
    assert_type(Depends(make_client), Client)
    assert_type(Depends(Client), Client)
    assert_type(Depends(fetch_token), str)
    assert_type(Depends(a_number), int)
    assert_type(Depends(session), bytes)
    assert_type(Depends(async_session), bytes)
    assert_type(Depends(span), float)
    with provided.override(open_pool, Pool()), provided.override(a_number, 5), provided.override(session, b""):
        pass
