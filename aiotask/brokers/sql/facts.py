"""What a process that imports no user code knows about an app's rows: it travels to the keeper and to commands."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

__all__ = ["RowFacts", "TableFacts", "app_in", "registered", "tables_in"]


class TableFacts(msgspec.Struct, frozen=True):
    """One table whose rows are jobs."""

    name: str
    schema: str | None
    #: The name of the task, as logs and commands show it.
    task: str
    queue: str
    #: Column of the primary key, and what its values are: ``int``, ``text`` or ``uuid``; behind that ``:char`` for
    #: UUIDs that are kept as characters, and ``:str`` for UUIDs that are text in Python.
    key: str
    kind: str
    #: Whether a row is deleted when it has succeeded.
    delete_when_done: bool = False

    @property
    def prefix(self) -> str:
        """The beginning of the ids of the jobs in this table."""
        return f"{self.name}/" if self.schema is None else f"{self.schema}.{self.name}/"


class RowFacts(msgspec.Struct, frozen=True):
    """The rows of one app: all that a RowBroker needs besides the app's name, without the code of the app."""

    #: URL of the database with its password, or ``module:attribute``.
    address: str
    #: Schema of aiotask's own tables; None: the default one.
    schema: str | None
    tables: list[TableFacts]
    #: Seals envelopes and outcomes of rows inside a process. They are not stored, so each process may have another one.
    secret: str


# ---- in the facts that a worker registers: commands import no user code, and have no pipe to a worker


def registered(app: str, rows: RowFacts) -> dict[str, object]:
    """What a worker of rows adds to its facts: its app and its tables, without address and secret."""
    return {"app": app, "tables": msgspec.to_builtins(rows.tables)}


def app_in(facts: Mapping[str, object]) -> str:
    """The app of a worker of rows; empty: it has not registered one."""
    app = facts.get("app")
    return app if isinstance(app, str) else ""


def tables_in(facts: Mapping[str, object]) -> list[TableFacts]:
    """The tables of a worker of rows; empty: it has registered none, or another release of aiotask has."""
    try:
        return msgspec.convert(facts.get("tables", []), list[TableFacts])
    except msgspec.ValidationError:
        return []
