"""The verbs of schedules of the memory broker."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..graphs import target_of
from ..schedules import BATCH_SCHEDULES, Declaration, Declared, Due, Fire, Look, SchedulePage, ScheduleState
from .graphs import GraphStore
from .record import Record
from .store import Store

__all__ = ["MemorySchedules"]


def _place(store: Store, item: Fire) -> None:
    """Put the jobs of runs into their lanes."""
    for push in item.jobs:
        if push.id in store.index:
            continue
        store.queues.add(push.queue)
        found = store.meet(push, target_of(push), store.clock.time(), None, {})
        if found is not None:
            target, due_at = found
            record = Record(push.id, push.queue, push.sealed, target)
            if due_at > store.clock.time():
                store.schedule(record, target, due_at, is_retry=False)
            else:
                store.place(record, target)
            store.let_expire(push.id, push.special)


class MemorySchedules:
    """The verbs of ``Schedules``, a part of ``MemoryBroker``."""

    _store: GraphStore

    @property
    def schedules_due(self) -> Due | None:
        with self._store.lock:
            return self._store.timetable.due()

    async def declare_schedules(
        self, by: str, generation: float, batch: Sequence[Declaration], *, removes: bool, force: bool = False
    ) -> list[str]:
        async with self._store as store:
            return store.timetable.declare(by, generation, batch, removes=removes, force=force)

    async def set_schedules(self, batch: Sequence[Declaration]) -> list[str]:
        async with self._store as store:
            return store.timetable.declare("", 0.0, batch, removes=False, force=True)

    async def declared_schedules(self) -> list[Declared]:
        async with self._store as store:
            return store.timetable.declared()

    async def pause_schedule(self, name: str, by: str = "", why: str = "") -> bool:
        async with self._store as store:
            return store.timetable.pause(name, by, why)

    async def resume_schedule(self, name: str) -> bool:
        async with self._store as store:
            return store.timetable.resume(name)

    async def remove_schedule(self, name: str) -> bool:
        async with self._store as store:
            return store.timetable.remove(name)

    async def schedule(self, name: str) -> ScheduleState | None:
        async with self._store as store:
            return store.timetable.find(name)

    async def paused_schedules(self, limit: int = 20) -> list[ScheduleState]:
        async with self._store as store:
            paused = [state for state in store.timetable.all() if state.paused]
        return sorted(paused, key=lambda state: state.name)[:limit]

    async def list_schedules(self, after: str = "", limit: int = BATCH_SCHEDULES) -> list[ScheduleState]:
        async with self._store as store:
            found = store.timetable.all()
        names = [state.name for state in found]
        first = names.index(after) + 1 if after in names else 0
        return found[first : first + limit]

    async def due_schedules(self, limit: int, skip: int = 0) -> Look:
        async with self._store as store:
            now = store.clock.time()
            due = _first(store.timetable.all(), now) if limit else []
            return Look(now, due[skip : skip + limit])

    async def stray_schedules(self, after: int = 0) -> SchedulePage:
        async with self._store as store:
            return SchedulePage(store.timetable.strays())

    async def fire(self, batch: Sequence[Fire]) -> list[bool]:
        async with self._store as store:
            answers = []
            for item in batch:
                answers.append(store.timetable.fire(item))
                if answers[-1]:
                    _place(store, item)
            return answers


def _first(states: Iterable[ScheduleState], now: float) -> list[ScheduleState]:
    return [state for state in states if state.due <= now]
