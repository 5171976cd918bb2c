"""The columns that make a row of the user's table a job: ``RowJob``, ``RowData`` and ``Row``."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, mapped_column

from ..brokers.sql.tables import NAME, UtcDateTime, utcnow
from ..job import Status

__all__ = ["COLUMNS", "Row", "RowData", "RowJob", "metadata"]

#: Marks the columns of aiotask, in ``Column.info``.
OURS = {"aiotask": True}
#: The columns by attribute.
COLUMNS = {
    "status": "status",
    "created_at": "created_at",
    "updated_at": "updated_at",
    "due_at": "due_at",
    "priority": "priority",
    "attempt": "attempt",
    "deaths": "deaths",
    "claims": "claims",
    "worker": "worker",
    "last_error": "error",
    "failures": "failures",
}


def _first_status(context: Any) -> str:
    """The status of a new row: it waits until ``due_at``, if that lies ahead."""
    due = context.get_current_parameters().get("due_at")
    # One without a time zone is refused where it is written.
    is_aware = isinstance(due, datetime) and due.utcoffset() is not None
    return str(Status.SCHEDULED if is_aware and due > datetime.now(UTC) else Status.PENDING)


_NOW = sa.func.current_timestamp()


class RowJob:
    """Mixin for a mapped class: each of its rows is a job, which ``run`` works off in a worker process.

    ::

        @app.row(retries=3)
        class Thumbnail(RowJob, Base):
            __tablename__ = "thumbnails"
            id: Mapped[int] = mapped_column(primary_key=True)

            def run(self) -> None: ...

    Attributes:
        status: PENDING, SCHEDULED, RUNNING, RETRYING, SUCCESS, FAILED or CANCELLED.
        due_at: the row runs from then on.
        priority: 0 (first) to 9 (last).
        attempt: number of the run that is under way or comes next, from 1.
        deaths: number of processes that died while they ran the row.
        claims: how often the row was claimed.
        worker: the worker that has the row, or had it last.
        last_error: the error of the last run that failed; its column is ``error``.
        failures: an entry for each run that failed: ``attempt``, ``at``, ``worker``, ``error``.
    """

    status: Mapped[str] = mapped_column(
        sa.String(9), insert_default=_first_status, server_default="PENDING", sort_order=9001, info=OURS
    )
    created_at: Mapped[datetime] = mapped_column(
        UtcDateTime, insert_default=utcnow(), server_default=_NOW, sort_order=9002, info=OURS
    )
    updated_at: Mapped[datetime] = mapped_column(
        UtcDateTime, insert_default=utcnow(), onupdate=utcnow(), server_default=_NOW, sort_order=9003, info=OURS
    )
    due_at: Mapped[datetime] = mapped_column(
        UtcDateTime, insert_default=utcnow(), server_default=_NOW, sort_order=9004, info=OURS
    )
    priority: Mapped[int] = mapped_column(
        sa.SmallInteger, insert_default=5, server_default="5", sort_order=9005, info=OURS
    )
    attempt: Mapped[int] = mapped_column(sa.Integer, insert_default=1, server_default="1", sort_order=9006, info=OURS)
    deaths: Mapped[int] = mapped_column(
        sa.SmallInteger, insert_default=0, server_default="0", sort_order=9007, info=OURS
    )
    claims: Mapped[int] = mapped_column(sa.Integer, insert_default=0, server_default="0", sort_order=9008, info=OURS)
    worker: Mapped[str | None] = mapped_column(sa.String(NAME), sort_order=9009, info=OURS)
    last_error: Mapped[str | None] = mapped_column("error", sa.Text, sort_order=9010, info=OURS)
    failures: Mapped[list[dict[str, Any]] | None] = mapped_column(
        sa.JSON(none_as_null=True), sort_order=9011, info=OURS
    )

    def error(self, exc: Exception, /) -> object:
        """Called after each run that failed, on the row as it was before that run; what it changes is saved."""
        return None


class RowData(MappedAsDataclass):
    """``RowJob`` for dataclasses (``MappedAsDataclass``); of its columns ``__init__`` takes ``priority`` alone."""

    status: Mapped[str] = mapped_column(
        sa.String(9), init=False, insert_default=_first_status, server_default="PENDING", sort_order=9001, info=OURS
    )
    created_at: Mapped[datetime] = mapped_column(
        UtcDateTime, init=False, insert_default=utcnow(), server_default=_NOW, sort_order=9002, info=OURS
    )
    updated_at: Mapped[datetime] = mapped_column(
        UtcDateTime,
        init=False,
        insert_default=utcnow(),
        onupdate=utcnow(),
        server_default=_NOW,
        sort_order=9003,
        info=OURS,
    )
    due_at: Mapped[datetime] = mapped_column(
        UtcDateTime, init=False, insert_default=utcnow(), server_default=_NOW, sort_order=9004, info=OURS
    )
    priority: Mapped[int] = mapped_column(
        sa.SmallInteger, kw_only=True, default=5, server_default="5", sort_order=9005, info=OURS
    )
    attempt: Mapped[int] = mapped_column(
        sa.Integer, init=False, insert_default=1, server_default="1", sort_order=9006, info=OURS
    )
    deaths: Mapped[int] = mapped_column(
        sa.SmallInteger, init=False, insert_default=0, server_default="0", sort_order=9007, info=OURS
    )
    claims: Mapped[int] = mapped_column(
        sa.Integer, init=False, insert_default=0, server_default="0", sort_order=9008, info=OURS
    )
    worker: Mapped[str | None] = mapped_column(sa.String(NAME), init=False, sort_order=9009, info=OURS)
    last_error: Mapped[str | None] = mapped_column("error", sa.Text, init=False, sort_order=9010, info=OURS)
    failures: Mapped[list[dict[str, Any]] | None] = mapped_column(
        sa.JSON(none_as_null=True), init=False, sort_order=9011, info=OURS
    )

    def error(self, exc: Exception, /) -> object:
        """As ``RowJob.error``."""
        return None


#: The MetaData of ``Row``, and of aiotask's own tables where an app has no rows.
metadata = sa.MetaData()


def _id() -> str:
    return secrets.token_hex(10)


class Row(RowData, DeclarativeBase, kw_only=True):
    """A ready base: a dataclass with a text id. A dict or list of plain values is a JSON column.

    On SQLite the tables of its classes are made at first use; elsewhere ``create_tables`` or a migration makes them.
    """

    metadata = metadata
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        dict[str, Any]: sa.JSON,
        list[Any]: sa.JSON,
        datetime: UtcDateTime,
    }

    id: Mapped[str] = mapped_column(sa.String(40), primary_key=True, default_factory=_id, kw_only=True, sort_order=-1)
