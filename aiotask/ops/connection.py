"""How tools reach the apps on a broker without importing the code of these apps."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from ..app import App
from ..broker import Broker
from ..brokers import connect, inspect, namespaces
from ..embedded import server as embedded
from ..errors import ConfigError
from ..inspector import Inspector

__all__ = ["Connection", "inspectors", "is_idle", "without_idle"]


@dataclass(frozen=True)
class Connection:
    """One app on its broker, with the inspector."""

    app: App
    inspector: Inspector
    broker: Broker


@asynccontextmanager
async def inspectors(name: str | None, url: str | None, *, fallback: str = "") -> AsyncIterator[list[Connection]]:
    """Connections to the named app, or to every app that has keys on the server.

    Args:
        fallback: name of the app to use when no app is on the server yet.

    Raises:
        ConfigError: no server is named and the embedded one does not run; reading never starts it.
        BrokerError: the server cannot be reached.
    """
    # An address that needs a secret is refused before anything is sent there.
    address = App(name or fallback or "default", url=url).url if url else _embedded_url()
    found = [name] if name else sorted(await namespaces(address))
    async with AsyncExitStack() as stack:
        opened = []
        for each in found or ([fallback] if fallback else []):
            opened.append(await stack.enter_async_context(_open(App(each, url=url))))
        yield opened


@asynccontextmanager
async def _open(app: App) -> AsyncIterator[Connection]:
    broker = connect(app.url, app.name)
    try:
        await broker.open()
        yield Connection(app, inspect(broker), broker)
    finally:
        await broker.close()


def _embedded_url() -> str:
    server = embedded.status()
    if server is None:
        raise ConfigError(
            "No server is named, and the embedded server is not running. Give --url or set AIOTASK_URL, "
            "or start the embedded server: aiotask server start."
        )
    return server.url


async def is_idle(connection: Connection) -> bool:
    """Whether this app has neither a live worker, nor jobs, nor dead letters: only its name is on the server."""
    if await connection.inspector.workers():
        return False
    queues = await connection.inspector.queues()
    return not any(each.pending + each.running + each.scheduled + each.parked + each.dead for each in queues)


async def without_idle(opened: list[Connection]) -> tuple[list[Connection], list[str]]:
    """The apps worth showing, and the names of the others; one app alone is shown whatever it holds."""
    if len(opened) < 2:
        return opened, []
    idle = [each for each in opened if await is_idle(each)]
    return [each for each in opened if each not in idle], [each.app.name for each in idle]
