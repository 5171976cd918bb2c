"""Connections that stay open, for faces that look again and again; what they read is kept for a moment."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any, TypeVar

from ..app import App
from ..errors import AiotaskError, ConfigError
from ..inspector import Stats
from .connection import Connection, Place, apps_at, hidden_by, open_app, rows_in

__all__ = ["Connections"]

T = TypeVar("T")
#: Seconds after which apps are looked for that were not there before.
_LOOK_AGAIN = 10.0
#: Seconds for which counts are kept: however many look, the server counts once.
STATS_KEPT = 2.0


class Connections:
    """The apps at a place, or one app of this process, in one event loop.

    Args:
        place: where to look, and which app; None: ``app`` alone.
        app: an app of this process, with its own secret.
        hide: further parts of names of arguments that are shown as dots.
    """

    def __init__(self, place: Place | None = None, app: App | None = None, hide: Collection[str] = ()) -> None:
        self._place = place
        self._app = app
        self._hide = hide
        self._stack = AsyncExitStack()
        self._opened: dict[str, Connection] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = asyncio.Lock()
        self._next_look = 0.0
        #: The apps to which something was done, so that what the server keeps for all who look is old.
        self._acted: set[str] = set()
        self._kept: dict[tuple[str, str], tuple[float, asyncio.Future[Any]]] = {}

    async def all(self) -> list[Connection]:
        """The connections, by the names of their apps.

        Raises:
            AiotaskError: nothing can be reached, or no server is named.
        """
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            # The sockets of another loop cannot be used, nor closed, here.
            self._loop, self._lock, self._stack, self._kept = loop, asyncio.Lock(), AsyncExitStack(), {}
            self._opened, self._next_look = {}, 0.0
        if time.monotonic() >= self._next_look:
            async with self._lock:
                if time.monotonic() >= self._next_look:
                    await self._look()
                    self._next_look = time.monotonic() + (_LOOK_AGAIN if self._opened else 0.0)
        return [self._opened[label] for label in sorted(self._opened)]

    async def _look(self) -> None:
        try:
            apps = [self._app] if self._app is not None else await self._apps()
        except AiotaskError:
            if not self._opened:
                raise
            # What is open is asked all the same: it says better what is wrong.
            return
        for app in apps:
            if app.name in self._opened:
                known = self._opened[app.name]
                # A server that has gone meanwhile fails the next question, whose error says what is wrong with it.
                with contextlib.suppress(AiotaskError):
                    self._add(replace(known, hidden=await hidden_by(app, known.broker)))
            else:
                self._add(await self._stack.enter_async_context(open_app(app)))
        place = self._place
        if place is not None and place.database and not any(each.app is None for each in self._opened.values()):
            for each in await self._stack.enter_async_context(rows_in(place.database, place.name)):
                self._add(each)

    async def _apps(self) -> list[App]:
        assert self._place is not None
        return await apps_at(self._place, "") if self._place.has_broker else []

    def _add(self, connection: Connection) -> None:
        hidden = connection.hidden.with_words(self._hide)
        self._opened[connection.label] = replace(connection, hidden=hidden)

    async def close(self) -> None:
        if self._loop is asyncio.get_running_loop():
            await self._stack.aclose()
        self._opened, self._next_look = {}, 0.0

    # ---- what is read

    async def kept(self, connection: Connection, what: str, seconds: float, read: Callable[[], Awaitable[T]]) -> T:
        """What ``read`` has given within the last seconds; it is called once, however many ask at the same time.

        Args:
            what: names what is read.
        """
        key = (connection.label, what)
        found = self._kept.get(key)
        if found is None or found[0] <= time.monotonic():
            task = asyncio.ensure_future(read())
            # While it is being read it does not age.
            found = (float("inf"), task)
            self._kept[key] = found
            task.add_done_callback(lambda done: self._keep(key, done, seconds))
        value: T = await asyncio.shield(found[1])
        return value

    def _keep(self, key: tuple[str, str], task: asyncio.Future[Any], seconds: float) -> None:
        if task.cancelled() or task.exception() is not None:
            self._kept.pop(key, None)
        else:
            self._kept[key] = (time.monotonic() + seconds, task)

    async def stats(self, connection: Connection) -> Stats:
        """Counts of everything, which are 2 s old at most; those after an action are new."""
        if connection.label in self._acted:
            self._acted.discard(connection.label)
            return await self.kept(connection, "stats", STATS_KEPT, lambda: connection.inspector.stats(0.0))
        return await self.kept(connection, "stats", STATS_KEPT, lambda: connection.inspector.stats(STATS_KEPT))

    def forget(self, connection: Connection) -> None:
        """Read everything of an app anew, since something was done to it."""
        self._acted.add(connection.label)
        self._kept = {key: found for key, found in self._kept.items() if key[0] != connection.label}

    async def named(self, label: str) -> Connection:
        """The connection with this label; empty: the first one.

        Raises:
            ConfigError: there is none.
        """
        opened = await self.all()
        if not opened:
            raise ConfigError(
                "No app has used this server yet. Start a worker (aiotask worker your.module) or send a job."
            )
        for each in opened:
            if label in ("", each.label):
                return each
        raise ConfigError(f'There is no app "{label[:200]}" here. Apps: {", ".join(each.label for each in opened)}.')
