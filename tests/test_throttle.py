"""What happens again and again passes once in a while; what fails again and again is tried less and less often."""

from __future__ import annotations

import asyncio
import time

import pytest

from aiotask.daemon.restarts import RestartAllowance, RestartDelay
from aiotask.log.throttle import Throttle
from aiotask.loops.delay import BrokerDelay, DoublingDelay


class Clock:
    """The monotonic clock, which goes on by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


def test_one_event_passes_per_interval_and_counts_the_others(clock: Clock) -> None:
    throttle = Throttle(60.0)
    assert throttle.is_open and throttle.passes() == 1
    clock.now += 59.0
    assert not throttle.is_open
    assert [throttle.passes(), throttle.passes(3)] == [0, 0]
    clock.now += 1.0
    assert throttle.is_open and throttle.passes(2) == 6
    assert throttle.passes() == 0


def test_a_look_takes_nothing(clock: Clock) -> None:
    throttle = Throttle(60.0)
    assert throttle.is_open and throttle.is_open and throttle.passes() == 1


def test_after_a_reset_the_next_event_passes(clock: Clock) -> None:
    throttle = Throttle(60.0)
    throttle.passes()
    assert throttle.passes() == 0
    throttle.reset()
    assert throttle.passes() == 2


def test_no_event_passes_in_the_first_seconds_if_the_caller_wants_that(clock: Clock) -> None:
    throttle = Throttle(60.0, after=5.0)
    assert not throttle.is_open and throttle.passes() == 0
    clock.now += 4.9
    assert throttle.passes() == 0
    clock.now += 0.1
    assert throttle.passes() == 3
    clock.now += 59.0
    assert throttle.passes() == 0


def test_a_delay_doubles_up_to_the_longest_and_begins_anew() -> None:
    delay = DoublingDelay(0.1, 0.5)
    assert [delay.next() for _ in range(5)] == [0.1, 0.2, 0.4, 0.5, 0.5]
    assert (delay.seconds, delay.failures) == (0.5, 5)
    delay.reset()
    assert (delay.seconds, delay.failures) == (0.1, 0)
    assert [delay.next(), delay.next()] == [0.1, 0.2]


def test_a_first_delay_is_never_longer_than_the_longest() -> None:
    delay = DoublingDelay(2.0, 0.5)
    assert [delay.next(), delay.next()] == [0.5, 0.5]


async def test_a_wait_takes_half_of_the_delay_up_to_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    async def note(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", note)
    delay = BrokerDelay()
    for _ in range(6):
        await delay.wait()
    bounds = [0.05, 0.1, 0.2, 0.4, 0.8, 0.8]
    assert all(bound / 2 <= wait <= bound for wait, bound in zip(waits, bounds, strict=True)), waits
    assert len({wait / bound for wait, bound in zip(waits, bounds, strict=True)}) > 1, waits


def test_processes_that_die_early_are_followed_later_and_later(clock: Clock) -> None:
    delay = RestartDelay(1.0)
    waited = []
    for _ in range(6):
        delay.died(clock.now - 0.5)
        began = clock.now
        while not delay.is_over:
            clock.now += 0.05
        waited.append(round(clock.now - began, 2))
    assert waited == sorted(waited) and waited[0] < waited[-1] <= 1.1
    # One that has lived long is followed at once, and begins the row anew.
    delay.died(clock.now - 10.0)
    assert delay.is_over
    delay.died(clock.now)
    clock.now += 0.11
    assert delay.is_over


def test_some_deaths_are_followed_at_once_and_then_so_many_a_second(clock: Clock) -> None:
    allowance = RestartAllowance(3.0, 1.0)
    spent = 0
    while allowance.is_left:
        allowance.spend()
        spent += 1
    assert spent == 4
    clock.now += 1.0
    assert allowance.is_left
