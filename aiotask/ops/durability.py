"""The jobs that are lost when a server dies, by its settings: the rows of the table in ``docs/guarantees.md``."""

from __future__ import annotations

from typing import NamedTuple

from ..inspector import Persistence, ServerFacts
from ..log.events import in_words

__all__ = ["ROWS", "Row", "lost", "row_of"]


class Row(NamedTuple):
    """One way in which servers keep data, and its losses."""

    kind: Persistence
    #: The settings of Redis, as docs and output show them.
    name: str
    #: What is lost when the process of the server is killed; when its machine dies.
    killed: str
    machine: str
    #: The remedy; empty: none is needed.
    fix: str = ""


_FIX = "Run CONFIG SET appendonly yes, and set it in the configuration file of the server, too."
_PERMIT = "Allow this user to run CONFIG GET, or look it up in the configuration file of the server."

ROWS = {
    row.name: row
    for row in (
        Row(Persistence.MEMORY, "memory", "everything", "everything", _FIX),
        Row(
            Persistence.SNAPSHOTS,
            "snapshots",
            "everything since the last snapshot",
            "everything since the last snapshot",
            _FIX,
        ),
        Row(
            Persistence.LOG_BY_SYSTEM,
            "appendonly no",
            "nothing",
            "some 30 s of accepted jobs and outcomes, as the system writes",
            "Run CONFIG SET appendfsync everysec, and set it in the configuration file of the server, too.",
        ),
        Row(
            Persistence.LOG_EACH_SECOND,
            "appendonly everysec",
            "nothing (while the disk is slow, 2 s)",
            "1 to 2 s of accepted jobs and outcomes",
        ),
        Row(Persistence.LOG_EACH_WRITE, "appendonly always", "nothing", "nothing"),
        # Where CONFIG is not permitted, the settings are known only so far.
        Row(Persistence.LOG, "appendonly", "at most 2 s", "unknown: 0 to 30 s, depending on appendfsync", _PERMIT),
        Row(
            Persistence.MEMORY_OR_SNAPSHOTS,
            "no appendonly",
            "unknown: everything, or all since the last snapshot",
            "the same",
            _FIX,
        ),
    )
}
_BY_KIND = {row.kind: row for row in ROWS.values()}


def row_of(facts: ServerFacts) -> Row:
    """The row that this server is in."""
    return _BY_KIND[facts.durability.kind]


def lost(facts: ServerFacts) -> str:
    """The loss of a server as a text."""
    row = row_of(facts)
    if row.killed == row.machine:
        text = f"{row.killed} is lost when the server or its machine dies"
    else:
        text = f"lost when the server is killed: {row.killed}; when its machine dies: {row.machine}"
    if facts.unsaved is not None and row.kind in (Persistence.SNAPSHOTS, Persistence.MEMORY_OR_SNAPSHOTS):
        text += f" (that, or its start, was {in_words(facts.unsaved)} ago)"
    if facts.replicas:
        text += f"; a replica ({facts.replicas} connected) that takes over may lack the last writes"
    return text
