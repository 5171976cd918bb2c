"""Where an app's database is, as far as it is known without SQLAlchemy."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ...errors import ConfigError
from ...settings import environment
from ..shown import hide_password

if TYPE_CHECKING:
    from .database import Database

__all__ = ["EXAMPLES", "MISSING", "DatabaseAddress", "called", "shown_address", "with_timeout"]

EXAMPLES = (
    "Give a URL (sqlite:///shop.db or postgresql://user:password@host/name), an Engine of SQLAlchemy, a function that "
    'returns one, or the name of either as "module:attribute".'
)
#: The end of every error about SQLAlchemy that is not installed.
MISSING = "needs SQLAlchemy 2: pip install 'aiotask[sql]' (for PostgreSQL: 'aiotask[postgres]')."

#: Seconds that a server of PostgreSQL has to answer a command.
CONNECT_TIMEOUT = 10
#: URLs of drivers that know this limit.
_WITH_TIMEOUT = ("postgres://", "postgresql://", "postgresql+psycopg", "postgresql+asyncpg")

_DIALECTS = {"sqlite", "postgresql", "postgres"}


class DatabaseAddress:
    """The database of an app, as it was given or the environment names it; nothing is contacted.

    Args:
        given: a URL, an Engine, a function that returns one, ``module:attribute``, or None: ``$AIOTASK_DATABASE``.

    Raises:
        ConfigError: the value is none of these, or the URL is not one of SQLite or PostgreSQL.
    """

    def __init__(self, given: object = None) -> None:
        self._given = None if given is None or given == "" else _check(given, "database")
        self._database: Database | None = None

    @property
    def given(self) -> Any:
        """A checked URL or ``module:attribute``, an Engine, or a function; None: the app has no database."""
        if self._given is None and (named := environment("DATABASE")):
            return _check(named, "AIOTASK_DATABASE")
        return self._given

    def __bool__(self) -> bool:
        return self.given is not None

    @property
    def shown(self) -> str:
        """The address without its password, for logs and messages."""
        given = self.given
        if given is None:
            return "no database"
        if isinstance(given, str):
            return hide_password(given)
        if self._database is not None and self._database.is_found:
            return hide_password(self._database.url)
        return str(given.url) if hasattr(given, "url") else getattr(given, "__qualname__", repr(given))

    @property
    def travels(self) -> str:
        """What another process finds the database by: the URL with its password, or ``module:attribute``.

        Raises:
            ConfigError: the app has no database, or SQLAlchemy is not installed.
        """
        given = self.given
        return given if isinstance(given, str) else self.open().url

    def open(self) -> Database:
        """The database in this process, made at first use; no connection is opened yet.

        Raises:
            ConfigError: the app has no database, or SQLAlchemy or the driver is not installed.
        """
        if self._database is None:
            self._database = open_database(self.given)
        return self._database

    def replace(self, given: object) -> None:
        """Put another database in place of the given one, before it is first used (for integrations)."""
        self._given = _check(given, "database")
        self._database = None


def open_database(given: Any) -> Database:
    """The database at an address as ``DatabaseAddress.given`` or ``travels`` has it.

    Raises:
        ConfigError: the address is None, or SQLAlchemy is not installed.
    """
    if given is None:
        raise ConfigError(f"The app has no database. Set App(database=…) or AIOTASK_DATABASE. {EXAMPLES}")
    try:
        from .database import Database
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "sqlalchemy":
            raise
        raise ConfigError(f"App(database=…) {MISSING}") from error
    return Database(given)


def called(function: Any, what: str) -> Any:
    """What a function returns that was given as a database.

    Raises:
        ConfigError: it asks for the application context of Flask, which is not there.
    """
    try:
        return function()
    except RuntimeError as error:
        if not str(error).startswith("Working outside of application context"):
            raise
        raise ConfigError(
            f"{what} is a function that works in an application context of Flask alone, and there is none here. "
            "Connect the app with its Flask application, aiotask.contrib.flask.init_app(flask_app, app), before the "
            "database is used; start workers with flask aiotask run."
        ) from error


def _check(given: Any, what: str) -> Any:
    if isinstance(given, str):
        return _check_text(given, what)
    if hasattr(given, "sync_engine"):
        raise ConfigError(
            f"{what}={given!r} is an AsyncEngine, which belongs to one event loop. Give its URL, or a plain Engine: "
            "async runs get a session of their own."
        )
    if not callable(given) and not (hasattr(given, "dialect") and hasattr(given, "url")):
        raise ConfigError(f"{what}={given!r} is no database. {EXAMPLES}")
    return given


def _check_text(text: str, what: str) -> str:
    scheme, separator, rest = text.partition("://")
    if not separator:
        module, colon, attribute = text.partition(":")
        if colon and all(part.isidentifier() for part in (*module.split("."), *attribute.split("."))):
            return text
        raise ConfigError(f'{what}="{hide_password(text)}" is no database. {EXAMPLES}')
    if scheme.partition("+")[0] not in _DIALECTS:
        raise ConfigError(f'{what}="{hide_password(text)}": rows need SQLite or PostgreSQL. {EXAMPLES}')
    if not scheme.startswith("sqlite"):
        return text
    path, mark, query = rest.removeprefix("/").partition("?")
    if not path or path == ":memory:" or "mode=memory" in query:
        raise ConfigError(
            f'{what}="{text}" is a database in memory, which no other process sees. Name a file: sqlite:///shop.db.'
        )
    # Absolute from now on: worker and keeper may have another current directory.
    return text if path.startswith("file:") else f"{scheme}:///{os.path.abspath(path)}{mark}{query}"


# ---- for commands


def with_timeout(address: str) -> str:
    """The address with a limit for the connection, which a command does not wait for without end."""
    if not address.startswith(_WITH_TIMEOUT) or "connect_timeout=" in address:
        return address
    return f"{address}{'&' if '?' in address else '?'}connect_timeout={CONNECT_TIMEOUT}"


def shown_address(address: str) -> str:
    """The address without its password and without that limit, for messages."""
    limit = f"connect_timeout={CONNECT_TIMEOUT}"
    return hide_password(address.removesuffix(f"?{limit}").removesuffix(f"&{limit}"))
