"""How rows are claimed, and what a worker is told of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.orm import Session

from ...broker import Claim, Delivery, Liveness
from ...job import WIRE_VERSION, Job, Meta, Status, encode_job
from ...wire.seal import Sealer
from ..lanes import SUSPECT, lane_of
from .claimed import ClaimedRow, mark_claimed, proof_of
from .database import Database
from .faults import is_unreadable
from .job_table import JobTable
from .mark import Mark
from .one_statement import Claims
from .settling import ERROR_LENGTH
from .tables import Tables, utcnow
from .turns import Turns

__all__ = ["Claiming"]

logger = logging.getLogger("aiotask.worker")

#: Seconds between two looks for suspects, and at whether this worker is live where no row tells. They are one
#: statement, so a busy worker hardly notices them.
LOOK = 0.5

#: In the place of the number of a table.
_ME = -1

#: Rows as they are claimed, with their tables.
_Claimed = list[tuple[JobTable, Any]]


class Claiming:
    """Claims rows for the worker of one process.

    Args:
        in_hand: where the objects that stand for claimed rows are put, by id.
        jobs: seals envelopes.
    """

    def __init__(
        self,
        database: Database,
        tables: Sequence[JobTable],
        own: Tables,
        in_hand: dict[str, ClaimedRow],
        jobs: Sealer,
    ) -> None:
        self._database = database
        self._tables = tables
        self._own = own
        self._in_hand = in_hand
        self._jobs = jobs
        self._looked_at = -LOOK
        self._marks: dict[str, Mark] = {}
        self._turns: dict[str, Turns] = {}
        self._single: dict[str, Claims] = {}
        self._looks: dict[tuple[str, ...], sa.CompoundSelect[Any]] = {}
        #: Why the last claim has left out a table.
        self._failed: Exception | None = None
        #: Whether the last claim found nothing.
        self._was_empty = False
        #: Whether the last claim found rows and was given none: that is no empty table.
        self._is_refused = False

    def claim(self, incarnation: str, queues: list[str], limit: int, alone: bool) -> Claim:
        tables = self._in_turn(queues)
        if self._failed is not None:
            error, self._failed = self._failed, None
            raise error
        if alone or time.monotonic() - self._looked_at >= LOOK:
            with self._database.reading() as connection:
                liveness, suspects = self._look(connection, incarnation, tables)
            if liveness is not Liveness.LIVE or (suspects and not alone):
                return Claim([], liveness, suspects)
        if self._was_empty and not alone and not self._finds(tables):
            return Claim([])
        claimed: list[tuple[JobTable, Any]] = []
        self._is_refused = False
        if limit > 0:
            (self._take if self._database.is_sqlite else self._take_singly)(claimed, tables, incarnation, limit, alone)
        if not claimed and self._is_refused:
            with self._database.reading() as connection:
                return Claim([], self._look(connection, incarnation, tables)[0])
        self._was_empty = not claimed and not alone
        fresh = [each for each in claimed if not self._is_under_way(*each, incarnation)]
        return Claim([self._held(table, row, incarnation) for table, row in fresh])

    def _is_under_way(self, table: JobTable, row: Any, incarnation: str) -> bool:
        """Whether this worker has the row in hand by a claim that the database has lost (a crash with
        ``synchronous_commit=off``, a failover): the claim just now is that claim again, to the letter."""
        id = table.id_of(getattr(row, table.key_attribute))
        known = self._in_hand.get(id)
        return known is not None and known.proof == proof_of(row.claims, incarnation, id)

    def _finds(self, tables: Sequence[JobTable]) -> bool:
        """Whether a row is ready. On SQLite a look takes no lock, unlike a claim; elsewhere a claim is as cheap."""
        if not self._database.is_sqlite:
            return True
        with self._database.reading() as connection:
            return any(connection.execute(table.waiting).first() is not None for table in tables)

    def _in_turn(self, queues: list[str]) -> list[JobTable]:
        """The tables of these queues, in the order of the queues: the worker puts another one first each time."""
        places = {queue: number for number, queue in enumerate(queues)}
        known = [table for table in self._tables if table.facts.queue in places and table.model is not None]
        return sorted(known, key=lambda table: places[table.facts.queue])

    # ---- SQLite: one transaction, which holds the write lock of the file

    def _take(self, claimed: _Claimed, tables: list[JobTable], incarnation: str, limit: int, alone: bool) -> None:
        with self._database.session() as session:
            session.autoflush = False
            for table in tables:
                claimed += self._take_from(session, table, incarnation, limit - len(claimed), alone)
                if len(claimed) >= limit:
                    break
            session.expunge_all()

    def _take_from(self, session: Session, table: JobTable, incarnation: str, limit: int, alone: bool) -> _Claimed:
        statement, most = (table.ready_suspect, 1) if alone else (table.ready, limit)
        rows = self._load(session, table, statement, {"most": most})
        if not rows:
            return []
        keys = [getattr(row, table.key_attribute) for row in rows]
        taken: Any = session.connection().execute(table.take, {"_keys": keys, "_me": incarnation})
        if not taken.rowcount:
            # The incarnation is not live any more.
            self._is_refused = True
            return []
        for row in rows:
            mark_claimed(row, incarnation)
        return [(table, row) for row in rows]

    # ---- PostgreSQL: one statement for each table, which is a transaction of its own

    def _take_singly(
        self, claimed: _Claimed, tables: list[JobTable], incarnation: str, limit: int, alone: bool
    ) -> None:
        try:
            with self._database.one_by_one() as session:
                for table in tables:
                    if len(claimed) >= limit:
                        # A table that is not asked has its mark still.
                        break
                    self._take_singly_from(session, claimed, table, incarnation, limit, alone)
        except Exception as error:
            if not claimed:
                raise
            # These rows are claimed, whatever has become of the other tables: they run, and the next claim tells.
            self._failed = error

    def _take_singly_from(
        self, session: Session, claimed: _Claimed, table: JobTable, incarnation: str, limit: int, alone: bool
    ) -> None:
        before = len(claimed)
        statements, parameters = self._statements(table, alone)
        for statement in statements:
            if len(claimed) >= limit or self._is_refused:
                break
            most = 1 if alone else limit - len(claimed)
            values = {**parameters, "_me": incarnation, "_most": most}
            rows = self._load_claimed(session, table, statement, values, claimed)
            self._is_refused = not rows
            claimed += [(table, row) for row in rows if row is not None]
        if not alone:
            self._marks[table.prefix].move([row for _, row in claimed[before:]])

    def _statements(self, table: JobTable, alone: bool) -> tuple[tuple[sa.Select[Any], ...], dict[str, Any]]:
        """The statements that claim from a table, and what they begin at."""
        known = self._single.get(table.prefix)
        if known is None:
            known = self._single[table.prefix] = Claims(table)
        if alone:
            return (known.ready_suspect,), {}
        mark, now = self._marks.setdefault(table.prefix, Mark()), time.monotonic()
        if not mark.counts(now):
            return (known.ready,), {}
        return known.ready_parts, {"_priority": mark.priority, "_since": mark.since(now)}

    def _load_claimed(
        self,
        session: Session,
        table: JobTable,
        statement: sa.Select[Any],
        parameters: dict[str, Any],
        claimed: _Claimed,
    ) -> Sequence[Any]:
        """The rows that a statement claims, as ``Claims`` tells of them."""
        try:
            return session.scalars(statement, parameters).all()
        except Exception as error:
            if not is_unreadable(error):
                raise
        # They are claimed: which they are, the database tells.
        me = parameters["_me"]
        known = {proof_of(row.claims, me, table.id_of(getattr(row, table.key_attribute))) for _, row in claimed}
        known |= {each.proof for each in self._in_hand.values()}
        held = session.execute(table.held_keys, {"_me": me}).all()
        keys = [key for key, claims in held if proof_of(claims, me, table.id_of(key)) not in known]
        return [self._load_one(session, table, key) for key in keys] or [None]

    def _load(
        self, session: Session, table: JobTable, statement: sa.Select[Any], parameters: dict[str, Any]
    ) -> Sequence[Any]:
        """The rows that a statement finds. Those with a value that their class cannot read become FAILED: left as they
        are, each of them would stop the whole table."""
        try:
            return session.scalars(statement, parameters).all()
        except Exception as error:
            if not is_unreadable(error):
                raise
        keys = session.scalars(statement.with_only_columns(table.key), parameters).all()
        return [row for key in keys if (row := self._load_one(session, table, key)) is not None]

    def _load_one(self, session: Session, table: JobTable, key: Any) -> Any:
        try:
            return session.scalars(table.one, {"_keys": [key]}).one()
        except Exception as error:
            if not is_unreadable(error):
                raise
            reason = f"{type(error).__name__}: {error}"[:ERROR_LENGTH]
        logger.error("Row %s is FAILED, since its class cannot read it: %s", table.id_of(key), reason)
        values = {"status": str(Status.FAILED), "error": reason, "updated_at": utcnow()}
        session.connection().execute(table.update(values), {"_keys": [key]})
        return None

    def _look(self, connection: sa.Connection, incarnation: str, tables: Sequence[JobTable]) -> tuple[Liveness, bool]:
        """Whether this worker is live, and whether it is its turn to run suspects that wait."""
        # In one order, whichever is first in turn: a statement for each order would be too many.
        tables = sorted(tables, key=lambda table: table.prefix)
        found = {row.number: tuple(row) for row in connection.execute(self._look_over(tables), {"_me": incarnation})}
        if found.pop(_ME, None) is None:
            known = connection.execute(sa.select(self._own.hosts.c.host).limit(1)).first()
            return (Liveness.FORGOTTEN if known is None else Liveness.DEAD), False
        waiting = [(tables[number], suspect) for number, suspect in found.items()]
        # Looked for in each claim while there are some: they would wait as long as there are other jobs.
        self._looked_at = -LOOK if waiting else time.monotonic()
        return Liveness.LIVE, any([self._is_its_turn(connection, incarnation, *each) for each in waiting])

    def _look_over(self, tables: Sequence[JobTable]) -> sa.CompoundSelect[Any]:
        """One row if this worker is live, with the number ``_ME``, and for each table with suspects its number and one
        of them."""
        names = tuple(table.prefix for table in tables)
        if names not in self._looks:
            me = self._own.workers.c.incarnation
            look = [sa.select(sa.literal(_ME).label("number"), me, sa.literal(0)).where(me == sa.bindparam("_me"))]
            for number, table in enumerate(tables):
                key, claims = table.suspects.subquery(f"suspect_{number}").c
                look.append(sa.select(sa.literal(number), sa.cast(key, sa.String), claims))
            self._looks[names] = sa.union_all(*look)
        return self._looks[names]

    def _is_its_turn(
        self, connection: sa.Connection, incarnation: str, table: JobTable, suspect: tuple[Any, ...]
    ) -> bool:
        """Whether this worker is one that makes itself idle for the suspects of a table."""
        workers = self._own.workers
        found = connection.execute(sa.select(workers.c.incarnation, workers.c.facts)).all()
        able = [name for name, facts in found if table.facts.queue in queues_of(facts)]
        turns = self._turns.setdefault(table.prefix, Turns())
        return turns.asks(incarnation, able, suspect, at=time.time(), now=time.monotonic())

    # ---- what was claimed

    def _held(self, table: JobTable, row: Any, incarnation: str) -> Delivery:
        key = getattr(row, table.key_attribute)
        delivery = self._delivery(table, key, row, row.last_error, incarnation)
        self._in_hand[delivery.id] = ClaimedRow(table, key, row, row.claims, incarnation)
        return delivery

    def delivery_of(self, table: JobTable, row: Any) -> Delivery:
        """The delivery of a row that was read without its class."""
        return self._delivery(table, table.key_in(row), row, row.error, row.worker)

    def _delivery(self, table: JobTable, key: Any, row: Any, error: str | None, worker: str) -> Delivery:
        id, facts, deaths = table.id_of(key), table.facts, max(row.deaths, 0)
        job = Job(
            WIRE_VERSION,
            id,
            facts.task,
            facts.queue,
            id.encode(),
            row.priority,
            row.created_at.timestamp(),
            "",
            None,
            None,
            0.0,
            row.due_at.timestamp(),
        )
        meta = Meta(row.attempt, deaths, (error or "") if deaths else "")
        lane = lane_of(facts.queue, SUSPECT if deaths else row.priority)
        sealed = self._jobs.seal(encode_job(job))
        return Delivery(lane, proof_of(row.claims, worker, id), id, sealed, meta, deaths > 0, row.claims > row.attempt)

    def adopt(self, incarnation: str) -> list[Delivery]:
        """What this incarnation holds. Rows of mapped classes that are not in hand are taken in hand."""
        found: list[Delivery] = []
        with self._database.session() as session:
            for table in self._tables:
                if table.model is None:
                    rows = session.execute(table.held, {"_me": incarnation}).all()
                    found += [self.delivery_of(table, row) for row in rows]
                    continue
                for row in self._load(session, table, table.held, {"_me": incarnation}):
                    id = table.id_of(getattr(row, table.key_attribute))
                    known = self._in_hand.get(id)
                    if known is None or known.proof != proof_of(row.claims, incarnation, id):
                        found.append(self._held(table, row, incarnation))
                    else:
                        found.append(self._again(table, row, incarnation))
            session.expunge_all()
        return found

    def _again(self, table: JobTable, row: Any, incarnation: str) -> Delivery:
        return self._delivery(table, getattr(row, table.key_attribute), row, row.last_error, incarnation)


def queues_of(facts: bytes | None) -> Sequence[str]:
    """The queues in the facts of a worker."""
    try:
        known = msgspec.msgpack.decode(facts or b"\x80", type=dict[str, Any])
    except msgspec.DecodeError:
        return ()
    queues = known.get("queues", ())
    return queues if isinstance(queues, list) else ()
