"""The state of the memory broker: the twin of ``redis/keys.py`` and of the scripts beside it."""

from __future__ import annotations

import asyncio
import heapq
import threading
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Self

import msgspec

from ...broker import (
    BATCH_BYTES,
    BATCH_JOBS,
    Begin,
    Cancelled,
    Delivery,
    Finish,
    JobState,
    Notice,
    Overflow,
    Push,
    Requeue,
    Room,
)
from ...errors import BrokerError
from ...inspector import DeadLetter
from ...job import LOSS, Obituary, Status, with_attempt
from ..audit import AuditEntry
from ..bounds import ASIDE, AUDIT_LINES, DEAD_LETTERS, REFUSALS, REFUSED_TTL
from ..graphs import target_of
from ..lanes import (
    ADMITTED,
    RETURNED,
    SUSPECT,
    all_lanes,
    claim_order,
    flags_of,
    is_line,
    is_parked,
    kind_of_requeue,
    lane_of,
    line_of,
    parked_lane,
    suspect_lanes,
)
from .clients import Clients
from .clock import Clock
from .expiry import Expiring
from .fleet import Fleet
from .kids import Kids
from .lines import Lines
from .metrics import MinuteBook
from .record import Ending, Lane, Record, Rows
from .timetable import Timetable
from .unique import Uniques, overflow
from .wakeup import Bell

__all__ = ["Store"]


