"""Whether worker processes can use a database: what no waiting would mend is refused before the first claim."""

from __future__ import annotations

import os

from ..brokers.sql.database import Database
from ..errors import ConfigError

__all__ = ["check_database"]


def check_database(database: Database) -> None:
    """Check a database as far as that needs no server: one that does not answer is waited for.

    Raises:
        ConfigError: the driver is not installed, or the file of SQLite cannot be opened, is no database, or lies on a
            network disk.
    """
    if not database.is_sqlite:
        return
    path = os.path.realpath((database.engine.url.database or "").removeprefix("file:").partition("?")[0])
    try:
        with database.reading() as connection:
            connection.exec_driver_sql("SELECT name FROM sqlite_master LIMIT 1")
    except ConfigError:
        raise
    except Exception as error:
        reason = getattr(error.__cause__ or error, "orig", error)
        # A lock will be released.
        if "locked" not in str(reason):
            raise ConfigError(
                f'The database "{path}" cannot be opened: {reason}. Name an SQLite file that this user may read and '
                "write, or one that does not exist yet in such a folder."
            ) from error
    finally:
        database.dispose()
