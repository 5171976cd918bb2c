"""The lifespans of the apps of one worker process, and the last words of its middleware."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence

from ..app import App
from ..log.shown_error import without_ours
from ..wire.error_form import text_of
from ..worker.lifespan import Lifespan
from ..worker.scope import Scope

__all__ = ["Lifespans"]

logger = logging.getLogger("aiotask.worker")

#: Seconds that ``on_exit`` of all middleware has.
EXIT_TIMEOUT = 2.0


class Lifespans:
    """Opened before the workers of the process start, and closed after they have ended.

    Attributes:
        by_app: each app, and where its worker finds what was opened.
    """

    def __init__(self, apps: Sequence[App]) -> None:
        self.by_app = [(app, Scope()) for app in apps]
        self._open: list[Lifespan] = []

    @property
    def is_empty(self) -> bool:
        """Whether nothing is to be opened."""
        return not any(app.lifespan.parameters for app, _ in self.by_app)

    async def open(self) -> str:
        """Open all; the reason if one of them failed, else empty."""
        for app, scope in self.by_app:
            lifespan = Lifespan(app.lifespan, scope)
            try:
                await lifespan.open()
            except BaseException as error:
                return f'The lifespan of app "{app.name}" failed: {type(error).__name__}: {text_of(error)}'
            self._open.append(lifespan)
        return ""

    async def close(self) -> None:
        """Close what is open, the last one first, then call ``on_exit`` of the middleware; errors are logged."""
        while self._open:
            try:
                await self._open.pop().close()
            except BaseException as error:
                trace = type(error), error, without_ours(error.__traceback__)
                logger.error("Closing a lifespan failed: %s: %s", type(error).__name__, text_of(error), exc_info=trace)
        await _take_leave([on_exit for app, _ in self.by_app for on_exit in app.hooks.on_exit])


async def _take_leave(hooks: Sequence[Callable[[], None]]) -> None:
    """Call these hooks in a thread, which does not keep the process from ending if they hang."""
    if not hooks:
        return
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def call_all() -> None:
        for hook in hooks:
            _call(hook)
        loop.call_soon_threadsafe(done.set)

    threading.Thread(target=call_all, name="middleware-exit", daemon=True).start()
    try:
        async with asyncio.timeout(EXIT_TIMEOUT):
            await done.wait()
    except TimeoutError:
        names = ", ".join(dict.fromkeys(_name(hook) for hook in hooks))
        logger.warning("The process ends before its middleware is done (%s), which took %g s.", names, EXIT_TIMEOUT)


def _call(hook: Callable[[], None]) -> None:
    try:
        hook()
    except BaseException as error:
        trace = type(error), error, without_ours(error.__traceback__)
        logger.error("%s failed: %s: %s", _name(hook), type(error).__name__, text_of(error), exc_info=trace)


def _name(hook: Callable[[], None]) -> str:
    return getattr(hook, "__qualname__", repr(hook))
