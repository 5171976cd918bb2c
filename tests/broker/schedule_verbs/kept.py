"""Schedules as tests declare them, and as the broker keeps them."""

from __future__ import annotations

from aiotask.brokers.schedules import Declaration, Fire, Schedules, ScheduleState

__all__ = ["HOUR", "declared", "names", "plan", "state_of"]

HOUR = 3600.0


def declared(name: str, moments: str = "hourly", *, horizon: float = 0.0, call: str = "call") -> Declaration:
    sealed = f"{'seal of ' + name + call:<21.21}sealed {name} {call}".encode()
    return Declaration(name, sealed, f"{moments:<8.8}".encode(), horizon)


async def state_of(schedules: Schedules, name: str) -> ScheduleState:
    state = await schedules.schedule(name)
    assert state is not None
    return state


async def plan(schedules: Schedules, name: str, due_in: float) -> ScheduleState:
    """Let the next run of a schedule be due in so many seconds."""
    at = (await schedules.due_schedules(0)).time
    state = await state_of(schedules, name)
    assert await schedules.fire([Fire(state, at + due_in, at + due_in, state.last)]) == [True]
    return await state_of(schedules, name)


async def names(schedules: Schedules) -> list[str]:
    return sorted(state.name for state in await schedules.list_schedules())
