"""The DDL of aiotask's tables, and what of it a database lacks, for ``aiotask sql``."""

from __future__ import annotations

from collections.abc import Sequence

from ..app import App
from ..brokers.sql.address import DatabaseAddress, open_database
from ..errors import ConfigError
from .connection import reach

__all__ = ["dialect_of", "find_missing", "statements_of"]


def statements_of(apps: Sequence[App], dialect: str) -> list[str]:
    """The statements that make aiotask's own tables, and the row tables of these apps with their indexes.

    Raises:
        ConfigError: SQLAlchemy is not installed.
    """
    open_database("sqlite:///unused.db")
    from ..sql.ddl import statements, tables_of

    return statements(tables_of(apps), dialect)


def dialect_of(apps: Sequence[App], database: str | None) -> str:
    """The dialect of a database, or of the databases of these apps.

    Raises:
        ConfigError: no database is named, or the apps have several kinds.
    """
    addresses = [DatabaseAddress(database)] if database else [app.database for app in apps if app.database]
    found = {"sqlite" if address.open().is_sqlite else "postgresql" for address in addresses}
    if len(found) == 1:
        return found.pop()
    why = "The apps have databases of both kinds" if found else "No database is named"
    raise ConfigError(
        f"{why}: for which of them are the statements? Give --dialect sqlite or --dialect postgresql, or --database "
        "URL (AIOTASK_DATABASE)."
    )


def find_missing(apps: Sequence[App], database: str | None) -> list[dict[str, str]]:
    """What the database lacks of aiotask's own tables, and of the row tables of these apps.

    Without an app, those row tables are looked at that are found in the database.

    Raises:
        ConfigError: there is no such database, or none is named.
        BrokerError: it does not answer.
    """
    address = database or next((app.database.travels for app in apps if app.database), None)
    if address is None:
        raise ConfigError("Which database is to be checked? Give --database URL, or set AIOTASK_DATABASE.")
    address = reach(address)
    from ..brokers.sql.finding import explained, open_existing
    from ..sql.ddl import tables_of, tables_there, what_is_missing

    opened = open_existing(address)
    try:
        with explained(address), opened.reading() as connection:
            tables = tables_of(apps) if apps else tables_there(connection, address)
            return [each._asdict() for each in what_is_missing(connection, tables)]
    finally:
        opened.dispose()
