"""What has been opened around a run, and is closed in reverse order."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, contextmanager
from inspect import isasyncgen, isawaitable, isgenerator
from typing import Any

__all__ = ["AsyncExits", "Exits", "chained", "enter", "is_for_a_loop", "open_in_loop"]

#: ``__exit__`` of a context manager, without its object.
Exit = Callable[[Any, Any, Any], Any]
AsyncExit = Callable[[Any, Any, Any], Awaitable[Any]]


def chained(new: BaseException, error: BaseException | None) -> BaseException:
    """The error of a close, which takes the place of the one before it; its context leads to that one."""
    seen: set[int] = set()
    each: BaseException | None = new
    last = new
    while each is not None and each is not error and id(each) not in seen:
        seen.add(id(each))
        last, each = each, each.__cause__ or each.__context__
    if each is None:
        with contextlib.suppress(Exception):  # a class may refuse to have attributes set
            last.__context__ = error
    return new


def _details(error: BaseException | None) -> tuple[Any, Any, Any]:
    """An error as ``__exit__`` takes it."""
    return (None, None, None) if error is None else (type(error), error, error.__traceback__)


#: Context managers of the parent process, kept alive in the copy: a generator that nothing refers to is closed.
_of_the_parent: list[object] = []


class Exits:
    """The context managers that a run has entered. An error that one of them catches remains the run's error.

    A process that the run forks leaves them to its parent: both would close the same connection.
    """

    def __init__(self) -> None:
        self._exits: list[Exit] = []
        self._pid = os.getpid()
        #: Add what closes a context manager that has just been entered.
        self.push = self._exits.append

    def close(self, error: BaseException | None) -> BaseException | None:
        """Close all, and return the error with which the run ends: that of the run, or what a close raised."""
        if os.getpid() != self._pid:
            _of_the_parent.append(self._exits)
            return error
        while self._exits:
            try:
                while self._exits:
                    self._exits.pop()(*_details(error))
            except BaseException as new:
                error = new if new is error else chained(new, error)
        return error


class AsyncExits:
    """The same for an asyncio task, where context managers of both kinds are entered."""

    def __init__(self) -> None:
        self._exits: list[tuple[bool, Exit | AsyncExit]] = []
        self._pid = os.getpid()

    def push(self, exit: Exit) -> None:
        self._exits.append((False, exit))

    def push_async(self, exit: AsyncExit) -> None:
        self._exits.append((True, exit))

    async def close(self, error: BaseException | None) -> BaseException | None:
        """As ``Exits.close``."""
        if os.getpid() != self._pid:
            _of_the_parent.append(self._exits)
            return error
        while self._exits:
            is_async, exit = self._exits.pop()
            try:
                done = exit(*_details(error))
                if is_async:
                    await done
            except BaseException as new:
                error = new if new is error else chained(new, error)
        return error


def enter(made: Any, push: Callable[[Exit], Any]) -> Any:
    """The value of what a sync provider returned: that of its context manager, entered, or itself."""
    if isgenerator(made):
        made = contextmanager(lambda: made)()
    kind = type(made)
    if not hasattr(kind, "__enter__") or not hasattr(kind, "__exit__"):
        return made
    value = kind.__enter__(made)
    push(lambda *error: kind.__exit__(made, *error))
    return value


def is_for_a_loop(made: Any) -> bool:
    """Whether an event loop is needed for the value of what a provider returned."""
    return isasyncgen(made) or hasattr(type(made), "__aenter__") or (isawaitable(made) and not isgenerator(made))


async def open_in_loop(made: Any, exits: AsyncExits) -> Any:
    """The value of what a provider returned: entered or awaited, if it can be."""
    if isasyncgen(made):
        made = asynccontextmanager(lambda: made)()
    kind = type(made)
    if hasattr(kind, "__aenter__") and hasattr(kind, "__aexit__"):
        value = await kind.__aenter__(made)
        exits.push_async(lambda *error: kind.__aexit__(made, *error))
        return value
    if isawaitable(made) and not isgenerator(made) and not hasattr(kind, "__enter__"):
        return await made
    return enter(made, exits.push)
