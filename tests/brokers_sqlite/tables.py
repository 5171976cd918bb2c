"""The tables of the SQLite broker, and how a job moves in them. Each function runs in a transaction of its caller."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from aiotask.broker import (
    BATCH_BYTES,
    BATCH_JOBS,
    Delivery,
    Finish,
    JobState,
    Liveness,
    Notice,
    Replayed,
    Requeue,
    Settled,
)
from aiotask.brokers.lanes import (
    RETURNED,
    all_lanes,
    claim_order,
    flags_of,
    is_parked,
    kind_of_requeue,
    lane_of,
    need_of,
    parked_lane,
    suspect_lanes,
)
from aiotask.errors import SealError
from aiotask.job import Job, Meta, Status, decode_job
from aiotask.wire.seal import OVERHEAD

#: Seconds that a volunteer for a suspect has, and that a notice is kept for its listeners.
VOLUNTEER, NOTICE = 30.0, 60.0

SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (entry INTEGER PRIMARY KEY AUTOINCREMENT, id, queue, lane, sealed, meta,
    owner DEFAULT '', due, is_retry);
CREATE INDEX IF NOT EXISTS jobs_by_id ON jobs (id);
CREATE INDEX IF NOT EXISTS jobs_by_lane ON jobs (lane, owner, entry);
CREATE TABLE IF NOT EXISTS results (id PRIMARY KEY, outcome, status, expires);
CREATE TABLE IF NOT EXISTS watchers (id, address, UNIQUE (id, address));
CREATE TABLE IF NOT EXISTS marks (id PRIMARY KEY, outcome, status, ttl);
CREATE TABLE IF NOT EXISTS begun (id PRIMARY KEY, outcome, status, ttl);
CREATE TABLE IF NOT EXISTS clients (client PRIMARY KEY, sequence, refused, at);
CREATE TABLE IF NOT EXISTS live (incarnation PRIMARY KEY, host, facts, is_dead DEFAULT 0);
CREATE TABLE IF NOT EXISTS hosts (host PRIMARY KEY, counter, was_renewed DEFAULT 0, is_dead DEFAULT 0);
CREATE TABLE IF NOT EXISTS volunteer (incarnation, until);
CREATE TABLE IF NOT EXISTS dead (number INTEGER PRIMARY KEY AUTOINCREMENT, id UNIQUE, at, job, outcome);
CREATE TABLE IF NOT EXISTS refused (number INTEGER PRIMARY KEY AUTOINCREMENT, id, reason);
CREATE TABLE IF NOT EXISTS listeners (number INTEGER PRIMARY KEY AUTOINCREMENT, address);
CREATE TABLE IF NOT EXISTS notices (number INTEGER PRIMARY KEY AUTOINCREMENT, address, id, outcome, at);
CREATE TABLE IF NOT EXISTS recorders (name PRIMARY KEY);
CREATE TABLE IF NOT EXISTS history (entry INTEGER PRIMARY KEY AUTOINCREMENT, job, outcome, meta, reader DEFAULT '');
"""
encode_meta, decode_meta = msgspec.msgpack.encode, msgspec.msgpack.Decoder(Meta).decode


class Ending(NamedTuple):
    """What a job ends with."""

    outcome: bytes
    status: str
    ttl: float
    reply: str = ""
    is_dead: bool = False


class Row(NamedTuple):
    """One unfinished job."""

    entry: int
    id: str
    queue: str
    lane: str
    sealed: bytes
    meta: bytes
    owner: str = ""
    due: float | None = None
    is_retry: int = 0

    @property
    def status(self) -> Status:
        if self.due is not None:
            return Status.RETRYING if self.is_retry else Status.SCHEDULED
        return Status.RUNNING if self.owner else Status.PARKED if is_parked(self.lane) else Status.PENDING

    @property
    def job(self) -> Job | None:
        """The job inside the envelope, whose seal is not checked here; None: it cannot be read."""
        with contextlib.suppress(SealError):
            return decode_job(self.sealed[OVERHEAD:])
        return None

    def delivery(self) -> Delivery:
        return Delivery(self.lane, str(self.entry), self.id, self.sealed, decode_meta(self.meta), *flags_of(self.lane))


# ---- looking


def rows(db: sqlite3.Connection, where: str, *values: object) -> list[Row]:
    """Unfinished jobs."""
    return [Row(*found) for found in db.execute(f"SELECT * FROM jobs WHERE {where}", values)]


def find(db: sqlite3.Connection, id: str) -> Row | None:
    """The unfinished job of an id; after a forgery with the same id, the latest."""
    return next(iter(rows(db, "id = ? ORDER BY entry DESC LIMIT 1", id)), None)


