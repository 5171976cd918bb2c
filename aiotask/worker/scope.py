"""What the jobs of one worker share: the values of the lifespan, and the event loop for async providers."""

from __future__ import annotations

import asyncio
from typing import Any

from ..functions.injected import Provider

__all__ = ["Scope"]


class Scope:
    """The surroundings in which one worker opens the providers of its jobs.

    Attributes:
        values: of the providers that are open as long as the worker is.
        loop: the worker's event loop; None: it does not run yet.
    """

    def __init__(self) -> None:
        self.values: dict[Provider, Any] = {}
        self.loop: asyncio.AbstractEventLoop | None = None
