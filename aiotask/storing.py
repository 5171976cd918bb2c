"""The part of an app that has a database."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from .brokers.sql.address import DatabaseAddress

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

__all__ = ["Storing"]


class Storing:
    """The part of an app that has a database."""

    name: str
    database: DatabaseAddress

    def session(self) -> AbstractContextManager[Session]:
        """A ``with`` block with a Session on the app's database, committed at its end and rolled back by an error.

        Raises:
            ConfigError: the app has no database, or SQLAlchemy is not installed.
        """
        return self.database.open().session()
