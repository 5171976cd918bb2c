"""How commands reach a broker without importing the code of an app."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiotask.errors import ConfigError

if TYPE_CHECKING:
    from aiotask import App
    from aiotask.broker import Inspector

__all__ = ["Connection", "find_url", "inspectors"]


@dataclass(frozen=True)
class Connection:
    """The read side of one app."""

    app: App
    inspector: Inspector


@asynccontextmanager
async def inspectors(name: str | None, url: str | None, *, fallback: str = "") -> AsyncIterator[list[Connection]]:
    """The read side of the named app, or of every app that left something on the server.

    Args:
        fallback: name to take when nothing is there yet.

    Raises:
        ConfigError: no server is named and the embedded one does not run.
        BrokerError: the server cannot be reached.
    """
    from aiotask import App
    from aiotask.brokers import namespaces

    address = find_url(url)
    found = [name] if name else await namespaces(address) or ([fallback] if fallback else [])
    async with AsyncExitStack() as stack:
        opened = []
        for each in found:
            app = App(each, url=address)
            opened.append(Connection(app, await stack.enter_async_context(app.inspector())))
        yield opened


def find_url(url: str | None) -> str:
    """The address given, or that of the embedded server if it runs: looking never starts one."""
    if url:
        return url
    raise ConfigError("No server")
