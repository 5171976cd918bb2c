"""What the memory broker keeps: the twin of ``redis/keys.py`` and of the scripts beside it."""

from __future__ import annotations

import asyncio
import heapq
import threading
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Self

from ...broker import (
    BATCH_BYTES,
    BATCH_JOBS,
    Begin,
    Cancelled,
    Delivery,
    Finish,
    JobState,
    Meta,
    Notice,
    Obituary,
    Overflow,
    Push,
    Requeue,
    Room,
    Standing,
)
from ...errors import BrokerError
from ...inspector import DeadLetter
from ...job import Status
from ..bounds import ASIDE, CLIENT_TTL, DEAD_LETTERS, REFUSED_TTL, VOLUNTEER_TTL
from ..lanes import (
    RETURNED,
    SUSPECT,
    all_lanes,
    claim_order,
    is_parked,
    kind_of_requeue,
    lane_of,
    marks,
    parked_lane,
    suspect_lanes,
)
from .clock import Clock
from .record import Ending, Lane, Record, Rows
from .wakeup import Bell, Ears

__all__ = ["Store"]


class Store(Rows, Ears):
    """All state of one app, shared by its broker objects in every loop and thread of this process.

    Its methods expect the caller to be inside ``async with store`` or to hold ``lock``.
    """

    def __init__(self, url: str, clock: Clock) -> None:
        super().__init__(clock)
        self.url = url
        # Re-entrant: a finalizer may send while this thread holds it.
        self.lock = threading.RLock()
        #: This process is a fork of the one that the jobs belong to.
        self.is_foreign = False
        self.queues: set[str] = set()
        self.lanes: defaultdict[str, Lane] = defaultdict(Lane)
        #: Exactly the unfinished jobs.
        self.index: dict[str, Record] = {}
        self.due: list[tuple[float, int, Record]] = []
        #: Sealed outcome, status, when it is forgotten (monotonic).
        self.results: dict[str, tuple[bytes, Status, float]] = {}
        self.watchers: dict[str, set[str]] = {}
        #: What a claimed job that somebody cancelled ends with, unless its own end comes first.
        self.marks: dict[str, Ending] = {}
        #: What a job that runs once at most and has begun ends with, unless its owner finishes it or gives it back.
        self.begun: dict[str, Ending] = {}
        #: Last sequence of each client, when it pushed (monotonic; in the order of that), and what had no room then.
        self.clients: dict[str, tuple[int, float, list[str]]] = {}
        #: Host and facts of each incarnation.
        self.live: dict[str, tuple[str, bytes]] = {}
        self.leases: dict[str, int] = {}
        self.dead_incarnations: set[str] = set()
        self.dead_hosts: set[str] = set()
        self.beating: set[str] = set()  # hosts whose keeper has given a sign of life
        #: The incarnation that makes itself idle for a suspect, and until when (monotonic).
        self.volunteer = ("", 0.0)
        #: Dead letters and their queues, oldest first.
        self.dead: dict[str, tuple[str, DeadLetter]] = {}
        self.aside: deque[tuple[Record, str]] = deque(maxlen=ASIDE)
        self.rejected = 0
        self.refused: dict[str, tuple[str, float]] = {}  # why, and when that is forgotten (monotonic)
        self.bells: dict[Bell, frozenset[str]] = {}
        self._expiries: list[tuple[float, str]] = []

    async def __aenter__(self) -> Self:
        """The state to oneself, after the loop has had its turn: a verb in a tight loop starves no neighbour."""
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
        """Put a job at the end of a lane; its old proofs are worth nothing from now on."""
        record.lane, record.entry, record.owner, record.due_at = lane, str(next(self._counter)), "", None
        self.lanes[lane].waiting[record.entry] = record
        self.index[record.id] = record
        for bell in [bell for bell, heard in self.bells.items() if lane in heard and not bell.ring()]:
            del self.bells[bell]

    def hold(self, record: Record, lane: str, due_at: float, *, is_retry: bool) -> None:
        """Keep a job outside its lane until it is due."""
        record.lane, record.entry, record.owner = lane, "", ""
        record.due_at, record.is_retry = due_at, is_retry
        self.index[record.id] = record
        heapq.heappush(self.due, (due_at, next(self._counter), record))

    def take_back(self, delivery: Delivery) -> Record | None:
        """Take a lent job out of its lane; None: that delivery is not (or no longer) lent."""
        lane = self.lanes.get(delivery.lane)
        return lane.lent.pop(delivery.entry, None) if lane else None

    def lend(self, incarnation: str, order: Sequence[str], limit: int) -> list[Delivery]:
        """Lend from lane after lane, oldest first, until the limit of jobs or bytes is reached."""
        deliveries: list[Delivery] = []
        room, limit = BATCH_BYTES, min(limit, BATCH_JOBS)
        for name in order:
            lane = self.lanes.get(name)
            if lane is None or not lane.waiting:
                continue
            suspect, returned = marks(name)
            while lane.waiting and len(deliveries) < limit and room > 0:
                record = lane.waiting.pop(next(iter(lane.waiting)))
                record.owner = incarnation
                lane.lent[record.entry] = record
                deliveries.append(record.delivery(suspect, returned))
                room -= len(record.sealed)
        return deliveries

    def has_waiting(self, lane: str) -> bool:
        return lane in self.lanes and bool(self.lanes[lane].waiting)

    def lend_suspect(self, incarnation: str, queues: Iterable[str]) -> list[Delivery]:
        """Lend one suspect, if there is one; whoever volunteered for it is free again."""
        deliveries = self.lend(incarnation, suspect_lanes(queues), 1)
        if deliveries and self.volunteer[0] == incarnation:
            self.volunteer = "", 0.0
        return deliveries

    def lent(self) -> Iterator[Record]:
        """Every job that some incarnation has, in the order in which they are given back."""
        names = [name for queue in sorted(self.queues) for name in all_lanes(queue)]
        names += sorted(filter(is_parked, self.lanes))
        for lane in [self.lanes[name] for name in names if name in self.lanes]:
            yield from sorted(lane.lent.values(), key=lambda record: (record.owner, int(record.entry)))

    # ---- how a job moves

    def accept(
        self, client: str, sequence: int, batch: Sequence[Push], room: Room | None, drop: Sequence[Finish]
    ) -> Overflow | None:
        """Take a batch in, unless this client has sent it before; what had no room."""
        now = self.clock.monotonic()
        while self.clients and next(iter(self.clients.values()))[1] < now - CLIENT_TTL:
            del self.clients[next(iter(self.clients))]
        last, _, before = self.clients.pop(client, (-1, 0.0, []))
        self.clients[client] = max(sequence, last), now, before
        if sequence <= last:
            return Overflow(before) if before and sequence == last else None
        for item in drop:
            self.drop(item)
        full: dict[str, str] = {}
        at = self.clock.time()
        for push in batch:
            self.queues.add(push.queue)
            if push.custom and (push.id in self.index or push.id in self.results):
                continue
            lane = lane_of(push.queue, push.priority)
            record = Record(push.id, push.queue, push.sealed, lane)
            due_at = at + push.delay if push.eta is None else push.eta
            if due_at > at:
                self.hold(record, lane, due_at, is_retry=False)
            elif room and (limit := room.of(push.queue)) is not None and self.waiting(push.queue) >= limit:
                full[push.id] = push.queue
            else:
                self.place(record, lane)
        self.clients[client] = sequence, now, list(full)
        return Overflow(list(full), self.longest(list(full.values())) if room and room.oldest else []) if full else None

    def waiting(self, queue: str) -> int:
        """How many jobs wait in a queue and are not claimed."""
        return sum(len(self.lanes[name].waiting) for name in all_lanes(queue) if name in self.lanes)

    def longest(self, queues: list[str]) -> list[Delivery]:
        """As many of the jobs that wait longest in each queue as it is named, suspects left aside."""
        found = []
        for queue in dict.fromkeys(queues):
            lanes = [self.lanes[name] for name in claim_order([queue]) if name in self.lanes]
            waiting = [record for lane in lanes for record in lane.waiting.values()]
            oldest = heapq.nsmallest(queues.count(queue), waiting, key=lambda record: int(record.entry))
            found += [record.lent_again() for record in oldest]
        return found

    def drop(self, item: Finish) -> None:
        """End a job that still waits, to make room."""
        lane = self.lanes.get(item.delivery.lane)
        record = lane.waiting.pop(item.delivery.entry, None) if lane else None
        if record is not None:
            self.end(record, Ending(item.outcome, item.status, item.result_ttl, item.reply))

    def go_on(self, record: Record, item: Requeue) -> None:
        """Let a job go on that was taken out of its lane; one that was cancelled ends here."""
        record.meta, record.queue = item.meta, item.queue
        # Its owner gives it back, so its function has not run.
        self.begun.pop(record.id, None)
        self.queues.add(item.queue)
        if self.end_if_marked(record):
            return
        if item.need:
            record.queue = record.sent_to or item.queue
            self.place(record, parked_lane(item.need))
            self.tell({item.reply, *self.watchers.get(record.id, ())}, Notice(record.id))
        elif item.delay > 0:
            self.hold(record, lane_of(item.queue, RETURNED), self.clock.time() + item.delay, is_retry=True)
        else:
            kind = kind_of_requeue(suspect=item.delivery.suspect, behind=item.behind)
            self.place(record, lane_of(item.queue, kind))

    def give_back(self, record: Record, *, blamed: bool, reason: str, obituary: Obituary | None) -> None:
        """Put the job of a dead incarnation back where it can be claimed."""
        del self.lanes[record.lane].lent[record.entry]
        if self.end_if_marked(record):
            return
        if blamed:
            meta = record.meta
            record.meta = Meta(meta.attempt, meta.deaths + 1, reason, obituary, meta.series)
            self.place(record, lane_of(record.queue, SUSPECT))
        elif record.need or record.lane == lane_of(record.queue, SUSPECT):
            self.place(record, record.lane)
        else:
            self.place(record, lane_of(record.queue, RETURNED))

    def promote(self, limit: int) -> tuple[int, float | None]:
        """Put due jobs into their lanes. How many, and seconds until the next one is due."""
        at, moved = self.clock.time(), 0
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
        if id in self.results:
            return Cancelled.FINISHED
        record = self.index.get(id)
        if record is None:
            return Cancelled.UNKNOWN
        if record.owner:
            self.marks[id] = ending
            self.tell({record.owner, record.owner.rpartition(".")[0]}, Notice(id))
            return Cancelled.ASKED
        if record.due_at is None:
            del self.lanes[record.lane].waiting[record.entry]
        record.due_at = None
        self.end(record, replace(ending, reply=record.reply))
        return Cancelled.DONE

    def end(self, record: Record, ending: Ending) -> None:
        """The end of a job that is out of its lane: outcome stored and told, all traces removed."""
        addresses = {ending.reply, *self.watchers.get(record.id, ())}
        self.forget(record)
        if ending.ttl > 0:
            expires = self.clock.monotonic() + ending.ttl
            self.results[record.id] = ending.outcome, ending.status, expires
            heapq.heappush(self._expiries, (expires, record.id))
        self.tell(addresses, Notice(record.id, ending.outcome))
        if self.is_recording:
            self.record(record, ending.outcome)
        if ending.is_dead:
            self.dead.pop(record.id, None)
            letter = DeadLetter(record.id, self.clock.time(), record.sealed, ending.outcome)
            self.dead[record.id] = record.queue, letter
            if len(self.dead) > DEAD_LETTERS:
                del self.dead[next(iter(self.dead))]

    def begin(self, incarnation: str, item: Begin) -> bool:
        """Let a job start that runs once at most, if this incarnation still has it."""
        lane = self.lanes.get(item.delivery.lane)
        record = lane.lent.get(item.delivery.entry) if lane else None
        if record is None or record.owner != incarnation:
            return False
        self.begun[record.id] = Ending(item.lost, Status.FAILED, item.result_ttl)
        return True

    def end_if_marked(self, record: Record) -> bool:
        """End a job with the outcome left for it: somebody asked to cancel it, or it had begun and runs once at most.
        True if so."""
        mark = self.marks.get(record.id) or self.begun.get(record.id)
        if mark is None:
            return False
        self.end(record, replace(mark, reply=record.reply))
        return True

    def forget(self, record: Record) -> None:
        """Remove what was known of a job, unless its id means another one by now."""
        if self.index.get(record.id) is record:
            del self.index[record.id]
            self.marks.pop(record.id, None)
            self.begun.pop(record.id, None)
            self.watchers.pop(record.id, None)

    def set_aside(self, record: Record, reason: str) -> None:
        """Keep for people to see what was taken out of its lane and is no job of ours."""
        if self.index.get(record.id) is record:
            self.tell({record.reply, *self.watchers.get(record.id, ())}, Notice(record.id))
            self.refused[record.id] = reason, self.clock.monotonic() + REFUSED_TTL
        self.forget(record)
        self.rejected += 1
        self.aside.append((record, reason))

    def expire(self) -> None:
        """Forget the outcomes whose time is over."""
        now = self.clock.monotonic()
        while self._expiries and self._expiries[0][0] <= now:
            expires, id = heapq.heappop(self._expiries)
            if id in self.results and self.results[id][2] == expires:
                del self.results[id]
        while self.refused and next(iter(self.refused.values()))[1] <= now:
            del self.refused[next(iter(self.refused))]

    # ---- who is told

    def status(self, id: str, address: str) -> JobState:
        """What is known of one id; an unfinished one gets a watcher."""
        stored = self.results.get(id)
        if stored is not None:
            return JobState(outcome=stored[0])
        record = self.index.get(id)
        if record is None:
            return JobState(refused=self.refused.get(id, ("", 0.0))[0])
        if address:
            self.watchers.setdefault(id, set()).add(address)
        return JobState(record.status, need=record.need if record.status is Status.PARKED else "")

    # ---- who works

    def standing(self, incarnation: str) -> Standing:
        if incarnation in self.live:
            return Standing.LIVE
        return Standing.DEAD if incarnation in self.dead_incarnations else Standing.FORGOTTEN

    def declare_dead(self, incarnation: str) -> None:
        if self.live.pop(incarnation, None):
            self.dead_incarnations.add(incarnation)

    def declare_host_dead(self, host: str) -> None:
        if self.leases.pop(host, None) is not None and host in self.beating:
            self.dead_hosts.add(host)
        for incarnation in [name for name, (home, _) in self.live.items() if home == host]:
            self.declare_dead(incarnation)

    def volunteers(self, incarnation: str, queues: Iterable[str]) -> bool:
        """True when suspects wait and this incarnation is the one that makes itself idle for them."""
        if not any(map(self.has_waiting, suspect_lanes(queues))):
            return False
        name, until = self.volunteer
        now = self.clock.monotonic()
        if name in self.live and until > now:
            return name == incarnation
        self.volunteer = incarnation, now + VOLUNTEER_TTL
        return True
