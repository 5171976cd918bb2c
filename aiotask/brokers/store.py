"""What the memory broker keeps: the twin of ``redis/keys.py`` and of the scripts beside it.

Every method expects the caller to hold ``lock``; each leaves the store as one whole state move does.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import threading
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from ..broker import (
    BATCH_BYTES,
    BATCH_JOBS,
    Cancelled,
    DeadLetter,
    Delivery,
    Look,
    Meta,
    Notice,
    Push,
    Requeue,
    Standing,
    lane_of,
)
from ..job import Status

__all__ = ["Bell", "Ear", "Ending", "Lane", "Record", "Row", "Store", "lanes"]

#: Seconds after its last push that a client's sequence is remembered.
CLIENT_TTL = 3600.0
#: Seconds in which a volunteer for a suspect has to come back for it.
VOLUNTEER_TTL = 30.0
#: Seconds after which the rows that a recorder read and did not trim go to whoever reads next.
RECORDER_IDLE = 60.0
#: Older dead letters make room.
DEAD_LETTERS = 10_000
#: Older rows that nobody recorded make room.
HISTORY_ROWS = 1_000_000


def lanes(queues: Iterable[str], needs: Iterable[str]) -> list[str]:
    """Lanes in the order in which they are claimed: returned, parked, then priority by priority."""
    queues = list(queues)
    returned = [f"q:{queue}:r" for queue in queues]
    parked = [f"parked:{need}" for need in needs]
    return returned + parked + [lane_of(queue, priority) for priority in range(10) for queue in queues]


class Bell:
    """Wakes one coroutine, from whatever thread it is rung."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()
        self._ringing = False

    def ring(self) -> None:
        if self._ringing:
            return
        try:
            self._loop.call_soon_threadsafe(self._event.set)
        except RuntimeError:
            return  # its loop is closed: nobody sleeps there any more
        self._ringing = True

    async def rung(self) -> None:
        await self._event.wait()
        self._event.clear()
        self._ringing = False  # before the store is looked at, so that no change goes unnoticed


class Ear(Bell):
    """One listener of the results channel."""

    def __init__(self) -> None:
        super().__init__()
        self._notices: list[Notice] = []

    def tell(self, notice: Notice) -> None:
        self._notices.append(notice)
        self.ring()

    def take(self) -> list[Notice]:
        notices, self._notices = self._notices, []
        return notices


@dataclass(slots=True, eq=False)
class Record:
    """One unfinished job: in a lane (claimed by ``owner``, or by nobody), or outside it until it is due."""

    id: str
    queue: str
    sealed: bytes
    lane: str
    meta: Meta = field(default_factory=Meta)
    entry: str = ""
    owner: str = ""
    due_at: float | None = None
    is_retry: bool = False

    @property
    def need(self) -> str:
        return self.lane.removeprefix("parked:") if self.lane.startswith("parked:") else ""

    @property
    def status(self) -> Status:
        if self.due_at is not None:
            return Status.RETRYING if self.is_retry else Status.SCHEDULED
        if self.owner:
            return Status.RUNNING
        return Status.PARKED if self.need else Status.PENDING

    def delivery(self) -> Delivery:
        return Delivery(self.lane, self.entry, self.id, self.sealed, self.meta)


@dataclass(slots=True)
class Lane:
    """Entries of one lane, oldest first: what waits, and what is lent."""

    waiting: dict[str, Record] = field(default_factory=dict)
    claimed: dict[str, Record] = field(default_factory=dict)


@dataclass(slots=True)
class Ending:
    """What a job ends with. ``ttl`` is in seconds, 0: it is not stored."""

    outcome: bytes
    status: Status
    ttl: float
    reply: str = ""
    is_dead: bool = False


@dataclass(slots=True)
class Row:
    """A finished job that waits to be recorded; ``reader`` has it since ``read_at`` (monotonic)."""

    entry: str
    job: bytes
    outcome: bytes
    meta: Meta
    reader: str = ""
    read_at: float = 0.0


