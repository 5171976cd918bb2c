"""How tools reach the apps on a broker, and rows in a database, without importing the code of these apps."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import msgspec

from ..app import App
from ..broker import Broker
from ..brokers import connect, features, hides_of, inspect, namespaces
from ..brokers.hides import decode_hidden
from ..brokers.sql import connect as connect_rows
from ..brokers.sql.address import DatabaseAddress, shown_address, with_timeout
from ..brokers.sql.facts import RowFacts
from ..brokers.technology import HIDES
from ..embedded import server as embedded
from ..errors import BrokerError, ConfigError
from ..inspector import Inspector
from ..parts.hiding import words_hidden
from ..values.hidden import Hidden

__all__ = ["Connection", "Place", "apps_at", "inspectors", "is_idle", "open_app", "reach", "rows_in", "without_idle"]


@dataclass(frozen=True)
class Place:
    """Where a command looks, as the user has named it.

    Attributes:
        name: of one app; None: every app found there.
        url: of the broker; None: the embedded server.
        database: where rows are, and the outbox; None: commands look at the broker alone.
        opened: connections that somebody keeps open; where there are some, nothing is opened or closed.
    """

    name: str | None = None
    url: str | None = None
    database: str | None = None
    opened: tuple[Connection, ...] = ()

    @property
    def has_broker(self) -> bool:
        """Whether there is a broker to ask: an app that has rows alone needs none."""
        return bool(self.url) or not self.database or embedded.status() is not None

    @property
    def why_unknown(self) -> str:
        """What it means that an id is found nowhere here, as the end of a sentence."""
        if not self.has_broker:
            return "no row in the database has this id"
        sent = "it was never sent, or it finished longer ago than its result TTL"
        return f"{sent}, and no row in the database has this id" if self.database else sent


@dataclass(frozen=True)
class Connection:
    """The tasks of one app on its broker, or its rows in its database, with the inspector.

    Attributes:
        name: of the app; empty: rows of an app that is not known.
        address: of the broker or database, without its password.
        secrets: unseal what the inspector shows.
        app: the sending side of the app; None: these are rows, which commands do not send.
        hidden: the arguments that are shown as dots, as far as it was known when this was opened.
    """

    name: str
    address: str
    secrets: tuple[str, ...]
    inspector: Inspector
    broker: Broker
    app: App | None = None
    hidden: Hidden = field(default_factory=Hidden)

    @property
    def label(self) -> str:
        """The name for a message: an app may have tasks and rows."""
        if self.app is not None:
            return self.name
        return f"{self.name} (rows)" if self.name else "rows"


@asynccontextmanager
async def inspectors(place: Place, *, fallback: str = "") -> AsyncIterator[list[Connection]]:
    """Connections to the named app, or to every app that has keys on the server or rows in the database.

    Args:
        fallback: name of the app to use when no app is on the server yet.

    Raises:
        ConfigError: no server and no database is named, and the embedded server does not run; reading never starts
            it. Or there is no such database.
        BrokerError: the server or the database cannot be reached.
    """
    if place.opened:
        yield list(place.opened)
        return
    async with AsyncExitStack() as stack:
        opened: list[Connection] = []
        if place.has_broker:
            for app in await apps_at(place, fallback):
                opened.append(await stack.enter_async_context(open_app(app)))
        if place.database:
            opened += await stack.enter_async_context(rows_in(place.database, place.name))
        # The rows of an app follow its tasks.
        yield sorted(opened, key=lambda each: (each.name, each.app is None))


async def apps_at(place: Place, fallback: str) -> list[App]:
    """The apps that a place means: the named one, else those that have keys there, else that named ``fallback``."""
    # An address that needs a secret is refused before anything is sent there.
    address = App(place.name or fallback or "default", url=place.url).url if place.url else _embedded_url()
    found = [place.name] if place.name else sorted(await namespaces(address))
    return [App(each, url=place.url) for each in found or ([fallback] if fallback else [])]


@asynccontextmanager
async def open_app(app: App) -> AsyncIterator[Connection]:
    """A connection to the tasks of one app."""
    broker = connect(app.url, app.name)
    try:
        await broker.open()
        hidden = await hidden_by(app, broker)
        yield Connection(app.name, app.broker_url, app.secrets, inspect(broker), broker, app, hidden)
    finally:
        await broker.close()


def hidden_here() -> Hidden:
    """The arguments that every app hides, and those in ``AIOTASK_HIDE``."""
    return Hidden().with_words(words_hidden(()))


async def hidden_by(app: App, broker: Broker) -> Hidden:
    """The arguments that an app hides: as its object here knows, and as its workers have told the broker."""
    if HIDES not in features(broker.url):
        return app.hidden
    try:
        told = await hides_of(broker).hidden()
    except BrokerError:
        # A server that cannot say it has no jobs to show either, and what is asked next says why.
        return app.hidden
    return decode_hidden(told.values()).joined(app.hidden)


def reach(database: str) -> str:
    """The address of a database as commands use it: they do not wait for ever for its server.

    Raises:
        ConfigError: it is no address of a database, or SQLAlchemy is not installed.
    """
    known = DatabaseAddress(database)
    known.open()
    return with_timeout(known.travels)


@asynccontextmanager
async def rows_in(database: str, name: str | None) -> AsyncIterator[list[Connection]]:
    """Connections to the rows in a database, one for each app."""
    address = reach(database)
    from ..brokers.sql.finding import explained, find_rows

    found = await asyncio.to_thread(find_rows, address, name)
    async with AsyncExitStack() as stack:
        with explained(address):
            opened = [await stack.enter_async_context(_open_rows(app, facts)) for app, facts in found]
            yield opened


@asynccontextmanager
async def _open_rows(name: str, facts: RowFacts) -> AsyncIterator[Connection]:
    # Seals what is made of rows for this process alone.
    secret = secrets.token_hex(32)
    broker = connect_rows(msgspec.structs.replace(facts, secret=secret), name)
    try:
        await broker.open()
        hidden = hidden_here()
        yield Connection(name, shown_address(facts.address), (secret,), inspect(broker), broker, None, hidden)
    finally:
        await broker.close()


def _embedded_url() -> str:
    server = embedded.status()
    if server is None:
        raise ConfigError(
            "No server is named, and the embedded server is not running. Give --url or set AIOTASK_URL, "
            "or start the embedded server: aiotask server start. For rows, give --database or set AIOTASK_DATABASE."
        )
    return server.url


async def is_idle(connection: Connection) -> bool:
    """Whether this app has neither a live worker, nor jobs, nor dead letters: only its name is on the server."""
    if await connection.inspector.workers():
        return False
    stats = await connection.inspector.stats()
    return not (stats.pending + stats.running + stats.scheduled + stats.parked + stats.dead)


async def without_idle(opened: list[Connection]) -> tuple[list[Connection], list[str]]:
    """The apps worth showing, and the names of the others; one app alone is shown whatever it holds."""
    if len(opened) < 2:
        return opened, []
    idle = [each for each in opened if await is_idle(each)]
    return [each for each in opened if each not in idle], [each.label for each in idle]
