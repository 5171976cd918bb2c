"""Unique jobs, as the memory broker keeps them: the twin of ``scripts/lib/unique.lua``."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, NamedTuple

from msgspec import structs

from ...broker import Delivery, JobState, Notice, Overflow, Push, Room
from ...job import Status
from ...values.unique import Rule, key_hash, verdict
from ..bounds import KEY_TOLD
from ..lanes import RETURNED, is_line, lane_of
from .clock import Clock
from .record import Lane, Record
from .wakeup import Listeners

__all__ = ["Uniques", "overflow"]


class _Holder(NamedTuple):
    """The job that has a key, the first in the row of those that it replaced, and when that was accepted (Unix)."""

    id: str
    root: str
    since: float


class Uniques(Listeners):
    """The part of ``Store`` that knows which job has a key."""

    clock: Clock
    index: dict[str, Record]
    results: dict[str, tuple[bytes, Status, float]]
    lanes: defaultdict[str, Lane]
    watchers: dict[str, set[str]]
    runs: Counter[str]

    def __init__(self) -> None:
        super().__init__()
        #: By the hash of task and key; those of a period with when it is over (monotonic).
        self._holders: dict[str, _Holder] = {}
        self._periods: dict[str, tuple[_Holder, float]] = {}
        #: By id of a unique job: that of the job that it is, or behind a ``!`` that because of which it was refused;
        #: and until when this is kept (monotonic).
        self._same: dict[str, tuple[str, float]] = {}

    if TYPE_CHECKING:

        def forget(self, record: Record) -> None: ...
        def waiting(self, queue: str) -> int: ...

    def knows(self, id: str) -> bool:
        """Whether there is a job or an outcome under an id."""
        return id in self.index or id in self.results

    # ---- what becomes of a call

    def meet(
        self, push: Push, lane: str, due_at: float, room: Room | None, known: dict[str, str]
    ) -> tuple[str, float] | None:
        """Lane and due time of a job, which may change if it is unique; None: it is another job, which is added to
        ``known`` where their ids differ."""
        rule = None if push.special is None else push.special.unique
        if rule is None:
            return None if push.custom and self.knows(push.id) else (lane, due_at)
        hash, at = key_hash(push.id), self.clock.time()
        if hash and push.custom and self._is_repeat(push.id, rule, known):
            return None
        holder = self._holder(rule, hash) if hash else _Holder(push.id, push.id, at)
        place = "none" if holder is None else self.place_of(holder.id)
        found = verdict(rule.policy, rule.on_conflict, place)
        if holder is not None and found in ("refused", "existing"):
            self._say(push.id, f"!{holder.id}" if found == "refused" else holder.id, rule, known)
            return None
        old = self.index[holder.id] if holder is not None and found == "replace" else None
        says_when = push.delay > 0 or push.eta is not None
        root, since = (holder.root, holder.since) if holder is not None and old is not None else (push.id, at)
        if old is not None and not says_when and old.due_at is not None:
            due_at = old.due_at
        if rule.max_wait and due_at > since + rule.max_wait:
            due_at = since + rule.max_wait
        is_later = due_at > at
        if not is_later and self._is_full(push.queue, room) and (old is None or old.due_at is not None):
            return lane, due_at  # refused by the caller
        if old is not None:
            if not is_later and old.due_at is None and rule.max_wait:
                # It has waited as long as it may: with each call it would go to the end of its lane or line.
                lane = _first_place(lane, old)
            self._replace(old, push.id)
            if hash:
                self._point(old.id, root, rule, due_at - at)
                self._point(root, push.id, rule, due_at - at)
        if hash:
            self._give(rule, hash, _Holder(push.id, root, since), is_new=old is None)
        return lane, due_at

    def place_of(self, id: str) -> str:
        """Where a job is, as ``unique.verdict`` has it."""
        record = self.index.get(id)
        if record is not None:
            return "running" if record.owner else "pending"
        return "ended" if self.knows(id) else "gone"

    def _is_full(self, queue: str, room: Room | None) -> bool:
        limit = room.of(queue) if room else None
        return limit is not None and self.waiting(queue) >= limit

    def _is_repeat(self, id: str, rule: Rule, known: dict[str, str]) -> bool:
        if self.knows(id):
            return True
        other = self._same_as(id)
        if other:
            self._say(id, other, rule, known)
        return bool(other)

    def _say(self, id: str, other: str, rule: Rule, known: dict[str, str]) -> None:
        self._point(id, other, rule, 0.0)
        known[id] = other

    def _replace(self, record: Record, by: str) -> None:
        """Take a job that waits out of its place, and have those who wait for it ask again."""
        if record.due_at is None:
            del self.lanes[record.lane].waiting[record.entry]
        record.due_at = None
        self.runs["replaced"] += 1
        addresses = {record.reply, *self.watchers.get(record.id, ())} - {""}
        self.forget(record)
        if record.id == by:
            self.watchers[by] = addresses
        else:
            self.notify(addresses, Notice(record.id))

    # ---- who has a key

    def _holder(self, rule: Rule, hash: str) -> _Holder | None:
        if rule.policy != "period":
            return self._holders.get(hash)
        holder, until = self._periods.get(hash, (None, 0.0))
        return holder if until > self.clock.monotonic() else None

    def _give(self, rule: Rule, hash: str, holder: _Holder, *, is_new: bool) -> None:
        now = self.clock.monotonic()
        if rule.policy != "period":
            self._holders[hash] = holder
            return
        self._periods = {key: value for key, value in self._periods.items() if value[1] > now}
        until = now + rule.seconds if is_new else self._periods[hash][1]
        self._periods[hash] = holder, until

    def free_key(self, id: str) -> None:
        """The job has ended: its key is free, unless another one has it by now."""
        hash = key_hash(id)
        holder = self._holders.get(hash)
        if holder is not None and holder.id == id:
            del self._holders[hash]

    def take_key(self, id: str) -> bool:
        """Have a job that runs again take its key. False: another job has it, and goes on."""
        hash = key_hash(id)
        if self._has_unfinished(hash):
            return False
        if hash:
            self._holders[hash] = _Holder(id, id, self.clock.time())
        return True

    def _has_unfinished(self, hash: str) -> bool:
        holder = self._holders.get(hash)
        return holder is not None and self.place_of(holder.id) not in ("gone", "ended")

    def says_holder(self, id: str, rule: Rule) -> bool:
        """Whether another job has the key of a call of a graph; then it is remembered that the call is that job, or was
        refused because of it."""
        hash = key_hash(id)
        if not self._has_unfinished(hash):
            return False
        other = self._holders[hash].id
        self._point(
            id,
            f"!{other}" if rule.on_conflict == "error" else other,
            structs.replace(rule, ttl=max(rule.ttl, KEY_TOLD)),
            0.0,
        )
        return True

    def free_period(self, id: str) -> None:
        """The job is forgotten, so that its key can be used again at once."""
        hash = key_hash(id)
        if hash in self._periods and self._periods[hash][0].id == id:
            del self._periods[hash]

    # ---- which job another one is

    def _point(self, id: str, target: str, rule: Rule, later: float) -> None:
        if rule.ttl <= 0 or id == target:
            return
        now = self.clock.monotonic()
        while self._same and next(iter(self._same.values()))[1] <= now:
            del self._same[next(iter(self._same))]
        self._same.pop(id, None)
        self._same[id] = target, now + rule.ttl + max(0.0, later)

    def _same_as(self, id: str) -> str:
        target, until = self._same.get(id, ("", 0.0))
        return target if until > self.clock.monotonic() else ""

    def known_as(self, id: str) -> JobState:
        """What is known of an id under which there is no job."""
        found = id
        # From a replaced job to the first one of its row, and from there to the last.
        for _ in range(5):
            found = self._same_as(found) or found
        if found.startswith("!"):
            return JobState(exists=found[1:])
        return JobState(same=found if found != id else "")


def _first_place(target: str, old: Record) -> str:
    """Where a job goes that is to be claimed before those of its target: in a line that is the place of the old one."""
    if is_line(target):
        return f"{old.lane}|{old.entry}" if target == f"{old.lane}|" else target
    return lane_of(old.queue, RETURNED)


def overflow(full: list[str], known: dict[str, str], oldest: list[Delivery]) -> Overflow | None:
    """What is said of a batch; None: all of it was accepted."""
    if not full and not known:
        return None
    refused = {id: other[1:] for id, other in known.items() if other.startswith("!")}
    same = {id: other for id, other in known.items() if id not in refused}
    return Overflow(full, oldest, same, refused)
