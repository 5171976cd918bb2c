"""Pages of the history: rows by when they ended, the latest first, and searches that end after some time."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from ..errors import ConfigError
from .file import COLUMNS
from .record import JobRecord, read_record

if TYPE_CHECKING:
    import sqlite3

__all__ = ["HistoryPage", "Place", "Wanted", "bounded_count", "place_in", "place_of", "read_page"]

#: Rows that a search looks at before it looks at the clock.
_LOOK = 5_000
#: Instructions of SQLite between two looks at the clock.
_STEPS = 10_000
#: Conditions by which an index finds rows in their order; a row is compared with the others one by one.
_INDEXED = ("graph = ?", "task = ?", "status = ?")
_ENDED = COLUMNS.index("finished_at")
_COLUMNS, _COLUMNS_LOOKED = ", ".join(COLUMNS), "id, app, finished_at"
#: Rows with a time, as all have that a recorder has written; and the others, which are listed last.
_TIMED, _DAMAGED = "typeof(finished_at) IN ('real', 'integer')", "typeof(finished_at) NOT IN ('real', 'integer')"


class HistoryPage(msgspec.Struct, frozen=True, gc=False):
    """Some recorded jobs of a search, those that ended last first."""

    records: list[JobRecord]
    #: Where the next page begins; empty: this is the last one.
    after: str = ""
    #: Whether the search ended since its time was over: it has looked at the jobs that ended at ``until`` or later
    #: (Unix seconds; None: it was among rows without a time), and ``after`` is where it goes on.
    is_cut: bool = False
    until: float | None = None


class Place(NamedTuple):
    """A place in the list: behind the row that ended then, with this id and app, which may be gone."""

    ended: float | None
    id: str
    app: str


class Wanted(NamedTuple):
    """Conditions in SQL, with their values."""

    conditions: Sequence[str]
    values: Sequence[Any]

    def split(self) -> tuple[Wanted, Wanted]:
        """The condition by which an index finds rows, and the others."""
        first = next((each for each in _INDEXED if each in self.conditions), None)
        limits = ("finished_at >= ?", "finished_at < ?")
        pairs = list(zip(self.conditions, self.values, strict=True))
        found = [pair for pair in pairs if pair[0] == first or pair[0] in limits]
        return _wanted(found), _wanted([pair for pair in pairs if pair not in found])

    def where(self, *more: str) -> str:
        every = [*self.conditions, *more]
        return f" WHERE {' AND '.join(every)}" if every else ""


def _wanted(pairs: Sequence[tuple[str, Any]]) -> Wanted:
    return Wanted([condition for condition, _ in pairs], [value for _, value in pairs])


def place_of(record: JobRecord) -> Place:
    """The place behind a record."""
    return Place(record.finished_at, record.id, record.app)


def place_in(text: str) -> Place:
    """The place in a text that a page gave.

    Raises:
        ConfigError: it is none.
    """
    try:
        ended, id, app = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        ended, id, app = text, None, None
    if not isinstance(ended, float | int | None) or not isinstance(id, str) or not isinstance(app, str):
        raise ConfigError(
            f"after={text!r} is no place in the history. Pass what the page before gave, or begin anew without it."
        )
    return Place(ended, id, app)


def read_page(
    connection: sqlite3.Connection, wanted: Wanted, after: Place | None, limit: int | None, seconds: float | None
) -> HistoryPage:
    """Rows that match, behind a place.

    Args:
        seconds: after which it ends, with the rows that it has found; None: it looks at all rows.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    indexed, others = wanted.split()
    found: list[tuple[Any, ...]] = []
    while True:
        # One more than are wanted tells whether there are more.
        most = -1 if limit is None else limit + 1 - len(found)
        if deadline is None or not others.conditions:
            rows = _rows(connection, _COLUMNS, wanted, after, most)
            found += rows
            is_over, last = most < 0 or len(rows) < most, (_place_in(rows[-1]) if rows else after)
        else:
            looked = _rows(
                connection,
                f"{_COLUMNS_LOOKED}, {' AND '.join(others.conditions)}",
                indexed,
                after,
                _LOOK,
                others.values,
            )
            matching = [(id, app) for id, app, _, matches in looked if matches]
            found += [
                row for at in matching[: most if most >= 0 else None] if (row := _one(connection, at)) is not None
            ]
            is_over, last = len(looked) < _LOOK, (_place(*looked[-1][:3]) if looked else after)
        if limit is not None and len(found) > limit:
            return HistoryPage(
                list(map(read_record, found[:limit])), _text_of(_place_in(found[limit - 1])) if limit else ""
            )
        after = last
        if is_over:
            if (after is not None and after.ended is None) or not _has_damaged(connection, indexed):
                return HistoryPage(list(map(read_record, found)))
            # Then the rows without a time, by their ids.
            after = Place(None, "\U0010ffff", "")
        elif deadline is not None and time.monotonic() > deadline and after is not None:
            return HistoryPage(list(map(read_record, found)), _text_of(after), is_cut=True, until=after.ended)


