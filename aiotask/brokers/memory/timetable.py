"""The schedules of the memory broker: the twin of the scripts of Redis."""

from __future__ import annotations

import math
from collections.abc import Sequence

from msgspec.structs import replace

from ..bounds import DECLARER_TTL
from ..schedules import UNPLANNED, Declaration, Declared, Due, Fire, ScheduleState
from .clock import Clock

__all__ = ["Timetable"]


class _Kept:
    """One schedule: what the broker tells of it, and what it compares."""

    def __init__(self, state: ScheduleState, generation: float, item: Declaration) -> None:
        self.state = state
        self.generation = generation
        self.item = item


class Timetable:
    """All schedules of one app."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._schedules: dict[str, _Kept] = {}
        #: Generation of some code, by its name; and when it has declared which schedule, with which moments.
        self._generations: dict[str, float] = {}
        self._told: dict[str, dict[str, tuple[float, bytes]]] = {}

    # ---- declared and set

    def declare(
        self, by: str, generation: float, batch: Sequence[Declaration], *, removes: bool, force: bool
    ) -> list[str]:
        if removes and self._generations.get(by, -math.inf) > generation:
            return []
        if by:
            self._note(by, batch)
        left = [item.name for item in batch if not self._declare(by, generation, item, removes, force)]
        told = self._told.get(by, {})
        if removes:
            self._generations[by] = generation
            for name in told.keys() - {item.name for item in batch}:
                kept = self._schedules.get(name)
                if kept is None or kept.state.by != by:
                    del told[name]
                elif kept.generation < generation:
                    del told[name]
                    self._leave(name, kept)
        elif by:
            for name in [name for name, (at, _) in told.items() if not self._is_fresh(at)]:
                del told[name]
        return left

    def _note(self, by: str, batch: Sequence[Declaration]) -> None:
        """Write down what some code declares, also where the declaration of another counts."""
        told = self._told.setdefault(by, {})
        for item in batch:
            kept = self._schedules.get(item.name)
            if item.sealed:
                told[item.name] = self._clock.time(), item.moments
            elif kept is not None:
                told[item.name] = self._clock.time(), kept.item.moments

    def _is_fresh(self, at: float) -> bool:
        return self._clock.time() - at <= DECLARER_TTL

    def _leave(self, name: str, kept: _Kept) -> None:
        """Leave a schedule to other code that declares it, whose next declaration counts, or remove it."""
        heirs = [by for by, told in self._told.items() if name in told and self._is_fresh(told[name][0])]
        if heirs:
            kept.state, kept.generation = replace(kept.state, by=heirs[0]), 0.0
        else:
            del self._schedules[name]

    def declared(self) -> list[Declared]:
        return [
            Declared(name, by, moments)
            for by, told in self._told.items()
            for name, (at, moments) in told.items()
            if self._is_fresh(at)
        ]

    def _declare(self, by: str, generation: float, item: Declaration, removes: bool, force: bool) -> bool:
        """Declare or set one schedule; False: it stays as it is, and the caller is told."""
        if not item.sealed:
            return True
        now, old = self._clock.time(), self._schedules.get(item.name)
        if old is not None:
            if not by and old.state.by:
                return False
            if by and _is_left_alone(old, by, generation, removes):
                return True
        stays = old is not None and old.item.moments == item.moments
        if old is None:
            state = ScheduleState(item.name, item.sealed, by, now, UNPLANNED, now)
        elif not stays and not force and old.state.moment > 0 and old.state.due <= now:
            return False
        else:
            state = replace(old.state, sealed=item.sealed, by=by)
        self._schedules[item.name] = _Kept(state if stays else _begun_anew(state, now), generation, item)
        return True

    # ---- one by its name

    def pause(self, name: str, by: str, why: str) -> bool:
        kept, now = self._schedules.get(name), self._clock.time()
        if kept is not None:
            kept.state = replace(
                kept.state, paused=kept.state.paused or now, paused_by=by, paused_why=why, due=math.inf
            )
        return kept is not None

    def resume(self, name: str) -> bool:
        kept = self._schedules.get(name)
        if kept is not None and kept.state.paused:
            kept.state = _begun_anew(replace(kept.state, paused=0.0, paused_by="", paused_why=""), self._clock.time())
        return kept is not None

    def remove(self, name: str) -> bool:
        return self._schedules.pop(name, None) is not None

    def find(self, name: str) -> ScheduleState | None:
        kept = self._schedules.get(name)
        return None if kept is None else kept.state

    # ---- many

    def all(self) -> list[ScheduleState]:
        """All of them, as they are due."""
        return sorted((kept.state for kept in self._schedules.values()), key=lambda state: (state.due, state.name))

    def due(self) -> Due | None:
        if not self._schedules:
            return None
        now = self._clock.time()
        return Due(min(kept.state.due for kept in self._schedules.values()) - now, now)

    def strays(self) -> list[ScheduleState]:
        now = self._clock.time()
        kept = (each for each in self._schedules.values() if each.item.horizon and not each.state.paused)
        return [each.state for each in kept if each.state.due > now + each.item.horizon + 1]

    def fire(self, item: Fire) -> bool:
        """Move one schedule on, if it is as the caller has read it."""
        kept, now = self._schedules.get(item.state.name), self._clock.time()
        if kept is None or (kept.state.due, kept.state.sealed) != (item.state.due, item.state.sealed):
            return False
        if item.jobs and item.state.due > now:
            return False
        runs = kept.state.runs + len(item.jobs)
        kept.state = replace(kept.state, due=item.due, moment=item.moment, last=item.last, runs=runs)
        return True


def _is_left_alone(old: _Kept, by: str, generation: float, removes: bool) -> bool:
    if not removes:
        return old.state.by != by
    return old.generation > generation or (old.generation == generation and old.state.by == by)


def _begun_anew(state: ScheduleState, now: float) -> ScheduleState:
    return replace(state, since=now, moment=UNPLANNED, due=math.inf if state.paused else now)