class Store:
    """All state of one app, shared by its broker objects in every loop and thread of this process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        #: This process is a fork of the one that the jobs belong to.
        self.is_foreign = False
        self.queues: set[str] = set()
        self.lanes: defaultdict[str, Lane] = defaultdict(Lane)
        self.index: dict[str, Record] = {}
        self.due: list[tuple[float, int, Record]] = []
        self.results: dict[str, tuple[bytes, Status, float]] = {}
        self.watchers: dict[str, set[str]] = {}
        self.marks: dict[str, Ending] = {}
        self.clients: dict[str, tuple[int, float]] = {}
        self.live: dict[str, tuple[str, bytes]] = {}
        self.leases: dict[str, int] = {}
        self.buried: set[str] = set()
        self.dead: dict[str, DeadLetter] = {}
        self.rejected: list[tuple[Delivery, str]] = []
        self.rejections = 0
        self.history: dict[str, Row] = {}
        self.is_recording = False
        self.volunteer = ("", 0.0)
        self.bells: dict[Bell, frozenset[str]] = {}
        self.ears: defaultdict[str, list[Ear]] = defaultdict(list)
        self.recorders: set[Bell] = set()
        self._expiries: list[tuple[float, str]] = []
        self._counter = itertools.count(1)

    # ---- where a job is

    def place(self, record: Record, lane: str) -> None:
        """Put a job at the end of a lane; its old proofs are worth nothing from now on."""
        record.lane, record.entry, record.owner, record.due_at = lane, str(next(self._counter)), "", None
        self.lanes[lane].waiting[record.entry] = record
        self.index[record.id] = record
        for bell, heard in self.bells.items():
            if lane in heard:
                bell.ring()

    def hold(self, record: Record, lane: str, due_at: float, *, is_retry: bool) -> None:
        """Keep a job outside its lane until it is due."""
        record.lane, record.entry, record.owner = lane, "", ""
        record.due_at, record.is_retry = due_at, is_retry
        self.index[record.id] = record
        heapq.heappush(self.due, (due_at, next(self._counter), record))

    def take_back(self, lane: str, entry: str) -> Record | None:
        """Take a claimed job out of its lane; None: that delivery is not (or no longer) lent."""
        found = self.lanes.get(lane)
        return found.claimed.pop(entry, None) if found else None

    def lend(self, incarnation: str, lane: str, limit: int) -> Iterator[Delivery]:
        """Lend the oldest jobs of a lane, at most ``limit``."""
        found = self.lanes.get(lane)
        if found is None:
            return
        for entry in list(itertools.islice(found.waiting, limit)):
            record = found.claimed[entry] = found.waiting.pop(entry)
            record.owner = incarnation
            yield record.delivery()

    def lend_in_order(self, incarnation: str, order: Sequence[str], limit: int) -> list[Delivery]:
        """Lend from lane after lane until the limit of jobs or bytes is reached."""
        deliveries: list[Delivery] = []
        room, limit = BATCH_BYTES, min(limit, BATCH_JOBS)
        for lane in order:
            if len(deliveries) >= limit or room <= 0:
                break
            for delivery in self.lend(incarnation, lane, limit - len(deliveries)):
                deliveries.append(delivery)
                room -= len(delivery.sealed)
                if room <= 0:
                    break
        return deliveries

    # ---- how a job moves

    def accept(self, client: str, sequence: int, batch: Sequence[Push]) -> None:
        """Take a batch in, unless this client has sent it before."""
        now = time.monotonic()
        while self.clients and next(iter(self.clients.values()))[1] < now - CLIENT_TTL:
            del self.clients[next(iter(self.clients))]
        last, _ = self.clients.pop(client, (0, 0.0))
        self.clients[client] = max(sequence, last), now
        if sequence <= last:
            return
        self.expire()
        at = time.time()
        for push in batch:
            self.queues.add(push.queue)
            if push.custom and (push.id in self.index or push.id in self.results):
                continue
            lane = lane_of(push.queue, push.priority)
            record = Record(push.id, push.queue, push.sealed, lane)
            due_at = at + push.delay if push.eta is None else push.eta
            if due_at > at:
                self.hold(record, lane, due_at, is_retry=False)
            else:
                self.place(record, lane)

    def requeue(self, record: Record, item: Requeue) -> None:
        """Let a job go on that was taken out of its lane; one that was cancelled ends here."""
        record.meta, record.queue = item.meta, item.queue
        self.queues.add(item.queue)
        if self.end_if_marked(record, item.reply):
            return
        if item.need:
            self.place(record, f"parked:{item.need}")
            self.tell({item.reply, *self.watchers.get(record.id, ())}, Notice(record.id))
        elif item.delay > 0:
            self.hold(record, f"q:{item.queue}:r", time.time() + item.delay, is_retry=True)
        else:
            self.place(record, f"q:{item.queue}:r")

    def give_back(self, record: Record, *, blamed: bool, reason: str) -> None:
        """Put the job of a dead incarnation back where it can be claimed."""
        if self.end_if_marked(record):
            return
        if blamed:
            record.meta = Meta(record.meta.attempt, record.meta.deaths + 1, reason)
            self.place(record, f"q:{record.queue}:s")
        elif record.need or record.lane == f"q:{record.queue}:s":
            self.place(record, record.lane)
        else:
            self.place(record, f"q:{record.queue}:r")

    def promote(self, limit: int) -> tuple[int, float | None]:
        """Put due jobs into their lanes. How many, and seconds until the next one is due."""
        at, moved = time.time(), 0
        while self.due:
            due_at, _, record = self.due[0]
            if record.due_at != due_at:
                heapq.heappop(self.due)  # it was cancelled
            elif due_at <= at and moved < limit:
                heapq.heappop(self.due)
                self.place(record, record.lane)
                moved += 1
            else:
                return moved, due_at - at
        return moved, None

    def cancel(self, id: str, ending: Ending) -> Cancelled:
        """End a job that nobody has claimed, mark one that somebody has."""
        self.expire()
        if id in self.results:
            return Cancelled.FINISHED
        record = self.index.get(id)
        if record is None:
            return Cancelled.UNKNOWN
        if record.owner:
            self.marks[id] = ending
            return Cancelled.ASKED
        if record.due_at is None:
            del self.lanes[record.lane].waiting[record.entry]
        record.due_at = None
        self.end(record, ending)
        return Cancelled.DONE

    def end(self, record: Record, ending: Ending) -> None:
        """The end of a job that is out of its lane: outcome stored and told, all traces removed."""
        self.expire()
        if self.index.get(record.id) is record:
            del self.index[record.id]
        self.marks.pop(record.id, None)
        if ending.ttl > 0:
            expires = time.monotonic() + ending.ttl
            self.results[record.id] = ending.outcome, ending.status, expires
            heapq.heappush(self._expiries, (expires, record.id))
        self.tell({ending.reply, *self.watchers.pop(record.id, ())}, Notice(record.id, ending.outcome))
        if self.is_recording:
            self.record(record, ending.outcome)
        if ending.is_dead:
            self.dead.pop(record.id, None)
            self.dead[record.id] = DeadLetter(record.id, time.time(), record.sealed, ending.outcome)
            if len(self.dead) > DEAD_LETTERS:
                del self.dead[next(iter(self.dead))]

    def end_if_marked(self, record: Record, reply: str = "") -> bool:
        """End a job that somebody asked to cancel with the outcome he left. True if so."""
        mark = self.marks.get(record.id)
        if mark is None:
            return False
        mark.reply = reply
        self.end(record, mark)
        return True

    def expire(self) -> None:
        """Forget the outcomes whose time is over."""
        now = time.monotonic()
        while self._expiries and self._expiries[0][0] <= now:
            expires, id = heapq.heappop(self._expiries)
            if id in self.results and self.results[id][2] == expires:
                del self.results[id]

    # ---- who is told

    def look(self, id: str, address: str) -> Look:
        """What is known of one id; an unfinished one gets a watcher."""
        stored = self.results.get(id)
        if stored is not None:
            return Look(outcome=stored[0])
        record = self.index.get(id)
        if record is None:
            return Look()
        if address:
            self.watchers.setdefault(id, set()).add(address)
        return Look(record.status, need=record.need if record.status is Status.PARKED else "")

    def tell(self, addresses: Iterable[str], notice: Notice) -> None:
        for address in addresses:
            for ear in self.ears.get(address, ()):
                ear.tell(notice)

    # ---- who works

    def standing(self, incarnation: str) -> Standing:
        if incarnation in self.live:
            return Standing.LIVE
        return Standing.DEAD if incarnation in self.buried else Standing.FORGOTTEN

    def bury_incarnation(self, incarnation: str) -> None:
        self.live.pop(incarnation, None)
        self.buried.add(incarnation)

    def volunteers(self, incarnation: str, queues: Iterable[str]) -> bool:
        """True when suspects wait and this incarnation is the one that makes itself idle for them."""
        if not any(self.lanes[f"q:{queue}:s"].waiting for queue in queues):
            return False
        name, until = self.volunteer
        now = time.monotonic()
        if name and until > now:
            return name == incarnation
        self.volunteer = incarnation, now + VOLUNTEER_TTL
        return True

    def claimed(self, owners: Collection[str] | None = None) -> Iterator[Record]:
        """Every lent job, or those lent to these incarnations."""
        for lane in list(self.lanes.values()):
            for record in list(lane.claimed.values()):
                if owners is None or record.owner in owners:
                    yield record

    # ---- what is recorded

    def record(self, record: Record, outcome: bytes) -> None:
        """Append a finished job for the recorders."""
        entry = str(next(self._counter))
        self.history[entry] = Row(entry, record.sealed, outcome, record.meta)
        if len(self.history) > HISTORY_ROWS:
            del self.history[next(iter(self.history))]
        for bell in self.recorders:
            bell.ring()

    def read(self, recorder: str, limit: int) -> list[Row]:
        """Rows that nobody reads, or whose reader went away, oldest first."""
        self.is_recording = True
        now = time.monotonic()
        free = (row for row in self.history.values() if not row.reader or row.read_at < now - RECORDER_IDLE)
        rows = list(itertools.islice(free, limit))
        for row in rows:
            row.reader, row.read_at = recorder, now
        return rows