def lent(db: sqlite3.Connection, delivery: Delivery) -> Row | None:
    """The job of a delivery, if that proves anything still."""
    return next(iter(rows(db, "entry = ? AND lane = ? AND owner != ''", delivery.entry or 0, delivery.lane)), None)


def waiting(db: sqlite3.Connection, lanes: Sequence[str], limit: int = -1) -> list[Row]:
    """Jobs in these lanes that no worker has claimed, oldest first."""
    where = f"lane IN ({', '.join('?' * len(lanes))}) AND owner = '' AND due IS NULL ORDER BY entry LIMIT ?"
    return rows(db, where, *lanes, limit)


def outcome_of(db: sqlite3.Connection, id: str) -> tuple[bytes, str] | None:
    found: tuple[bytes, str] | None = db.execute("SELECT outcome, status FROM results WHERE id = ?", [id]).fetchone()
    return found


def state_of(db: sqlite3.Connection, id: str, address: str) -> JobState:
    """What is known of an id; an unfinished one gets a watcher."""
    stored, row = outcome_of(db, id), find(db, id)
    if stored:
        return JobState(outcome=stored[0])
    if row is None:
        refused = db.execute("SELECT reason FROM refused WHERE id = ? ORDER BY number DESC", [id]).fetchone()
        return JobState(refused=refused[0] if refused else "")
    if address:
        db.execute("INSERT OR IGNORE INTO watchers VALUES (?, ?)", [id, address])
    return JobState(row.status, need=need_of(row.lane) if row.status is Status.PARKED else "")


def liveness_of(db: sqlite3.Connection, incarnation: str) -> Liveness:
    found = db.execute("SELECT is_dead FROM live WHERE incarnation = ?", [incarnation]).fetchone()
    return Liveness.FORGOTTEN if found is None else Liveness.DEAD if found[0] else Liveness.LIVE


# ---- claiming


def lend(db: sqlite3.Connection, incarnation: str, lanes: Sequence[str], limit: int) -> list[Delivery]:
    """Lend from lane after lane, oldest first, until the limit of jobs or bytes is reached."""
    deliveries: list[Delivery] = []
    room = BATCH_BYTES
    for lane in lanes:
        for row in waiting(db, [lane], min(limit, BATCH_JOBS) - len(deliveries)):
            if room <= 0:
                return deliveries
            db.execute("UPDATE jobs SET owner = ? WHERE entry = ?", [incarnation, row.entry])
            deliveries.append(row.delivery())
            room -= len(row.sealed)
    return deliveries


def volunteers(db: sqlite3.Connection, incarnation: str, queues: Sequence[str]) -> bool:
    """Whether suspects wait and this incarnation is the one that makes itself idle for them."""
    if not waiting(db, suspect_lanes(queues), 1):
        return False
    found = db.execute("SELECT incarnation FROM volunteer WHERE until > ?", [time.time()]).fetchone()
    if found and liveness_of(db, found[0]) is Liveness.LIVE:
        return bool(found[0] == incarnation)
    db.execute("DELETE FROM volunteer")
    db.execute("INSERT INTO volunteer VALUES (?, ?)", [incarnation, time.time() + VOLUNTEER])
    return True


def oldest(db: sqlite3.Connection, queues: Sequence[str]) -> list[Delivery]:
    """As many of the jobs that wait longest in each queue as it is named, suspects left aside."""
    found = [row for queue in dict.fromkeys(queues) for row in waiting(db, claim_order([queue]), queues.count(queue))]
    return [row.delivery() for row in found]


def is_full(db: sqlite3.Connection, queue: str, limit: int | None) -> bool:
    return limit is not None and len(waiting(db, all_lanes(queue), limit)) >= limit


#: Where the outcomes are that were left for a job that does not go on.
_LEFT = ("marks", "begun")


# ---- moving


def put(db: sqlite3.Connection, row: Row, lane: str, *, due: float | None = None, is_retry: bool = False) -> None:
    """Put a job at the end of a lane, now or when it is due. Its entry is new, so old proofs are worth nothing."""
    db.execute("DELETE FROM jobs WHERE entry = ?", [row.entry])
    sql = "INSERT INTO jobs (id, queue, lane, sealed, meta, due, is_retry) VALUES (?, ?, ?, ?, ?, ?, ?)"
    db.execute(sql, [row.id, row.queue, lane, row.sealed, row.meta, due, is_retry])


def go_on(db: sqlite3.Connection, row: Row, lane: str, *, due: float | None = None) -> bool:
    """Put back what was claimed. False: it has ended, since it was cancelled, or had begun and runs once at most."""
    left = [db.execute(f"SELECT outcome, status, ttl FROM {table} WHERE id = ?", [row.id]) for table in _LEFT]
    mark = left[0].fetchone() or left[1].fetchone()
    if mark:
        end(db, row, Ending(*mark))
        return False
    put(db, row, lane, due=due, is_retry=True)
    return True