class Store(Rows, Clients, Fleet, Kids, Lines, Expiring, Uniques):
    """All state of one app, shared by its broker objects in every loop and thread of this process.

    Its methods expect the caller to be inside ``async with store`` or to hold ``lock``.
    """

    def __init__(self, url: str, clock: Clock) -> None:
        super().__init__(clock)
        self.url = url
        # Re-entrant: a finalizer may send while this thread has the lock.
        self.lock = threading.RLock()
        #: Whether this process is a fork of the one to which the jobs belong.
        self.is_foreign = False
        self.queues: set[str] = set()
        self.lanes: defaultdict[str, Lane] = defaultdict(Lane)
        #: Every unfinished job by id, and no other.
        self.index: dict[str, Record] = {}
        self.due: list[tuple[float, int, Record]] = []
        #: Sealed outcome and status of finished jobs by id, and when they expire (monotonic).
        self.results: dict[str, tuple[bytes, Status, float]] = {}
        self.watchers: dict[str, set[str]] = {}
        #: The ending of each claimed job that was cancelled, unless the job ends by itself first.
        self.cancels: dict[str, Ending] = {}
        #: The ending of each job that runs at most once and has begun, unless its owner finishes or requeues it.
        self.begun: dict[str, Ending] = {}
        #: Dead letters and their queues, oldest first.
        self.dead: dict[str, tuple[str, DeadLetter]] = {}
        self.aside: deque[tuple[Record, str]] = deque(maxlen=ASIDE)
        self.audited: deque[AuditEntry] = deque(maxlen=AUDIT_LINES)
        self.refusals: deque[AuditEntry] = deque(maxlen=REFUSALS)
        self.hides: dict[str, bytes] = {}
        self.rejected = 0
        self.refused: dict[str, tuple[str, float]] = {}  # reason, and when it expires (monotonic)
        self.bells: dict[Bell, frozenset[str]] = {}
        self._expiries: list[tuple[float, str]] = []
        self.timetable = Timetable(clock)
        self.metrics = MinuteBook(clock)

    async def __aenter__(self) -> Self:
        """Lock the state, after the loop has run other tasks: a verb in a tight loop starves no other task."""
        await asyncio.sleep(0)
        self.refuse_fork()
        self.lock.acquire()
        self.expire()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.lock.release()

    def refuse_fork(self) -> None:
        if self.is_foreign:
            raise BrokerError(
                f'The jobs of "{self.url}" are in the memory of the process from which this one was forked. '
                "To share jobs between processes, set a Redis URL, or no URL at all."
            )

    # ---- where a job is

    def place(self, record: Record, lane: str) -> None:
        """Put a job at the end of a lane, or into its line; the deliveries made of it before are void from now on."""
        if is_line(lane):
            self.line_up(record, lane)
            return
        record.lane, record.entry, record.owner, record.due_at = lane, str(next(self._counter)), "", None
        self.lanes[lane].waiting[record.entry] = record
        self.index[record.id], record.placed_at = record, self.clock.time()
        for bell in [bell for bell, lanes in self.bells.items() if lane in lanes and not bell.ring()]:
            del self.bells[bell]

    def schedule(self, record: Record, lane: str, due_at: float, *, is_retry: bool) -> None:
        """Keep a job outside its lane until ``due_at`` (Unix seconds)."""
        record.lane, record.entry, record.owner = lane, "", ""
        record.due_at, record.is_retry = due_at, is_retry
        self.index[record.id] = record
        heapq.heappush(self.due, (due_at, next(self._counter), record))

    def take_back(self, delivery: Delivery) -> Record | None:
        """Take a claimed job out of its lane; None: that delivery is not (or no longer) claimed."""
        lane = self.lanes.get(delivery.lane)
        return lane.claimed.pop(delivery.entry, None) if lane else None

    def claim(self, incarnation: str, order: Sequence[str], limit: int) -> list[Delivery]:
        """Claim from lane after lane, oldest first, until the limit of jobs or bytes is reached."""
        deliveries: list[Delivery] = []
        self.waits = []
        room, limit = BATCH_BYTES, min(limit, BATCH_JOBS)
        for name in self.open_lanes(order) if self.paused else order:
            lane = self.lanes.get(name)
            if lane is None or not lane.waiting:
                continue
            suspect, returned = flags_of(name)
            self.note_wait(name, next(iter(lane.waiting.values())))
            while lane.waiting and len(deliveries) < limit and room > 0:
                record = lane.waiting.pop(next(iter(lane.waiting)))
                record.owner = incarnation
                lane.claimed[record.entry] = record
                deliveries.append(record.delivery(suspect, returned))
                room -= len(record.sealed)
        return deliveries

    def claim_suspect(self, incarnation: str, queues: Iterable[str]) -> list[Delivery]:
        """Claim one suspect, if there is one; this ends the volunteering of the incarnation."""
        deliveries = self.claim(incarnation, suspect_lanes(queues), 1)
        if deliveries and self.volunteer[0] == incarnation:
            self.volunteer = "", 0.0
        return deliveries

    def claimed(self) -> Iterator[Record]:
        """Every claimed job, in the order in which ``recover`` requeues them."""
        names = [name for queue in sorted(self.queues) for name in all_lanes(queue)]
        names += sorted(filter(is_parked, self.lanes))
        for lane in [self.lanes[name] for name in names if name in self.lanes]:
            yield from sorted(lane.claimed.values(), key=lambda record: (record.owner, int(record.entry)))

    # ---- how a job moves

    def accept(
        self, client: str, sequence: int, batch: Sequence[Push], room: Room | None, drop: Sequence[Finish]
    ) -> Overflow | None:
        """Accept a batch, unless this client has sent it before; returns the jobs that had no room."""
        if self.is_repeat(client, sequence):
            last, before, known = self.last_batch(client)
            return overflow(before, known, []) if sequence == last else None
        self.count_batch(client, sequence)
        for item in drop:
            self.drop(item)
        full, known = dict[str, str](), dict[str, str]()
        at = self.clock.time()
        for push in batch:
            self.queues.add(push.queue)
            lane, due_at = target_of(push), at + push.delay if push.eta is None else push.eta
            if (place := self.meet(push, lane, due_at, room, known)) is None:
                continue
            lane, due_at = place
            record = Record(push.id, push.queue, push.sealed, lane)
            if due_at > at:
                self.schedule(record, lane, due_at, is_retry=False)
            elif room and (limit := room.of(push.queue)) is not None and self.waiting(push.queue) >= limit:
                full[push.id] = push.queue
                continue
            else:
                self.place(record, lane)
            self.let_expire(push.id, push.special)
        self.count_batch(client, sequence, full, known)
        return overflow(list(full), known, self.longest(list(full.values())) if room and room.oldest else [])

    def waiting(self, queue: str) -> int:
        """How many jobs wait in a queue and are not claimed."""
        in_lanes = sum(len(self.lanes[name].waiting) for name in self.waiting_lanes(queue) if name in self.lanes)
        return in_lanes + self.lined(queue)

    def longest(self, queues: list[str]) -> list[Delivery]:
        """The jobs that wait longest in each queue, one for each time that it is named, without suspects."""
        found = []
        for queue in dict.fromkeys(queues):
            lanes = [self.lanes[name] for name in claim_order([queue]) if name in self.lanes]
            waiting = [record for lane in lanes for record in lane.waiting.values()]
            oldest = heapq.nsmallest(queues.count(queue), waiting, key=lambda record: int(record.entry))
            found += [record.as_claimed() for record in oldest]
        return found

    def drop(self, item: Finish) -> None:
        """End a job that still waits, to make room."""
        lane = self.lanes.get(item.delivery.lane)
        record = lane.waiting.pop(item.delivery.entry, None) if lane else None
        if record is not None:
            self.end(record, Ending(item.outcome, item.status, item.result_ttl, item.reply))

    def requeue(self, record: Record, item: Requeue) -> None:
        """Requeue a job that was taken out of its lane; a cancelled one ends here."""
        self.count_requeue(record.meta, item)
        is_unstarted = record.meta == item.meta and record.lane == lane_of(record.queue, ADMITTED)
        record.meta, record.queue = item.meta, item.queue
        # The owner requeues the job, so its function has not run.
        self.begun.pop(record.id, None)
        self.queues.add(item.queue)
        if self.end_if_cancelled(record):
            return
        record.sealed = item.sealed or record.sealed
        line = record.admitted or record.kept or (record.sent_line if item.need else "")
        if item.limit and not line:
            line = f"{line_of(item.queue, item.priority, item.limit)}|"
        if item.need and not (line and self.is_over(item.need)):
            record.queue = record.sent_to or item.queue
            self.place(record, parked_lane(item.need))
            record.kept = line
            self.notify({item.reply, *self.watchers.get(record.id, ())}, Notice(record.id))
        elif item.delay > 0:
            self.schedule(record, line or lane_of(item.queue, RETURNED), self.clock.time() + item.delay, is_retry=True)
        elif record.admitted and item.delivery.suspect:
            self.place(record, lane_of(item.queue, SUSPECT))
            return
        else:
            kind = kind_of_requeue(suspect=item.delivery.suspect, behind=item.behind)
            self.place(record, line or lane_of(item.queue, kind))
        self.let_go(record, is_unstarted=is_unstarted)

    def give_back(self, record: Record, *, blamed: bool, lost: bool, reason: str, obituary: Obituary | None) -> None:
        """Put the job of a dead incarnation back where it can be claimed."""
        owner = record.owner
        del self.lanes[record.lane].claimed[record.entry]
        if self.end_if_cancelled(record):
            return
        if lost:
            record.meta = with_attempt(record.meta, self.clock.time(), owner, "lost", LOSS)
        if blamed:
            meta = record.meta
            meta = msgspec.structs.replace(meta, deaths=meta.deaths + 1, reason=reason, obituary=obituary)
            record.meta = with_attempt(meta, self.clock.time(), owner, "died", reason)
            self.runs["died"] += 1
            self.place(record, lane_of(record.queue, SUSPECT))
        elif record.need or record.lane == lane_of(record.queue, SUSPECT):
            self.place(record, record.kept or record.lane)
        else:
            self.place(record, lane_of(record.queue, RETURNED))

    def promote(self, limit: int) -> tuple[int, float | None]:
        """Put due jobs into their lanes; their number, and seconds until the next job is due."""
        at, moved = self.clock.time(), 0
        while self.due:
            due_at, _, record = self.due[0]
            if record.due_at != due_at:
                heapq.heappop(self.due)  # the job was cancelled
            elif due_at <= at and moved < limit:
                heapq.heappop(self.due)
                self.place(record, record.lane)
                moved += 1
            else:
                return moved, min(due_at - at, until if (until := self.wake()) is not None else due_at - at)
        return moved, self.wake()

    def cancel(self, id: str, ending: Ending) -> Cancelled:
        """End a job that is not claimed; note the cancel of a claimed one."""
        if id in self.results:
            return Cancelled.FINISHED
        record = self.index.get(id)
        if record is None:
            return Cancelled.UNKNOWN
        if record.owner:
            self.cancels[id] = ending
            self.notify({record.owner, record.owner.rpartition(".")[0]}, Notice(id))
            return Cancelled.ASKED
        if record.due_at is None:
            del self.lanes[record.lane].waiting[record.entry]
        record.due_at = None
        self.end(record, replace(ending, reply=record.reply))
        return Cancelled.DONE

    def end(self, record: Record, ending: Ending) -> None:
        """End a job that is out of its lane: store and publish its outcome, remove all traces of it."""
        addresses = {ending.reply, *self.watchers.get(record.id, ())}
        self.forget(record)
        self.ended[record.queue, ending.status.value] += 1
        if ending.ttl > 0:
            self.keep(record.id, ending.outcome, ending.status, ending.ttl)
        self.notify(addresses, Notice(record.id, ending.outcome))
        if self.is_recording:
            self.record(record, ending.outcome)
        if ending.is_dead:
            self.dead.pop(record.id, None)
            self.dead[record.id] = record.queue, DeadLetter(record.id, self.clock.time(), record.sealed, ending.outcome)
            if len(self.dead) > DEAD_LETTERS:
                del self.dead[next(iter(self.dead))]

    def keep(self, id: str, outcome: bytes, status: Status, ttl: float) -> None:
        """Store an outcome for a number of seconds."""
        expires = self.clock.monotonic() + ttl
        self.results[id] = outcome, status, expires
        heapq.heappush(self._expiries, (expires, id))

    def begin(self, incarnation: str, item: Begin) -> bool:
        """Let a job start that runs at most once, if this incarnation still has it."""
        lane = self.lanes.get(item.delivery.lane)
        record = lane.claimed.get(item.delivery.entry) if lane else None
        if record is None or record.owner != incarnation:
            return False
        self.begun[record.id] = Ending(item.lost, Status.FAILED, item.result_ttl)
        return True

    def end_if_cancelled(self, record: Record) -> bool:
        """End a job that was cancelled, or that had begun and runs at most once; whether that was so."""
        mark = self.cancels.get(record.id) or self.begun.get(record.id)
        if mark is None:
            return False
        self.end(record, replace(mark, reply=record.reply))
        return True

    def forget(self, record: Record) -> None:
        """Remove all state of a job, unless its id means another job by now."""
        self.let_go(record)
        if self.index.get(record.id) is record:
            del self.index[record.id]
            self.cancels.pop(record.id, None)
            self.begun.pop(record.id, None)
            self.watchers.pop(record.id, None)
            self.expiring.pop(record.id, None)
            self.free_key(record.id)

    def set_aside(self, record: Record, reason: str) -> None:
        """Keep an entry that was taken out of its lane and is no job of this app, for people to see."""
        if self.index.get(record.id) is record:
            self.notify({record.reply, *self.watchers.get(record.id, ())}, Notice(record.id))
            self.refused[record.id] = reason, self.clock.monotonic() + REFUSED_TTL
        self.forget(record)
        self.rejected += 1
        self.aside.append((record, reason))

    def expire(self) -> None:
        """Remove the outcomes and reasons whose TTL is over."""
        now = self.clock.monotonic()
        while self._expiries and self._expiries[0][0] <= now:
            expires, id = heapq.heappop(self._expiries)
            if id in self.results and self.results[id][2] == expires:
                del self.results[id]
        while self.refused and next(iter(self.refused.values()))[1] <= now:
            del self.refused[next(iter(self.refused))]

    # ---- who is notified

    def status(self, id: str, address: str) -> JobState:
        """The state of one id; the address becomes a watcher of an unfinished job."""
        stored = self.results.get(id)
        if stored is not None:
            return JobState(outcome=stored[0])
        record = self.index.get(id)
        if record is None:
            return JobState(refused=self.refused[id][0]) if id in self.refused else self.known_as(id)
        if address:
            self.watchers.setdefault(id, set()).add(address)
        return JobState(record.status, need=record.need if record.status is Status.PARKED else "")
