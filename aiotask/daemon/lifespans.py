"""The lifespans of the apps of one worker process."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from ..app import App
from ..log.shown_error import without_ours
from ..wire.error_form import text_of
from ..worker.lifespan import Lifespan
from ..worker.scope import Scope

__all__ = ["Lifespans"]

logger = logging.getLogger("aiotask.worker")


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
        """Close what is open, the last one first; errors are logged."""
        while self._open:
            try:
                await self._open.pop().close()
            except BaseException as error:
                trace = type(error), error, without_ours(error.__traceback__)
                logger.error("Closing a lifespan failed: %s: %s", type(error).__name__, text_of(error), exc_info=trace)
