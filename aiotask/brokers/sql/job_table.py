"""A table whose rows are jobs: its keys, the ids of its jobs, and the statements that move them.

All statements about rows are here and in ``one_statement``. Statuses stand in them as literals: with a parameter in
their place, no database would use the partial indexes. Names of parameters begin with an underscore: where an UPDATE
has one that is called like a column of the user's, SQLAlchemy sets that column.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import lazyload

from ...job import Status
from .facts import TableFacts
from .tables import NAME, Tables, UtcDateTime, statement_time, utcnow

__all__ = ["JobTable", "is_status", "light_table"]

_LARGEST = 2**63
#: The largest number of claims that the column of a row holds; the next claim is number 1 again.
MOST_CLAIMS = 2**31 - 1


def is_status(table: sa.Table, *statuses: Status) -> sa.ColumnElement[bool]:
    """Whether a row has one of these statuses."""
    words = [sa.literal_column(f"'{status}'", sa.String) for status in statuses]
    return table.c.status == words[0] if len(words) == 1 else table.c.status.in_(words)


def light_table(facts: TableFacts) -> sa.Table:
    """The columns of a table that aiotask knows, for processes that do not import its class."""
    return sa.Table(
        facts.name,
        sa.MetaData(),
        sa.Column(facts.key, _type_of(facts.kind), primary_key=True),
        sa.Column("status", sa.String(9)),
        sa.Column("created_at", UtcDateTime),
        sa.Column("updated_at", UtcDateTime),
        sa.Column("due_at", UtcDateTime),
        sa.Column("priority", sa.SmallInteger),
        sa.Column("attempt", sa.Integer),
        sa.Column("deaths", sa.SmallInteger),
        sa.Column("claims", sa.Integer),
        sa.Column("worker", sa.String(NAME)),
        sa.Column("error", sa.Text),
        sa.Column("failures", sa.JSON(none_as_null=True)),
        schema=facts.schema,
    )


def _type_of(kind: str) -> Any:
    if kind.startswith("uuid"):
        native = ":char" not in kind
        return sa.Uuid(as_uuid=False, native_uuid=native) if ":str" in kind else sa.Uuid(native_uuid=native)
    return sa.BigInteger() if kind == "int" else sa.Text()


class JobTable:
    """One table whose rows are jobs.

    Args:
        table: with the columns of ``RowJob``.
        own: aiotask's own tables in the same database.
        model: the mapped class; None: this process knows only the columns of ``RowJob``.
    """

    def __init__(
        self, facts: TableFacts, table: sa.Table, own: Tables, model: type[Any] | None = None, *, is_sqlite: bool
    ) -> None:
        self.facts = facts
        self.table = table
        self.own = own
        self.model = model
        self.prefix = facts.prefix
        self.key: sa.Column[Any] = table.c[facts.key]
        #: Of a mapped class: the attributes whose values may change without an assignment, and that of the key.
        self.json_attributes: tuple[str, ...] = ()
        self.key_attribute = ""
        #: Whether a row that has succeeded is deleted with its object, which knows what is deleted along.
        self.needs_object = False
        if model is not None:
            self._inspect(model)
        self._among = self._key_among(is_sqlite)
        self._prepare()

    def _inspect(self, model: type[Any]) -> None:
        mapper: Any = sa.inspect(model)
        attributes = mapper.column_attrs
        self.key_attribute = mapper.get_property_by_column(self.key).key
        self.needs_object = self.facts.delete_when_done and bool(mapper.relationships)
        self.json_attributes = tuple(
            each.key for each in attributes if isinstance(each.columns[0].type, sa.JSON) and each.key != "failures"
        )

    # ---- ids

    def id_of(self, key: Any) -> str:
        return f"{self.prefix}{key}"

    def key_of(self, id: str) -> Any:
        """The key of the row with this id; None: it is no id of this table."""
        if not id.startswith(self.prefix):
            return None
        text = id[len(self.prefix) :]
        kind = self.facts.kind
        try:
            if kind == "int":
                number = int(text)
                return number if str(number) == text and -_LARGEST <= number < _LARGEST else None
            if kind.startswith("uuid"):
                return text if ":str" in kind and UUID(text) else UUID(text)
        except ValueError:
            return None
        return text

    def key_in(self, row: Any) -> Any:
        """The key in a row that was read without its class; a column may have the name of a method of rows."""
        return row._mapping[self.key]

    # ---- statements

    def _key_among(self, is_sqlite: bool) -> sa.ColumnElement[bool]:
        """Whether the key of a row is among the parameter ``keys``; an array costs less than a parameter for each."""
        if is_sqlite:
            return self.key.in_(sa.bindparam("_keys", expanding=True))
        keys: sa.BindParameter[Any] = sa.bindparam("_keys", type_=sa.ARRAY(self.key.type))
        return self.key == sa.any_(keys)

    def _prepare(self) -> None:
        table, key, workers, among = self.table, self.key, self.own.workers, self._among
        c = table.c
        limit = sa.bindparam("most", type_=sa.Integer)
        entity: Any = self.model if self.model is not None else table
        #: Whether a row may be claimed, the order in which rows are, and what a claim writes.
        self.is_ready = sa.and_(is_status(table, Status.PENDING), c.due_at <= statement_time())
        self.order = (c.deaths, c.priority, c.due_at, key)
        self.claimed: dict[str, Any] = {
            "status": "RUNNING",
            "worker": sa.bindparam("_me"),
            "claims": sa.case((c.claims < MOST_CLAIMS, c.claims + 1), else_=1),
            "updated_at": utcnow(),
        }
        select = sa.select(entity)
        if self.model is not None:
            # What is loaded eagerly would be shared by rows that run in different threads.
            select = select.options(lazyload("*"))
        to_claim = select.where(self.is_ready).order_by(*self.order).limit(limit)
        #: Rows to claim, those with which a process died left aside; and one of those. For SQLite, which needs two
        #: statements.
        self.ready = to_claim.where(c.deaths <= 0)
        self.ready_suspect = to_claim.where(c.deaths > 0)
        #: A suspect that waits.
        self.suspects = sa.select(key, c.claims).where(self.is_ready, c.deaths > 0).limit(1)
        self.waiting = sa.select(sa.literal(1)).where(self.is_ready, c.deaths <= 0).limit(1)
        live = sa.select(sa.literal(1)).where(workers.c.incarnation == sa.bindparam("_me")).exists()
        self.take = sa.update(table).where(among, live).values(**self.claimed)
        #: What the fence reads, with the time of the database. A row that is not deleted needs no lock that would wait
        #: for inserts of rows that refer to it.
        fence = sa.select(key, c.status, c.worker, c.claims, c.attempt, c.failures, utcnow().label("now")).where(among)
        weak = not self.facts.delete_when_done
        self.fence = fence.with_for_update(key_share=weak)
        #: The same without rows that another transaction has locked; and which of the others are there.
        self.free_fence = fence.with_for_update(key_share=weak, skip_locked=True)
        self.present = sa.select(key).where(among)
        #: A row with its class.
        self.one = select.where(among)
        held = is_status(table, Status.RUNNING), c.worker == sa.bindparam("_me")
        self.held = select.where(*held).order_by(key)
        self.held_keys = sa.select(key, c.claims).where(*held).order_by(*self.order)
        self.ended = sa.select(key).where(among, c.status != sa.literal_column("'RUNNING'", sa.String))
        self.by_keys = sa.select(table).where(among)
        self.delete = sa.delete(table).where(among)
        self._prepare_keeping()

    def _prepare_keeping(self) -> None:
        table, key, workers, c, among = self.table, self.key, self.own.workers, self.table.c, self._among
        limit = sa.bindparam("most", type_=sa.Integer)
        running = is_status(table, Status.RUNNING)
        lost = sa.select(table).where(running).order_by(key).limit(limit).with_for_update(skip_locked=True)
        #: Rows of one incarnation, and those of all that are not live.
        self.lost_by = lost.where(c.worker == sa.bindparam("dead"), sa.not_(among))
        alive = sa.select(workers.c.incarnation)
        self.lost = lost.where(sa.or_(c.worker.not_in(alive), c.worker.is_(None)))
        self.give_back = sa.update(table).where(among, running).values(status="PENDING", updated_at=utcnow())
        later = is_status(table, Status.SCHEDULED, Status.RETRYING)
        #: The seconds until the next row is due, by the clock of the database.
        self.next_due = sa.select(sa.func.min(c.due_at), utcnow()).where(later)
        self.due = (
            sa.select(key)
            .where(later, c.due_at <= statement_time())
            .order_by(c.due_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        self.promote = sa.update(table).where(among, later).values(status="PENDING", updated_at=utcnow())

    def update(self, values: dict[str, Any]) -> sa.Update:
        """Set columns of the rows with ``keys``."""
        return sa.update(self.table).where(self._among).values(values)