def requeue(db: sqlite3.Connection, item: Requeue, repeat: bool) -> Settled:
    row = lent(db, item.delivery)
    if row is None:
        return Settled.BEFORE if repeat else Settled.NOT_YOURS
    # Its owner gives it back, so its function has not run.
    db.execute("DELETE FROM begun WHERE id = ?", [row.id])
    row = row._replace(meta=encode_meta(item.meta), queue=item.queue)
    if item.need:
        sent_to = row.job.queue if row.job else item.queue
        if go_on(db, row._replace(queue=sent_to), parked_lane(item.need)):
            notify(db, {item.reply, *addresses(db, row)}, Notice(row.id))
    elif item.delay > 0:
        go_on(db, row, lane_of(item.queue, RETURNED), due=time.time() + item.delay)
    else:
        go_on(db, row, lane_of(item.queue, kind_of_requeue(suspect=item.delivery.suspect, behind=item.behind)))
    return Settled.DONE


def finish(db: sqlite3.Connection, item: Finish, repeat: bool) -> Settled:
    row, id = lent(db, item.delivery), item.delivery.id
    if row is not None:
        end(db, row, Ending(item.outcome, item.status, item.result_ttl, item.reply, item.dead))
        return Settled.DONE
    if stored := outcome_of(db, id):
        return Settled.BEFORE if stored[0] == item.outcome else Settled.NOT_YOURS
    is_gone = item.result_ttl <= 0 and find(db, id) is None
    return Settled.BEFORE if repeat and is_gone else Settled.NOT_YOURS


def replay(db: sqlite3.Connection, id: str) -> Replayed:
    letter = db.execute("SELECT job, outcome FROM dead WHERE id = ?", [id]).fetchone()
    if letter is None:
        return Replayed.MISSING
    row = Row(0, id, "", "", letter[0], encode_meta(Meta(series=time.time_ns() // 1_000_000)))
    job, stored = row.job, outcome_of(db, id)
    if job is None or find(db, id) or (stored and stored[0] != letter[1]):
        return Replayed.OUTDATED
    for table in ("dead", "results", "marks"):
        db.execute(f"DELETE FROM {table} WHERE id = ?", [id])
    put(db, row._replace(queue=job.queue), lane_of(job.queue, job.priority))
    return Replayed.DONE


# ---- ending


def end(db: sqlite3.Connection, row: Row, ending: Ending) -> None:
    """The end of a job: outcome stored and published, all traces removed."""
    receivers = {ending.reply, *addresses(db, row)}
    remove(db, row)
    if ending.ttl > 0:
        result = [row.id, ending.outcome, ending.status, time.time() + ending.ttl]
        db.execute("INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?)", result)
    notify(db, receivers, Notice(row.id, ending.outcome))
    if db.execute("SELECT 1 FROM recorders").fetchone():
        sql = "INSERT INTO history (job, outcome, meta) VALUES (?, ?, ?)"
        db.execute(sql, [row.sealed, ending.outcome, row.meta])
    if ending.is_dead:
        sql = "INSERT OR REPLACE INTO dead (id, at, job, outcome) VALUES (?, ?, ?, ?)"
        db.execute(sql, [row.id, time.time(), row.sealed, ending.outcome])


def remove(db: sqlite3.Connection, row: Row) -> None:
    """Take a job out, with all that is known of its id, unless that means another job."""
    db.execute("DELETE FROM jobs WHERE entry = ?", [row.entry])
    if find(db, row.id) is None:
        for table in ("watchers", "marks", "begun"):
            db.execute(f"DELETE FROM {table} WHERE id = ?", [row.id])


def addresses(db: sqlite3.Connection, row: Row) -> set[str]:
    """The addresses that are notified of a job: that of its sender, by the envelope, and those of its watchers."""
    watching = {address for (address,) in db.execute("SELECT address FROM watchers WHERE id = ?", [row.id])}
    return watching | ({row.job.reply} if row.job else set())


def notify(db: sqlite3.Connection, receivers: Iterable[str], notice: Notice) -> bool:
    """Leave a notice for the listeners of these addresses. False: there are none."""
    now, has_listeners = time.time(), False
    db.execute("DELETE FROM notices WHERE at < ?", [now - NOTICE])
    for address in set(receivers):
        if db.execute("SELECT 1 FROM listeners WHERE address = ?", [address]).fetchone():
            sql = "INSERT INTO notices (address, id, outcome, at) VALUES (?, ?, ?, ?)"
            db.execute(sql, [address, notice.id, notice.outcome, now])
            has_listeners = True
    return has_listeners
