"""What a process that imports no user code knows about an app's rows: it travels to the keeper and to commands."""

from __future__ import annotations

import msgspec

__all__ = ["RowFacts", "TableFacts"]


class TableFacts(msgspec.Struct, frozen=True):
    """One table whose rows are jobs."""

    #: The name of the table, which begins the ids of its jobs.
    name: str
    schema: str | None
    #: The name of the task, as logs and commands show it.
    task: str
    queue: str
    #: Column of the primary key, and what its values are: ``int``, ``text``, ``uuid`` or ``uuid-text``.
    key: str
    kind: str
    #: Whether a row is deleted when it has succeeded.
    delete_when_done: bool = False


class RowFacts(msgspec.Struct, frozen=True):
    """The rows of one app."""

    #: URL of the database with its password, or ``module:attribute``.
    address: str
    #: Schema of aiotask's own tables; None: the default one.
    schema: str | None
    tables: list[TableFacts]
    #: The secret that seals outcomes of rows between keeper and workers.
    secret: str = ""
