"""What a task is made of: async or not, what it takes, and what others see in it."""

from __future__ import annotations

import asyncio
import functools
import inspect
import types
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import AsyncMock, create_autospec, patch

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from starlette.background import BackgroundTasks

from aiotask import App, AsyncTask, ConfigError, SerializationError, SyncTask

from .programs import Program
from .workers import Workers

app = App("callables", url="memory://")


async def double(x: int) -> int:
    return 2 * x


def plain(x: int) -> int:
    return 2 * x


def passes_on(function: Callable[..., Any]) -> Callable[..., Any]:
    """Synchronous, whatever it decorates."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def awaits(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return await function(*args, **kwargs)

    return wrapper


def runs(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return asyncio.run(function(*args, **kwargs))

    return wrapper


class AsyncCall:
    async def __call__(self, x: int) -> int:
        return 2 * x


@types.coroutine
def generator_to_await(x: int) -> Iterator[None]:
    yield from asyncio.sleep(0).__await__()
    return 2 * x


class SyncCall:
    def __call__(self, x: int) -> int:
        return 2 * x


CALLABLES: dict[str, tuple[Callable[..., Any], bool]] = {
    "coroutine function": (double, True),
    "function": (plain, False),
    "generator under types.coroutine": (generator_to_await, True),
    "object with async call": (AsyncCall(), True),
    "object": (SyncCall(), False),
    "partial of a coroutine function": (functools.partial(double, 3), True),
    "partial of a function": (functools.partial(plain, 3), False),
    "partial of an object with async call": (functools.partial(AsyncCall(), 3), True),
    "partial of a partial": (functools.partial(functools.partial(AsyncCall()), 3), True),
    "sync_to_async": (sync_to_async(plain), True),
    "partial of sync_to_async": (functools.partial(sync_to_async(plain), 3), True),
    "async_to_sync": (async_to_sync(double), False),
    "async wrapper": (awaits(double), True),
    "async wrapper of a function": (awaits(sync_to_async(plain)), True),
    "wrapper that runs it": (runs(double), False),
    "lambda": (lambda x: 2 * x, False),
    "builtin": (max, False),
}


@pytest.mark.parametrize("case", CALLABLES)
def test_a_task_is_async_if_calling_it_gives_a_coroutine(case: str) -> None:
    function, is_async = CALLABLES[case]

    task: Any = App("one", url="memory://").register_task(function, name="task")

    assert isinstance(task, AsyncTask if is_async else SyncTask)
    assert task.definition.is_async is is_async
    for asks in (inspect.iscoroutinefunction, asyncio.iscoroutinefunction):
        assert asks(task) is is_async
        assert asks(functools.partial(task, 1)) is is_async
        assert asks(task.__call__) is is_async
    assert task.func is task.__wrapped__ is function


@pytest.mark.parametrize("case", [case for case in CALLABLES if case not in ("builtin",)])
async def test_whatever_is_async_runs_to_its_end_in_a_worker(case: str) -> None:
    function, _ = CALLABLES[case]
    own = App(f"runs-{case.replace(' ', '-')}", url="memory://")
    task: Any = own.register_task(function, name="task")

    async with own.worker():
        result = task.apply_async(*(() if "partial" in case else (3,)))
        assert await result.wait(30) == 6


# ---- what others see


async def remember(x: int, *, seen: list[int]) -> None:
    seen.append(x)


remembers = app.task(remember)
counts = app.task(plain)


async def test_a_background_task_awaits_it() -> None:
    seen: list[int] = []
    tasks = BackgroundTasks()
    tasks.add_task(remembers, 1, seen=seen)

    await tasks()

    assert seen == [1]


async def test_a_mock_of_it_is_awaited() -> None:
    with patch(f"{__name__}.remembers") as fake:
        assert isinstance(fake, AsyncMock)
    with patch(f"{__name__}.remembers", autospec=True) as specified:
        await specified(1, seen=[])
    assert inspect.iscoroutinefunction(create_autospec(remembers))
    assert not inspect.iscoroutinefunction(create_autospec(counts))
    assert create_autospec(counts)(1) is not None


async def test_its_signature_name_and_annotations_are_those_of_the_function() -> None:
    assert inspect.signature(remembers) == inspect.signature(remember)
    assert (remembers.__name__, remembers.__doc__) == ("remember", remember.__doc__)  # type: ignore[attr-defined]
    assert inspect.get_annotations(remembers) == inspect.get_annotations(remember)
    coroutine = remembers(1, seen=[])
    assert inspect.iscoroutine(coroutine)
    await coroutine


def test_what_the_function_has_and_the_task_has_not_is_hinted_at() -> None:
    cached: Any = App("hints", url="memory://").task(functools.lru_cache(plain))

    with pytest.raises(
        AttributeError, match=r'"SyncTask" has no attribute "cache_clear". The function has it: .func.cache'
    ):
        cached.cache_clear()
    cached.func.cache_clear()
    with pytest.raises(AttributeError, match=r'has no attribute "nothing"\.$'):
        cached.nothing  # noqa: B018 - the access is what is tested


# ---- what was not awaited


class Later:
    """Can be awaited, and cannot be serialized."""

    def __await__(self) -> Any:
        yield

    def __reduce__(self) -> Any:
        raise TypeError("cannot pickle it")


forgets = App("forgets", url="memory://")


@forgets.task
async def forgot() -> Any:
    return double(1)


@forgets.task
def forgot_in_a_function() -> Any:
    return double(1)


@forgets.task
async def forgot_an_object() -> Any:
    return Later()


wrapped = forgets.register_task(passes_on(double), name="wrapped")


@pytest.mark.parametrize(
    ("task", "args", "message"),
    [
        (forgot, (), "returned a coroutine: await it, or make the task `async def`."),
        (forgot_in_a_function, (), "returned a coroutine: await it, or make the task `async def`."),
        (forgot_an_object, (), r"returned an awaitable \(Later\): await it in the task"),
        (
            wrapped,
            (1,),
            r"the wrapper that a decorator made of it \(passes_on.<locals>.wrapper\) is not. Make that wrapper `async",
        ),
    ],
)
@pytest.mark.filterwarnings("error")
async def test_a_task_that_returns_what_it_should_have_awaited_is_told_so(
    task: Any, args: tuple[Any, ...], message: str
) -> None:
    async with forgets.worker():
        with pytest.raises(SerializationError, match=message):
            await task.apply_async(*args).wait(30)


# ---- what it takes


def gives_connection(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function("connection", *args, **kwargs)

    return wrapper


def takes_more(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, verbose: bool = False, **kwargs: Any) -> Any:
        return function(*args, **kwargs), verbose

    return wrapper


def exact(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(x: Any) -> Any:
        return function("connection", x)

    return wrapper


def store(connection: str, x: int = 0) -> tuple[str, int]:
    return connection, x


takes = App("takes", url="memory://")
injected = takes.register_task(gives_connection(store), name="injected")
more = takes.register_task(takes_more(store), name="more")
exactly = takes.register_task(exact(store), name="exactly")
outermost = takes.register_task(passes_on(gives_connection(store)), name="outermost")


@pytest.mark.parametrize(
    ("task", "args", "kwargs"),
    [
        (injected, (1,), {}),
        (injected, (), {"x": 1}),
        (injected, (), {}),
        (outermost, (1,), {}),
        (more, ("connection",), {"verbose": True}),
        (more, ("connection", 1), {}),
        (exactly, (1,), {}),
    ],
)
async def test_a_call_that_works_here_works_when_it_is_sent(
    task: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    async with takes.worker():
        assert await task.apply_async(*args, **kwargs).wait(30) == task(*args, **kwargs)
        assert await task.s(*args, **kwargs).apply_async().wait(30) == task(*args, **kwargs)


def test_what_fits_neither_the_decorator_nor_the_function_is_refused_before_it_is_sent() -> None:
    with pytest.raises(TypeError, match=r'Task "exactly": store\(\) takes 1 positional argument but 3 were given'):
        exactly.apply_async(1, 2, 3)


def test_a_signature_that_a_decorator_declares_is_what_counts() -> None:
    declared = passes_on(store)
    declared.__signature__ = inspect.signature(lambda x: x)  # type: ignore[attr-defined]
    task = App("declared", url="memory://").register_task(declared, name="declared")

    with pytest.raises(TypeError, match="takes 1 positional argument but 2 were given"):
        task.apply_async(1, 2)


# ---- what is no task


class Shop:
    @staticmethod
    def static(x: int) -> None: ...

    def method(self) -> None: ...

    def other(this, x: int) -> None: ...


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (Shop.__dict__["static"], '"Shop.static" is defined inside a class, and a task is a function of a module'),
        (Shop.static, '"Shop.static" is defined inside a class'),
        (Shop.method, '"Shop.method" is a method, and a worker would have no object to call it on'),
        (Shop().method, '"Shop.method" is a method'),
    ],
)
def test_what_cannot_be_a_task_is_refused_with_the_true_reason(function: Any, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        App("refuses", url="memory://").register_task(function, name="task")


TRAVELS = """
import json, os
from aiotask import App
app = App(os.environ["TEST_APP"])
class Fetch:
    async def __call__(self, x):
        return x
fetch = app.register_task(Fetch(), name="fetch")
def connected(function):
    import functools
    @functools.wraps(function)
    async def wrapper(*args):
        return await function("connection", *args)
    return wrapper
@app.task
@connected
async def store(connection, x):
    return [connection, x]
if __name__ == "__main__":
    print(json.dumps([fetch.apply_async(2).get(timeout=60), store.apply_async(2).get(timeout=60)]))
"""


def test_forked_workers_run_them_too(workers: Workers, tmp_path: Any) -> None:
    program = Program(tmp_path, workers, {"shop.py": TRAVELS})
    program.serve("shop")

    assert program.run("shop.py") == [2, ["connection", 2]]
