"""The providers that are open as long as a worker is."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

from ..depends import Injection
from ..functions.injected import name_of
from ..loops.agent import agent
from ..loops.async_block import async_block
from ..wire.error_form import text_of
from .exits import AsyncExits
from .provide import AsyncProviders
from .scope import Scope
from .surroundings import Served

__all__ = ["Lifespan", "opened_lifespan"]

logger = logging.getLogger("aiotask.worker")

#: Seconds of opening after which the log says so, and between two such lines.
SLOW = 5.0
#: Seconds that all providers together have for closing.
CLOSE_TIMEOUT = 10.0


class Lifespan:
    """Opens the providers in their order, and closes them in reverse; both in one asyncio task.

    Args:
        scope: where the jobs find their values.
    """

    def __init__(self, injection: Injection | None, scope: Scope) -> None:
        self._injection = injection
        self._scope = scope
        self._opening = ""
        self._opened = asyncio.Event()
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Return when all are open.

        Raises:
            Exception: of a provider, after those before it were closed.
        """
        if self._injection is None or not self._injection.parameters:
            return
        self._task = agent(self._live(self._injection))
        opened = agent(self._opened.wait())
        try:
            while not self._opened.is_set() and not self._task.done():
                done, _ = await asyncio.wait((opened, self._task), timeout=SLOW, return_when=asyncio.FIRST_COMPLETED)
                if not done:
                    logger.warning("%s of the lifespan is still being opened.", self._opening)
        except asyncio.CancelledError:
            self._task.cancel()
            await asyncio.wait((self._task,))
            raise
        finally:
            opened.cancel()
        if not self._opened.is_set():
            self._task.result()

    async def close(self) -> None:
        """Close what is open; after 10 seconds, cancel the close that is under way, and close the others.

        Raises:
            Exception: of a provider, after all were closed.
        """
        task = self._task
        if task is None:
            return
        self._closing.set()
        done, _ = await asyncio.wait((task,), timeout=CLOSE_TIMEOUT)
        if not done:
            logger.error("The lifespan took longer than %.0f s to close, and is cancelled.", CLOSE_TIMEOUT)
            task.cancel()
            done, _ = await asyncio.wait((task,), timeout=1.0)
        if done and not task.cancelled():
            task.result()

    async def _live(self, injection: Injection) -> None:
        exits = AsyncExits()
        error: BaseException | None = None
        try:
            await self._open(injection, AsyncProviders(injection, Scope(), exits))
            self._opened.set()
            await self._closing.wait()
        except BaseException as raised:
            error = raised
            if self._opened.is_set():
                logger.error("The lifespan of the worker ends early: %s: %s", type(error).__name__, text_of(error))
        self._scope.values.clear()
        ended = await exits.close(error)
        if ended is not None:
            raise ended

    async def _open(self, injection: Injection, providers: AsyncProviders) -> None:
        for provider in injection.parameters.values():
            # A test that has replaced it wants no connection.
            if provider not in injection.overrides:
                self._opening = name_of(provider)
                self._scope.values[provider] = await providers.value(provider)


@async_block
async def opened_lifespan(served: Served) -> AsyncIterator[None]:
    """A block in which the providers that a worker is to have are open."""
    lifespan = Lifespan(served.lifespan, served.scope)
    await lifespan.open()
    try:
        yield
    finally:
        await lifespan.close()
