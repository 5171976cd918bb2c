"""Tasks that raise, return and do what no task should, on two apps: one pickles, one speaks JSON."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from typing import Any, NoReturn

from aiotask import App, Retry

app = App(os.environ["TEST_APP"])
json_app = App(f"{os.environ['TEST_APP']}-json", serializer="json")


class NoText(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class NoReduce(Exception):
    def __reduce__(self) -> NoReturn:
        raise RuntimeError("no reduce")


class TwoArguments(Exception):
    """Pickles, and does not unpickle: it is called with one argument then."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")

    def __reduce__(self) -> tuple[Any, ...]:
        return TwoArguments, (str(self),)


class HoldsALock(Exception):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


def _leave() -> NoReturn:
    raise SystemExit(3)


class LeavesOnLoading(Exception):
    def __reduce__(self) -> tuple[Any, ...]:
        return _leave, ()


_RAISED: dict[str, Callable[[], BaseException]] = {
    "surrogate": lambda: ValueError("half a pair: \ud800"),
    "no_text": NoText,
    "no_reduce": lambda: NoReduce("a reason"),
    "two_arguments": lambda: TwoArguments(1, 2),
    "holds_a_lock": lambda: HoldsALock("a reason"),
    "leaves_on_loading": lambda: LeavesOnLoading("a reason"),
    "exit": lambda: SystemExit(3),
    "interrupt": KeyboardInterrupt,
    "generator_exit": GeneratorExit,
    "stop_iteration": lambda: StopIteration(3),
    "stop_async_iteration": StopAsyncIteration,
    "cancelled": asyncio.CancelledError,
    "group": lambda: ExceptionGroup("several", [ValueError(1), KeyError("two")]),
}
KINDS = sorted(_RAISED)


@app.task
def fail(kind: str) -> NoReturn:
    raise _RAISED[kind]()


@app.task
async def afail(kind: str) -> NoReturn:
    raise _RAISED[kind]()


@app.task
def fail_in_a_strange_file() -> None:
    exec(compile("raise KeyError('here')", "\udcff.py", "exec"), {"__name__": None})


@app.task
def recurse(depth: int = 0) -> int:
    return recurse(depth + 1)


@app.task
def echo(value: Any = None) -> Any:
    return value


@app.task
def size(data: bytes) -> int:
    return len(data)


@app.task
def give(what: str) -> Any:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    return {"lock": threading.Lock(), "deep": deep, "frame": sys._getframe(), "itself": give, "half": "\ud800"}[what]


@app.task
async def agive(what: str) -> Any:
    return {"lock": threading.Lock(), "none": None}[what]


@app.task
def pid() -> int:
    return os.getpid()


@app.task
def close_stdout() -> None:
    sys.stdout.close()
    print("nobody reads this")


@app.task
def ask() -> str:
    return input("your name? ")


@app.task
def read_all() -> str:
    return sys.stdin.read()


@app.task
def die(code: int) -> None:
    os._exit(code)


@app.task
async def stop_the_loop() -> None:
    asyncio.get_running_loop().stop()
    await asyncio.sleep(60)


def _broken_backoff(failures: int) -> float:
    raise RuntimeError("no backoff today")


_seen: list[int] = []


@app.task(retries=1, backoff=_broken_backoff)
def fail_once() -> int:
    _seen.append(1)
    if len(_seen) < 2:
        raise ValueError("the first time")
    return len(_seen)


@app.task(retries=1)
def retry_in_the_past() -> None:
    raise Retry(delay=-1)


@app.task
def nap(seconds: float) -> float:
    threading.Event().wait(seconds)
    return seconds


@json_app.task
def add(a: int, b: int = 1) -> int:
    return a + b


@json_app.task
def wrong_return(a: int) -> int:
    return f"{a}"  # type: ignore[return-value]


@json_app.task
def anything(value: Any) -> Any:
    return value


@json_app.task
def raise_own() -> None:
    raise NoReduce("a reason")
