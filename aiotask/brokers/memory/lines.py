"""The lines of limited jobs in the memory broker: the twin of ``admit.lua`` and ``lib/limits.lua``."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from ...broker import BATCH_BYTES, Delivery
from ...values.limit import LimitSpec, burst_of, gcra
from ..lanes import ADMITTED, BELL, claim_order, is_line, lane_of, need_of
from ..limits import KeyInfo
from .clock import Clock
from .pauses import Pausing, pause_in
from .record import Lane, Record
from .wakeup import Bell

__all__ = ["Limit", "Lines", "parts_of"]

#: Keys that are looked at in one round of a limit.
_KEYS = 50


def parts_of(line: str) -> tuple[str, str, str]:
    """The place (``QUEUE:PRIORITY``), the limit and the key of a line, or of a target in one."""
    _, queue, priority, limit, key = line.split(":", 4)
    return f"{queue}:{priority}", limit, key


@dataclass(slots=True)
class Limit:
    """One limit: its numbers, and what is kept of its rates."""

    name: str
    declared: LimitSpec | None = None
    set: dict[str, float] = field(default_factory=dict)
    by: str = ""
    generation: float = 0.0
    removed: bool = False
    #: Which services have it, each with its generation.
    services: dict[str, float] = field(default_factory=dict)
    #: The last number that a job got in a line.
    number: int = 0
    #: Queues and priorities where it has had lines.
    places: dict[str, None] = field(default_factory=dict)
    #: When the next start would come evenly, of the whole (None) and of each key, in microseconds.
    times: dict[str | None, float] = field(default_factory=dict)
    #: Until when no job of a key is admitted, in microseconds.
    holds: dict[str, float] = field(default_factory=dict)

    @property
    def spec(self) -> LimitSpec | None:
        """The numbers of the limit that are in force; None: the limit was never declared."""
        if self.declared is None:
            return None
        if self.removed:
            return LimitSpec(self.name, task=self.declared.task)
        return msgspec.structs.replace(self.declared, **self.set)


class Lines(Pausing):
    """The part of ``Store`` that keeps lines, and admits jobs out of them."""

    clock: Clock
    lanes: defaultdict[str, Lane]
    index: dict[str, Record]
    bells: dict[Bell, frozenset[str]]
    _counter: itertools.count[int]

    def __init__(self) -> None:
        super().__init__()
        self.limits: dict[str, Limit] = {}
        #: Keys whose turn may come at a place, by place and limit, and limits that may admit something, by place.
        self.rings: dict[tuple[str, str], dict[str, None]] = {}
        self.open: dict[str, dict[str, None]] = {}
        #: Ids of the admitted jobs, of a limit in all and of each of its keys.
        self.slots: defaultdict[tuple[str, str | None], set[str]] = defaultdict(set)
        #: Lines that a rate holds, and until when (microseconds).
        self.wakes: dict[str, float] = {}

    def limit(self, name: str) -> Limit:
        return self.limits.setdefault(name, Limit(name))

    def _now(self) -> float:
        return self.clock.monotonic() * 1e6

    # ---- into a line

    def line_up(self, record: Record, target: str) -> None:
        """Put a job into its line; the target is ``LINE|NUMBER``, or ``LINE|`` for the end of the line."""
        line, _, number = target.rpartition("|")
        place, name, key = parts_of(line)
        limit = self.limit(name)
        if not number:
            limit.number += 1
        record.lane, record.entry, record.owner, record.due_at = line, number or str(limit.number), "", None
        record.kept = ""
        self.lanes[line].waiting[record.entry] = record
        self.index[record.id] = record
        limit.places[place] = None
        self.rings.setdefault((place, name), {}).setdefault(key, None)
        self._open(place, name)

    def resume(self, id: str) -> bool:
        """End a pause; limited jobs that it has parked are back in their lines before. False: there was none."""
        for name in [name for name in self.lanes if pause_in(need_of(name)) == id]:
            waiting = self.lanes[name].waiting
            for entry, record in [each for each in waiting.items() if each[1].kept]:
                del waiting[entry]
                self.line_up(record, record.kept)
        return self.paused.pop(id, None) is not None

    def lined(self, queue: str) -> int:
        """How many jobs of a queue are in lines."""
        return sum(len(lane.waiting) for name, lane in self.lanes.items() if name.startswith(f"l:{queue}:"))

    def waiting_by_limit(self) -> Counter[str]:
        """How many jobs are in the lines of each limit."""
        found: Counter[str] = Counter()
        for name, lane in self.lanes.items():
            if is_line(name):
                found[parts_of(name)[1]] += len(lane.waiting)
        return found

    def keys_of(self, name: str) -> list[KeyInfo]:
        """The keys of a limit whose jobs wait or are admitted."""
        running = Counter(
            parts_of(record.admitted.rpartition("|")[0])[2]
            for id in self.slots.get((name, None), ())
            if (record := self.index.get(id)) is not None and record.admitted
        )
        waiting: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
        for lane, each in self.lanes.items():
            if is_line(lane) and parts_of(lane)[1] == name:
                waiting[parts_of(lane)[2]] += [(int(entry), record.id) for entry, record in each.waiting.items()]
        return [
            KeyInfo(key, len(waiting[key]), running[key], min(waiting[key], default=None))
            for key in sorted({*waiting, *running})
        ]

    def ahead_of(self, record: Record) -> int | None:
        """How many jobs stand before one in its line; None: it is in none."""
        if not is_line(record.lane) or record.due_at is not None:
            return None
        return sum(int(entry) < int(record.entry) for entry in self.lanes[record.lane].waiting)

    def _open(self, place: str, name: str) -> None:
        self.open.setdefault(place, {}).setdefault(name, None)
        queue = place.rpartition(":")[0]
        for bell in [bell for bell, lanes in self.bells.items() if lane_of(queue, BELL) in lanes and not bell.ring()]:
            del self.bells[bell]

    def reopen(self, name: str, key: str | None) -> None:
        """A key of a limit may go on, at each place where it has a line; None: the limit as a whole."""
        for place in self.limit(name).places:
            ring = self.rings.setdefault((place, name), {})
            if key is not None and self.has_line(place, name, key):
                ring.setdefault(key, None)
            if ring:
                self._open(place, name)

    def has_line(self, place: str, name: str, key: str) -> bool:
        lane = self.lanes.get(f"l:{place}:{name}:{key}")
        return lane is not None and bool(lane.waiting)

    # ---- out of a line

    def admits_now(self, queues: Iterable[str]) -> bool:
        """Whether a limit may admit a job of these queues now."""
        return any(place.rpartition(":")[0] in queues for place in self.open)

    def wake(self) -> float | None:
        """Give what a rate has held its turn; seconds until it admits the next job, None: it holds none back."""
        now = self._now()
        for line in [line for line, until in self.wakes.items() if until <= now]:
            del self.wakes[line]
            _, name, key = parts_of(line)
            self.reopen(name, key)
        return (min(self.wakes.values()) - now) / 1e6 if self.wakes else None

    def admit(self, incarnation: str, queues: Sequence[str], limit: int, *, by_queue: bool = False) -> list[Delivery]:
        """Admit jobs of these queues: limits take turns, and keys of a limit take turns."""
        self.wake()
        found: list[Delivery] = []
        room = BATCH_BYTES
        served = [queue for queue in queues if not self.is_paused(queue)]
        for place in [lane.removeprefix("q:") for lane in claim_order(served, by_queue=by_queue)]:
            while limit > len(found) and room > 0 and place in self.open:
                name = next(iter(self.open[place]))
                records = self._admit_round(place, name, min(limit - len(found), _KEYS))
                for record in records:
                    found.append(self._claim(record, incarnation, place))
                    room -= len(record.sealed)
        return found

    def _admit_round(self, place: str, name: str, most: int) -> list[Record]:
        """One round of a limit at a place: one job of each key that has its turn, or many where only one has."""
        limit = self.limit(name)
        spec = limit.spec
        ring = self.rings.get((place, name), {})
        del self.open[place][name]
        if spec is not None and spec.max_running:
            most = min(most, spec.max_running - len(self.slots[name, None]))
        records: list[Record] = []
        is_done = spec is None or most <= 0 or not ring
        keys = [] if is_done else list(itertools.islice(ring, most))
        for key in keys:
            assert spec is not None
            allowed, until = self._allowed(limit, None, spec.rate, spec.burst)
            if not allowed:
                self.wakes[f"l:{place}:{name}:"] = until
                is_done = True
                break
            del ring[key]
            wanted = min(most if len(keys) == 1 else 1, allowed)
            records += self._take(limit, spec, place, key, wanted)
        if ring and not is_done:
            self.open[place][name] = None
        if not self.open[place]:
            del self.open[place]
        return records

    def seconds_held(self, line: str) -> float | None:
        """Seconds until a rate, of the whole limit or of the key, admits the next of a line; None: none holds it."""
        place, name, _ = parts_of(line)
        times = [self.wakes[each] for each in (f"l:{place}:{name}:", line) if each in self.wakes]
        return max(0.0, (max(times) - self._now()) / 1e6) if times else None

    def _take(self, limit: Limit, spec: LimitSpec, place: str, key: str, wanted: int) -> list[Record]:
        """Take as many jobs of a key out of its line as its numbers allow; it keeps a turn if it may go on."""
        line = f"l:{place}:{limit.name}:{key}"
        if spec.max_running_each:
            wanted = min(wanted, spec.max_running_each - len(self.slots[limit.name, key]))
        if wanted <= 0:
            return []
        allowed, until = self._allowed(limit, key, spec.rate_each, spec.burst_each)
        if not allowed:
            self.wakes[line] = until
            return []
        waiting = self.lanes[line].waiting
        entries = sorted(waiting, key=int)[: min(wanted, allowed)]
        records = [waiting.pop(entry) for entry in entries]
        self._spend(limit, None, spec.rate, spec.burst, len(records))
        self._spend(limit, key, spec.rate_each, spec.burst_each, len(records))
        for record in records:
            record.admitted = f"{line}|{record.entry}"
            self.slots[limit.name, None].add(record.id)
            self.slots[limit.name, key].add(record.id)
        if waiting:
            self.rings[place, limit.name][key] = None
        return records

    def _allowed(self, limit: Limit, key: str | None, rate: float, burst: int) -> tuple[int, float]:
        """How many jobs a rate allows now; if none, when it allows the first, in microseconds."""
        now = self._now()
        if key is not None and (held := limit.holds.get(key, 0.0)) > now:
            return 0, held
        if not rate:
            return BATCH_BYTES, 0.0
        tat = limit.times.get(key, 0.0)
        granted = gcra(tat, now, 1e6 / rate, burst_of(rate, burst), BATCH_BYTES)
        if not granted.starts and granted.tat < tat:
            # It was kept by other numbers. Each look would cut it anew otherwise, and nothing would start before it.
            limit.times[key] = granted.tat
        return granted.starts, granted.until

    def _spend(self, limit: Limit, key: str | None, rate: float, burst: int, count: int) -> None:
        if rate and count:
            granted = gcra(limit.times.get(key, 0.0), self._now(), 1e6 / rate, burst_of(rate, burst), count)
            limit.times[key] = granted.tat

    def _claim(self, record: Record, incarnation: str, place: str) -> Delivery:
        record.lane, record.entry = lane_of(place.rpartition(":")[0], ADMITTED), str(next(self._counter))
        record.owner = incarnation
        self.lanes[record.lane].claimed[record.entry] = record
        return record.delivery(suspect=False, returned=False)

    # ---- no longer admitted

    def let_go(self, record: Record, *, is_unstarted: bool = False) -> None:
        """A job ends, or waits again: its slot becomes free, and its token if the job was not started."""
        if not record.admitted:
            return
        _, name, key = parts_of(record.admitted.rpartition("|")[0])
        record.admitted = ""
        limit = self.limit(name)
        spec = limit.spec
        for level in (None, key):
            self.slots[name, level].discard(record.id)
            if not self.slots[name, level]:
                del self.slots[name, level]
        if is_unstarted and spec is not None:
            for level, rate in ((None, spec.rate), (key, spec.rate_each)):
                if rate and level in limit.times:
                    limit.times[level] -= 1e6 / rate
        self.reopen(name, key)

    # ---- numbers

    def apply_numbers(self, name: str) -> None:
        """Other numbers hold from now on: what waited by the old ones gets its turn."""
        for line in [line for line in self.wakes if parts_of(line)[1] == name]:
            del self.wakes[line]
            self.reopen(name, parts_of(line)[2])
        self.reopen(name, None)

    def declare(self, generation: float, by: str, specs: Sequence[LimitSpec], *, removes: bool) -> list[str]:
        for spec in specs:
            limit = self.limit(spec.name)
            if removes:
                limit.services[by] = generation
            if limit.declared is None or (generation > 0 and generation >= limit.generation):
                limit.declared, limit.by, limit.generation, limit.removed = spec, by, generation, False
                self.apply_numbers(spec.name)
        kept = {spec.name for spec in specs}
        others = [limit for limit in self.limits.values() if limit.name not in kept] if removes else []
        return sorted(limit.name for limit in others if self._disown(limit, by, generation))

    def _disown(self, limit: Limit, by: str, generation: float) -> bool:
        """A service has the limit no more; whether that removes it."""
        if generation < limit.services.get(by, 0.0):
            return False
        limit.services.pop(by, None)
        if limit.by != by or limit.removed or limit.declared is None or generation < limit.generation:
            return False
        if limit.services:
            # Another one still has it. Its next declaration says by which numbers.
            limit.by = max(limit.services, key=lambda other: limit.services[other])
            limit.generation = limit.services[limit.by]
            return False
        limit.removed, limit.generation = True, generation
        self.apply_numbers(limit.name)
        return True

    def hold_limit(self, name: str, key: str, seconds: float) -> None:
        limit = self.limit(name)
        limit.holds[key] = max(self._now() + seconds * 1e6, limit.holds.get(key, 0.0))

    def set_limit(self, name: str, numbers: Mapping[str, float] | None) -> bool:
        """Let other numbers hold than the declared ones; None: the declared ones again. False: there is no such
        limit."""
        limit = self.limits.get(name)
        if limit is None or limit.declared is None:
            return False
        limit.set = {} if numbers is None else {**limit.set, **numbers}
        self.apply_numbers(name)
        return True