def _rows(
    connection: sqlite3.Connection,
    columns: str,
    wanted: Wanted,
    after: Place | None,
    most: int,
    values: Sequence[Any] = (),
) -> list[tuple[Any, ...]]:
    """The next rows behind a place; ``values``: of the columns. -1: all."""
    if after is not None and after.ended is None:
        where, behind = wanted.where(_DAMAGED, "(id, app) < (?, ?)"), list[Any](after[1:])
        order = "id DESC, app DESC"
    else:
        where = wanted.where(_TIMED, *(["(finished_at, id, app) < (?, ?, ?)"] if after else []))
        behind = list(after or ())
        order = "finished_at DESC, id DESC, app DESC"
    sql = f"SELECT {columns} FROM jobs{where} ORDER BY {order} LIMIT ?"
    return connection.execute(sql, [*values, *wanted.values, *behind, most]).fetchall()


def _one(connection: sqlite3.Connection, which: tuple[str, str]) -> tuple[Any, ...] | None:
    found: tuple[Any, ...] | None = connection.execute(
        f"SELECT {_COLUMNS} FROM jobs WHERE id = ? AND app = ?", which
    ).fetchone()
    return found


def _has_damaged(connection: sqlite3.Connection, indexed: Wanted) -> bool:
    """Whether there are rows without a time; their index has them at its two ends."""
    bound = ("finished_at >= ?", "finished_at < ?")
    if any(condition in bound for condition in indexed.conditions):
        return False
    edges = "SELECT finished_at FROM jobs ORDER BY finished_at"
    rows = connection.execute(f"SELECT * FROM ({edges} LIMIT 1) UNION ALL SELECT * FROM ({edges} DESC LIMIT 1)")
    return any(not isinstance(ended, float | int) for (ended,) in rows)


def _place_in(row: Sequence[Any]) -> Place:
    return _place(row[0], row[1], row[_ENDED])


def _place(id: Any, app: Any, ended: Any) -> Place:
    return Place(ended if isinstance(ended, float | int) else None, str(id), str(app))


def _text_of(place: Place) -> str:
    return json.dumps(place, separators=(",", ":"))


def bounded_count(connection: sqlite3.Connection, wanted: Wanted, most: int | None, seconds: float) -> int | None:
    """How many rows match, counted up to ``most``; None: that was not known in time."""
    import sqlite3

    deadline = time.monotonic() + seconds
    sql = f"SELECT count(*) FROM (SELECT 1 FROM jobs{wanted.where()} LIMIT ?)"
    connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
    try:
        found: int = connection.execute(sql, [*wanted.values, -1 if most is None else most]).fetchone()[0]
    except sqlite3.OperationalError as error:
        if error.sqlite_errorname != "SQLITE_INTERRUPT":
            raise
        return None
    finally:
        connection.set_progress_handler(None, 0)
    return found
