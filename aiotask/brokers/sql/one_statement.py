"""Moves that PostgreSQL makes in one statement, which is a transaction of its own: a single round trip.

Each first locks the rows that it is to move, those of other transactions left out, in a subquery that PostgreSQL runs
once: one that locks is never merged into the statement around it. The keys go on as an array, so the UPDATE finds its
rows by the primary key, whatever the statistics of the table say.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import aliased, lazyload

from ...job import Status
from .job_table import JobTable, is_status
from .tables import UtcDateTime, utcnow

__all__ = ["Claims", "success_of"]


class Claims:
    """Claims of rows of one mapped class.

    Each results in one row per job, in the order of claims; in one without a job where there is none to claim; and in
    no row at all where the incarnation is not live.

    Attributes:
        ready: rows with which no process died.
        ready_parts: the same in three parts: those before a priority, those of it that are due from a moment on, and
            the rest.
        ready_suspect: rows with which a process died.
    """

    def __init__(self, table: JobTable) -> None:
        self._table = table
        c = table.table.c
        priority = sa.bindparam("_priority", type_=sa.SmallInteger)
        since = sa.bindparam("_since", type_=UtcDateTime)
        self.ready = self._claim(c.deaths <= 0)
        # Equal to 0: PostgreSQL begins at a place in the index if all columns before it are given.
        self.ready_parts = (
            self._claim(c.deaths == 0, c.priority < priority),
            self._claim(c.deaths == 0, c.priority == priority, c.due_at >= since),
            self._claim(c.deaths == 0, c.priority > priority),
        )
        self.ready_suspect = self._claim(c.deaths > 0)

    def _claim(self, *which: sa.ColumnElement[bool]) -> sa.Select[Any]:
        job, workers = self._table, self._table.own.workers
        live = sa.select(workers.c.incarnation).where(workers.c.incarnation == sa.bindparam("_me")).cte("live")
        ready = (
            sa.select(job.key.label("key"))
            .where(job.is_ready, *which, sa.exists().select_from(live))
            .order_by(*job.order)
            .limit(sa.bindparam("_most", type_=sa.Integer))
            .with_for_update(skip_locked=True)
            .cte("ready")
        )
        taken = (
            sa.update(job.table)
            .where(_is_one_of(job.key, ready))
            .values(**job.claimed)
            .returning(*job.table.c)
            .cte("taken")
        )
        row: Any = aliased(job.model, taken)  # type: ignore[arg-type]
        order = [taken.c[column.key] for column in job.order]
        # What is loaded eagerly would be shared by rows that run in different threads.
        return sa.select(row).options(lazyload("*")).select_from(live.outerjoin(taken, sa.true())).order_by(*order)


def success_of(job: JobTable) -> sa.UpdateBase:
    """Ends rows as SUCCESS, or deletes them where rows of their class are deleted then. The result is the keys of those
    that were claimed still, and locked by no other transaction."""
    c = job.table.c
    keys: sa.BindParameter[Any] = sa.bindparam("_keys", type_=sa.ARRAY(job.key.type))
    claims: sa.BindParameter[Any] = sa.bindparam("_claims", type_=sa.ARRAY(sa.Integer))
    columns = sa.column("key", job.key.type), sa.column("claims", sa.Integer)
    ended = sa.func.unnest(keys, claims).table_valued(*columns, name="ended").render_derived()
    removes = job.facts.delete_when_done
    mine = (
        sa.select(job.key.label("key"))
        .join_from(job.table, ended, job.key == ended.c.key)
        .where(job.key == sa.any_(keys), is_status(job.table, Status.RUNNING))
        .where(c.claims == ended.c.claims, c.worker == sa.bindparam("_me"))
        .with_for_update(of=job.table, skip_locked=True, key_share=not removes)
        .cte("mine")
    )
    if removes:
        return sa.delete(job.table).where(_is_one_of(job.key, mine)).returning(job.key)
    values = {"status": "SUCCESS", "updated_at": utcnow()}
    return sa.update(job.table).where(_is_one_of(job.key, mine)).values(values).returning(job.key)


def _is_one_of(key: sa.Column[Any], keys: sa.CTE) -> sa.ColumnElement[bool]:
    array = sa.func.array(sa.select(keys.c.key).scalar_subquery(), type_=sa.ARRAY(key.type))
    return key == sa.any_(array)
