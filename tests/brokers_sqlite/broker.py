"""A broker on a SQLite file: the example of ``docs/brokers.md``, and the third that the conformance suite runs on.

It has every verb and polls where others are woken, so it is for reading, not for load. A verb is one transaction of
SQLite, which is all that makes it atomic.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec

from aiotask.broker import (
    BATCH_JOBS,
    Begin,
    Cancelled,
    Claim,
    Delivery,
    Finish,
    JobState,
    Liveness,
    Notice,
    Overflow,
    Push,
    Recovered,
    Replayed,
    Requeue,
    Room,
    Settled,
)
from aiotask.brokers.history import HistoryRow
from aiotask.brokers.lanes import (
    RETURNED,
    SUSPECT,
    claim_order,
    flags_of,
    is_parked,
    lane_of,
    parked_lane,
    suspect_lanes,
)
from aiotask.errors import BrokerError
from aiotask.job import Meta, Obituary, Status

from . import tables
from .inspector import SqliteInspector

__all__ = ["SqliteBroker", "directory_of"]

#: Seconds between two looks of a verb that waits; seconds after its last push that a client is remembered.
POLL, REMEMBERED = 0.005, 3600.0


def directory_of(url: str) -> Path:
    """Where the files of all apps at a URL are."""
    return Path(unquote(urlsplit(url).path))


class SqliteBroker(SqliteInspector):
    """Broker and Inspector of one app, whose jobs are in ``APP.db`` in the directory of the URL."""

    by_queue = False

    def __init__(self, url: str, app: str) -> None:
        self.url = url
        self._path = directory_of(url) / f"{app}.db"
        self._db: sqlite3.Connection | None = None
        self._is_woken = False

    async def open(self) -> None:
        async with self.state():
            pass

    async def close(self) -> None:
        self.disconnect()

    def disconnect(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    def abandon(self) -> None:
        # SQLite must neither use nor close a connection in another process than the one that opened it.
        self._abandoned, self._db = self._db, None

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """What happens in the block happens completely or not at all, and with no other process in between."""
        try:
            if self._db is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._db = sqlite3.connect(self._path, timeout=30, isolation_level=None)
                self._db.executescript(f"PRAGMA journal_mode = wal; PRAGMA synchronous = normal; {tables.SCHEMA}")
            with self._db as db:
                db.execute("BEGIN IMMEDIATE")
                db.execute("DELETE FROM results WHERE expires <= ?", [time.time()])
                yield db
        except sqlite3.Error as error:
            raise BrokerError(f'The jobs at "{self.url}" cannot be reached: {error}.') from error

    @contextlib.asynccontextmanager
    async def state(self) -> AsyncIterator[sqlite3.Connection]:
        """A transaction after the loop has had its turn: a verb in a tight loop starves no neighbour."""
        await asyncio.sleep(0)
        with self.transaction() as db:
            yield db

    # ---- sending

    async def push(
        self, client: str, sequence: int, batch: Sequence[Push], room: Room | None = None, drop: Sequence[Finish] = ()
    ) -> Overflow | None:
        await asyncio.sleep(0)
        return self.accept(client, sequence, batch, room, drop)

    async def push_row(self, client: str, sequence: int, row: Sequence[Sequence[Push]]) -> int:
        for number, batch in enumerate(row, sequence):
            self.accept(client, number, batch)
        return len(row)

    def accept(
        self, client: str, sequence: int, batch: Sequence[Push], room: Room | None = None, drop: Sequence[Finish] = ()
    ) -> Overflow | None:
        now, refused = time.time(), []
        with self.transaction() as db:
            db.execute("DELETE FROM clients WHERE at < ?", [now - REMEMBERED])
            known = db.execute("SELECT sequence, refused FROM clients WHERE client = ?", [client]).fetchone()
            if known and sequence <= known[0]:
                before = json.loads(known[1])
                return Overflow(before) if before and sequence == known[0] else None
            for item in drop:
                for row in tables.rows(db, "entry = ? AND owner = ''", item.delivery.entry):
                    tables.end(db, row, tables.Ending(item.outcome, item.status, item.result_ttl, item.reply))
            for push in batch:
                if push.custom and (tables.find(db, push.id) or tables.outcome_of(db, push.id)):
                    continue
                due = now + push.delay if push.eta is None else push.eta
                limit = room.of(push.queue) if room else None
                if due <= now and tables.is_full(db, push.queue, limit):
                    refused.append(push)
                else:
                    row = tables.Row(0, push.id, push.queue, "", push.sealed, tables.encode_meta(Meta()))
                    tables.put(db, row, lane_of(push.queue, push.priority), due=due if due > now else None)
            oldest = tables.oldest(db, [push.queue for push in refused]) if room and room.oldest else []
            ids = [push.id for push in refused]
            db.execute("INSERT OR REPLACE INTO clients VALUES (?, ?, ?, ?)", [client, sequence, json.dumps(ids), now])
            return Overflow(ids, oldest) if refused else None

    async def status(self, ids: Sequence[str], address: str = "") -> list[JobState]:
        async with self.state() as db:
            return [tables.state_of(db, id, address) for id in ids]

    async def listen(
        self, address: str, on_notices: Callable[[list[Notice]], None], on_subscribed: Callable[[], None]
    ) -> None:
        async with self.state() as db:
            number = db.execute("INSERT INTO listeners (address) VALUES (?)", [address]).lastrowid
            (last,) = db.execute("SELECT ifnull(max(number), 0) FROM notices").fetchone()
        on_subscribed()
        try:
            while True:
                async with self.state() as db:
                    sql = "SELECT number, id, outcome FROM notices WHERE address = ? AND number > ? ORDER BY number"
                    found = db.execute(sql, [address, last]).fetchall()
                if found:
                    last = found[-1][0]
                    on_notices([Notice(id, outcome) for _, id, outcome in found])
                await asyncio.sleep(POLL)
        finally:
            async with self.state() as db:
                db.execute("DELETE FROM listeners WHERE number = ?", [number])

    async def publish(self, address: str, notice: Notice) -> bool:
        async with self.state() as db:
            return tables.notify(db, [address], notice)

    async def cancel(self, id: str, outcome: bytes, result_ttl: float) -> Cancelled:
        async with self.state() as db:
            if tables.outcome_of(db, id):
                return Cancelled.FINISHED
            row = tables.find(db, id)
            if row is None:
                return Cancelled.UNKNOWN
            if row.owner:
                db.execute("INSERT OR REPLACE INTO marks VALUES (?, ?, 'CANCELLED', ?)", [id, outcome, result_ttl])
                tables.notify(db, [row.owner, row.owner.rpartition(".")[0]], Notice(id))
                return Cancelled.ASKED
            tables.end(db, row, tables.Ending(outcome, Status.CANCELLED, result_ttl))
            return Cancelled.DONE

    # ---- working

    async def enlist(self, incarnation: str, host: str, facts: bytes) -> None:
        async with self.state() as db:
            if tables.liveness_of(db, incarnation) is not Liveness.FORGOTTEN or incarnation.rpartition(".")[0] != host:
                raise BrokerError(
                    f'"{incarnation}" cannot be enlisted on "{host}": each name is used only once. Take a new one.'
                )
            db.execute("INSERT INTO live (incarnation, host, facts) VALUES (?, ?, ?)", [incarnation, host, facts])
            db.execute(
                "INSERT INTO hosts (host, counter) VALUES (?, 0) "
                "ON CONFLICT DO UPDATE SET counter = ifnull(counter, 0), is_dead = 0",
                [host],
            )

    async def claim(
        self, incarnation: str, queues: Sequence[str], needs: Collection[str], limit: int, *, alone: bool = False
    ) -> Claim:
        async with self.state() as db:
            liveness = tables.liveness_of(db, incarnation)
            if liveness is not Liveness.LIVE:
                return Claim([], liveness)
            if alone:
                found = tables.lend(db, incarnation, suspect_lanes(queues), 1)
                if found:
                    db.execute("DELETE FROM volunteer WHERE incarnation = ?", [incarnation])
                return Claim(found)
            if tables.volunteers(db, incarnation, queues):
                return Claim([], suspects=True)
            return Claim(tables.lend(db, incarnation, claim_order(queues, needs, by_queue=self.by_queue), limit))

    async def wait(self, incarnation: str, queues: Sequence[str], needs: Collection[str], timeout: float) -> Claim:
        order, ends = claim_order(queues, needs), time.monotonic() + timeout
        self._is_woken = False
        while True:
            async with self.state() as db:
                liveness = tables.liveness_of(db, incarnation)
                claim = Claim(tables.lend(db, incarnation, order, 1) if liveness is Liveness.LIVE else [], liveness)
            is_over = self._is_woken or time.monotonic() >= ends
            if claim.deliveries or liveness is not Liveness.LIVE or is_over:
                return claim
            await asyncio.sleep(POLL)

    async def wake(self) -> None:
        self._is_woken = True

    async def adopt(self, incarnation: str, queues: Sequence[str], needs: Collection[str]) -> list[Delivery]:
        async with self.state() as db:
            return [row.delivery() for row in tables.rows(db, "owner = ? ORDER BY entry", incarnation)]

    async def begin(self, incarnation: str, batch: Sequence[Begin]) -> list[bool]:
        async with self.state() as db:
            found = [tables.lent(db, item.delivery) for item in batch]
            mine = [row is not None and row.owner == incarnation for row in found]
            begun = [
                (item.delivery.id, item.lost, item.result_ttl)
                for item, is_mine in zip(batch, mine, strict=True)
                if is_mine
            ]
            db.executemany("INSERT OR REPLACE INTO begun VALUES (?, ?, 'FAILED', ?)", begun)
            return mine

    async def finish(
        self, incarnation: str, batch: Sequence[Finish], *, repeat: bool = False
    ) -> tuple[list[Settled], Liveness]:
        async with self.state() as db:
            return [tables.finish(db, item, repeat) for item in batch], tables.liveness_of(db, incarnation)

    async def requeue(
        self, incarnation: str, batch: Sequence[Requeue], *, repeat: bool = False
    ) -> tuple[list[Settled], Liveness]:
        async with self.state() as db:
            return [tables.requeue(db, item, repeat) for item in batch], tables.liveness_of(db, incarnation)

    async def reject(self, incarnation: str, batch: Sequence[tuple[Delivery, str]]) -> None:
        async with self.state() as db:
            for delivery, reason in batch:
                row = tables.lent(db, delivery)
                if row is not None:
                    tables.notify(db, tables.addresses(db, row), Notice(row.id))
                    tables.remove(db, row)
                if row is not None or not delivery.lane:
                    db.execute("INSERT INTO refused (id, reason) VALUES (?, ?)", [delivery.id, reason])

    async def parked(self, needs: Sequence[str]) -> list[str]:
        async with self.state() as db:
            return [need for need in needs if tables.rows(db, "lane = ? AND owner = ''", parked_lane(need))]

    async def cancels(self, incarnation: str, ids: Sequence[str]) -> list[bytes | None]:
        async with self.state() as db:
            marked = [db.execute("SELECT outcome FROM marks WHERE id = ?", [id]).fetchone() for id in ids]
            return [mark and mark[0] for mark in marked]

    # ---- keeping

    async def renew(self, host: str, counter: int) -> Liveness:
        async with self.state() as db:
            if db.execute("SELECT 1 FROM hosts WHERE host = ? AND is_dead", [host]).fetchone():
                return Liveness.DEAD
            db.execute("INSERT OR REPLACE INTO hosts VALUES (?, ?, 1, 0)", [host, counter])
            return Liveness.LIVE

    async def leases(self) -> dict[str, int]:
        async with self.state() as db:
            return dict(db.execute("SELECT host, counter FROM hosts WHERE counter IS NOT NULL"))

    async def declare_dead(self, host: str, counter: int | None = None) -> bool:
        if counter is not None and (await self.leases()).get(host) != counter:
            return False
        async with self.state() as db:
            sql = "UPDATE hosts SET is_dead = was_renewed AND counter IS NOT NULL, counter = NULL WHERE host = ?"
            db.execute(sql, [host])
            db.execute("UPDATE live SET is_dead = 1 WHERE host = ?", [host])
            return True

    async def recover(
        self,
        dead: str = "",
        *,
        blame: Collection[str] = (),
        reason: str = "",
        obituary: Obituary | None = None,
        keep: Collection[str] = (),
    ) -> Recovered:
        moved = 0
        kept: list[Delivery] = []
        async with self.state() as db:
            db.execute("UPDATE live SET is_dead = 1 WHERE incarnation = ?", [dead])
            live = "SELECT incarnation FROM live WHERE NOT is_dead"
            left = "owner = ?" if dead else f"owner != ? AND owner NOT IN ({live})"
            for row in tables.rows(db, f"{left} ORDER BY entry", dead):
                if moved == BATCH_JOBS:
                    return Recovered(moved, kept, more=True)
                if row.id in keep:
                    kept.append(row.delivery())
                    continue
                moved += 1
                if row.id in blame:
                    meta = tables.decode_meta(row.meta)
                    meta = msgspec.structs.replace(meta, deaths=meta.deaths + 1, reason=reason, obituary=obituary)
                    tables.go_on(db, row._replace(meta=tables.encode_meta(meta)), lane_of(row.queue, SUSPECT))
                else:
                    stays = is_parked(row.lane) or flags_of(row.lane)[0]
                    tables.go_on(db, row, row.lane if stays else lane_of(row.queue, RETURNED))
        return Recovered(moved, kept)

    async def promote(self, limit: int = BATCH_JOBS) -> tuple[int, float | None]:
        now = time.time()
        async with self.state() as db:
            due = tables.rows(db, "due <= ? ORDER BY due, entry LIMIT ?", now, limit)
            for row in due:
                tables.put(db, row, row.lane)
            (then,) = db.execute("SELECT min(due) FROM jobs").fetchone()
            return len(due), None if then is None else then - now

    async def replay(self, ids: Sequence[str]) -> list[Replayed]:
        async with self.state() as db:
            return [tables.replay(db, id) for id in ids]

    async def discard(self, ids: Sequence[str]) -> list[Replayed]:
        async with self.state() as db:
            gone = [db.execute("DELETE FROM dead WHERE id = ?", [id]).rowcount > 0 for id in ids]
            return [Replayed.DONE if was_there else Replayed.MISSING for was_there in gone]

    async def forget(self, ids: Sequence[str]) -> list[bool]:
        async with self.state() as db:
            free = [id for id in ids if tables.find(db, id) is None]
            gone = {id for id in free if db.execute("DELETE FROM results WHERE id = ?", [id]).rowcount}
            return [id in gone for id in ids]

    # ---- the feature "history"

    async def start_history(self) -> None:
        async with self.state() as db:
            db.execute("INSERT OR IGNORE INTO recorders VALUES ('')")

    async def read_history(self, recorder: str, limit: int, timeout: float) -> list[HistoryRow]:
        ends = time.monotonic() + timeout
        await self.start_history()
        while True:
            async with self.state() as db:
                sql = "SELECT entry, job, outcome, meta FROM history WHERE reader = '' ORDER BY entry LIMIT ?"
                rows = db.execute(sql, [limit]).fetchall()
                db.executemany("UPDATE history SET reader = ? WHERE entry = ?", [(recorder, row[0]) for row in rows])
            if rows or time.monotonic() >= ends:
                return [HistoryRow(str(row[0]), row[1], row[2], tables.decode_meta(row[3])) for row in rows]
            await asyncio.sleep(POLL)

    async def trim_history(self, entries: Sequence[str]) -> None:
        async with self.state() as db:
            db.executemany("DELETE FROM history WHERE entry = ?", [(entry,) for entry in entries])
