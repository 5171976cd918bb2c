"""Floods of events are summed up, and no event is lost from the count."""

# ruff: noqa: RUF001 (the glyph of a failure, and "times")

from __future__ import annotations

import io
import re

from aiotask.log.events import EventLog, JobEvent

from .said import TASK, Clock, lines


def test_what_is_more_than_a_second_holds_is_counted_and_said_once(stream: io.StringIO, clock: Clock) -> None:
    log = EventLog(per_second=10)

    for number in range(12_355):
        log.job(JobEvent.SUCCEEDED, id=str(number), task=TASK)
    clock.now += 1.0
    log.flush()
    log.flush()

    said = lines(stream)
    assert len(said) == 11
    assert said[-1].endswith("■ shop.tasks:render ×12,345 more in 1.0 s")


def test_each_task_has_its_own_summary(stream: io.StringIO, clock: Clock) -> None:
    log = EventLog(per_second=1)
    for task, count in (("a:a", 3), ("b:b", 5)):
        for _ in range(count):
            log.job(JobEvent.STARTED, id="1", task=task)
    clock.now += 1.0
    log.flush()

    assert [line.partition("→ ")[2] for line in lines(stream)[2:]] == ["a:a ×2 more in 1.0 s", "b:b ×4 more in 1.0 s"]


def test_the_next_second_says_the_summary_by_itself_and_has_room_again(stream: io.StringIO, clock: Clock) -> None:
    log = EventLog(per_second=1)
    for _ in range(5):
        log.job(JobEvent.SUCCEEDED, id="1", task=TASK)
    clock.now += 2.0

    log.job(JobEvent.SUCCEEDED, id="the next", task=TASK)

    assert [" ×4 more in 2.0 s" in line or "the next" in line for line in lines(stream)] == [False, True, True]


def test_a_flood_of_failures_says_how_many_and_the_last_error(stream: io.StringIO, clock: Clock) -> None:
    log = EventLog()
    for number in range(350):
        log.job(JobEvent.FAILED, id=str(number), task=TASK, detail=f"ConnectionError: try {number}")
    clock.now += 1.0
    log.flush()

    said = lines(stream)
    assert len(said) == 101
    assert said[-1].endswith("×250 more in 1.0 s, the last: ConnectionError: try 349")


def test_a_flood_of_one_kind_hides_no_other(stream: io.StringIO) -> None:
    log = EventLog(per_second=2)
    for _ in range(1000):
        log.job(JobEvent.SUCCEEDED, id="1", task=TASK)

    log.job(JobEvent.DEAD, id="the dead one", task=TASK)

    assert "the dead one" in lines(stream)[-1]


def test_a_rare_task_is_heard_beside_one_that_floods(stream: io.StringIO) -> None:
    log = EventLog(per_second=20)
    for _ in range(1000):
        log.job(JobEvent.SUCCEEDED, id="1", task="a:flood")

    log.job(JobEvent.SUCCEEDED, id="the rare one", task="b:rare")
    log.job(JobEvent.SUCCEEDED, id="and no more of it", task="b:rare")

    assert len(lines(stream)) == 21
    assert "the rare one" in lines(stream)[-1]


def test_a_tick_waits_for_the_end_of_the_second_and_flush_does_not(stream: io.StringIO, clock: Clock) -> None:
    log = EventLog(per_second=1)
    for _ in range(3):
        log.job(JobEvent.SUCCEEDED, id="1", task=TASK)

    clock.now += 0.5
    log.tick()
    assert len(lines(stream)) == 1
    log.flush()
    assert lines(stream)[-1].endswith("×2 more in 0.5 s")

    for _ in range(3):
        log.job(JobEvent.SUCCEEDED, id="1", task=TASK)
    clock.now += 1.0
    log.tick()
    assert lines(stream)[-1].endswith("×2 more in 1.0 s")


def test_flush_before_anything_was_held_back_says_nothing(stream: io.StringIO, clock: Clock) -> None:
    log = EventLog(per_second=2)
    log.job(JobEvent.SUCCEEDED, id="1", task=TASK)
    log.flush()
    log.job(JobEvent.SUCCEEDED, id="2", task=TASK)
    log.job(JobEvent.SUCCEEDED, id="3", task=TASK)

    assert len(lines(stream)) == 2, "a flush inside a second must not give it more room"


def test_every_event_is_either_said_or_counted(stream: io.StringIO, clock: Clock) -> None:
    log = EventLog(per_second=7)
    for number in range(1000):
        log.job(JobEvent.SUCCEEDED, id=str(number), task=TASK)
        clock.now += 0.01
    log.flush()

    counted = [
        int(found[1].replace(",", "")) for line in lines(stream) if (found := re.search(r"×([\d,]+) more", line))
    ]
    single = sum("more in" not in line for line in lines(stream))
    assert single + sum(counted) == 1000
    assert counted
