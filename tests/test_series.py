"""Charts: a point for each minute, rates by the second, and what an operator should see to."""

from __future__ import annotations

import time
from typing import Any

import pytest
from msgspec.structs import replace

from aiotask.brokers.metrics import Minute
from aiotask.brokers.pauses import Pause
from aiotask.brokers.schedules import ScheduleState
from aiotask.inspector import Durability, Persistence, QueueInfo, ServerFacts, Stats, WorkerInfo
from aiotask.keeper.busy import Busy
from aiotask.ops.attention import attention_of
from aiotask.ops.series import (
    Ranged,
    around_deploy,
    errors_in,
    marks_in,
    pending_in,
    queue_rates,
    series_of,
    task_totals,
    totals_of,
)
from aiotask.ops.views.overview import used_queues
from aiotask.values.metrics import Counts, Slot, bucket_of, slot_of
from aiotask.values.report import LostHost


def counts(succeeded: int, failed: int = 0, retried: int = 0, seconds: float = 0.02) -> Counts:
    runs = succeeded + failed + retried
    slots = {Slot.SUCCEEDED: succeeded, Slot.FAILED: failed, Slot.RETRIED: retried, slot_of(bucket_of(seconds)): runs}
    return Counts({int(slot): number for slot, number in slots.items()})


def ranged() -> Ranged:
    begin = time.time() // 60 * 60 - 240
    old = Stats([QueueInfo("mail", pending=100, ended={"SUCCESS": 10})], pending=100, time=begin)
    return Ranged(
        60,
        [
            Minute(begin - 60, 60.0),
            Minute(begin, 60.0, {"a": counts(60)}, {"mail": counts(6, seconds=2.0)}, {"a\tValueError: no": 3}, old),
            Minute(begin + 60, 60.0, {"a": counts(30, 30), "b": counts(120, retried=60)}, {}, {"a\tValueError: no": 1}),
            Minute(begin + 120, 60.0),
        ],
    )


def test_a_series_has_a_point_for_each_minute_and_rates_by_the_second() -> None:
    found = series_of(ranged())

    assert (found.succeeded, found.failed, found.retried) == ([0, 1.0, 2.5, 0], [0, 0, 0.5, 0], [0, 0, 1.0, 0])
    assert found.run_p95[0] is None and found.run_p95[1] == pytest.approx(0.02, rel=0.25)
    assert found.wait_p95[1] == pytest.approx(2.0, rel=0.25) and found.wait_p95[2] is None
    assert found.pending == [None, 100, None, None]
    of_task = series_of(ranged(), task="b")
    assert of_task.succeeded == [0, 0, 2.0, 0]
    assert series_of(ranged(), queue="mail").pending == [None, 100, None, None]
    assert series_of(Ranged(60, [])).at == []


def test_a_job_in_an_idle_hour_is_one_in_an_hour() -> None:
    begin = time.time() // 60 * 60 - 3600
    looks = [Minute(begin + 60 * number, 60.0, stats=Stats([])) for number in range(60)]
    looks[55] = replace(looks[55], tasks={"a": counts(1)})

    assert task_totals(Ranged(60, looks))["a"]["rate"] * 3600 == pytest.approx(1.0, rel=0.05)


def released(*releases: tuple[str, ...]) -> Ranged:
    """Minutes in which hosts of these releases reported, and a task ran: 1 s before the first ``b``, 2 s after it."""
    begin, seconds = 6000.0, 1.0
    minutes = []
    for number, names in enumerate(releases):
        seconds = 2.0 if "b" in names else seconds
        at, told = begin + 60 * number, dict.fromkeys(names, 12)
        minutes.append(Minute(at, 60.0, {"a": counts(30, number, seconds=seconds)}, releases=told))
    return Ranged(60, minutes)


def test_a_deploy_is_where_a_release_is_first_heard_of() -> None:
    rolling = released(("a",), (), ("a",), ("a", "b"), ("b",), ("b",), ("a",))

    assert marks_in(rolling) == [(6180.0, "b"), (6360.0, "a")]
    assert series_of(rolling).marks == marks_in(rolling)
    # A rollback is one while both are there, and a host that restarts with its release is none.
    back = released(("a",), ("a", "b"), ("b",), ("a", "b"), ("a",))
    assert marks_in(back) == [(6060.0, "b"), (6240.0, "a")]
    assert marks_in(released(("a", "b"), ("a",), ("a", "b"))) == []
    # What was there as the range began is no deploy, and neither is a minute without reports.
    assert marks_in(released(("a",), (), ("a",))) == [] and marks_in(Ranged(60, [])) == []


def test_a_task_is_compared_before_and_after_the_last_deploy() -> None:
    found = around_deploy(released(("a",), ("a",), ("a", "b"), ("b",)), "a")

    assert found is not None and (found["at"], found["release"]) == (6120.0, "b")
    before, since = found["before"], found["since"]
    assert (before["ended"], since["ended"]) == (61, 65)
    assert before["p50"] == pytest.approx(1.0, rel=0.25) and since["p50"] == pytest.approx(2.0, rel=0.25)
    assert before["failed"] == pytest.approx(1 / 61) and since["failed"] == pytest.approx(5 / 65)
    assert around_deploy(released(("a",), ("a",)), "a") is None
    other = around_deploy(released(("a",), ("b",)), "unknown")
    assert other is not None and other["before"] is None


def test_cpu_is_told_as_a_number_of_cpus() -> None:
    clock = iter([0.0, 2.0, 10.0, 12.0, 15.0, 20.0]).__next__
    busy = Busy(clock)

    told = [busy.of(7, cpu) for cpu in (50.0, 51.0, 55.0, 60.0, 60.0)]

    assert told == [0.0, 0.0, 0.5, 0.5, 1.0]
    # Another process under this pid.
    assert busy.of(7, 0.1) == 0.0
    busy.keep(set())
    assert not busy._seen


def test_totals_are_of_the_time_since_something_was_counted() -> None:
    now = ranged()
    totals = task_totals(now)
    assert totals["a"]["failed"] == pytest.approx(30 / 120) and totals["b"]["retried"] == 60
    assert 0 < totals["a"]["rate"] <= 120 / 180
    assert totals_of(now, 600.0)["failed"] == pytest.approx(30 / 240)
    assert totals_of(Ranged(60, []), 300.0) == {}
    [error] = errors_in(now)
    assert (error["task"], error["error"], error["message"]) == ("a", "ValueError", "no")
    assert (error["number"], error["line"]) == (4, [0, 3, 1, 0])
    assert pending_in(now) == {"mail": [100]}


def test_a_queue_has_a_rate_and_a_moment_at_which_it_is_empty() -> None:
    before = ranged()
    then = before.minutes[1].stats
    assert then is not None
    now = Stats([QueueInfo("mail", pending=40, ended={"SUCCESS": 70})], pending=40, time=then.time + 60)
    rate, empty = queue_rates(before, now)["mail"]
    assert (rate, empty) == (pytest.approx(1.0), pytest.approx(40.0))
    grown = Stats([QueueInfo("mail", pending=400, ended={"SUCCESS": 70})], pending=400, time=then.time + 60)
    assert queue_rates(before, grown)["mail"][1] is None


# ---- attention

FACTS = ServerFacts("redis", "7.0", Durability(Persistence.LOG_EACH_SECOND, "appendonly everysec"))
WORKER = WorkerInfo("h.1", "h", {"release": 1, "python": "3.11.7"})


def host(**more: Any) -> dict[str, Any]:
    process = {"pid": 7, "still": 0.0, "lag": 0.0}
    usual: dict[str, Any] = {
        "app": "shop",
        "host": "h",
        "machine": "node-a",
        "age": 1.0,
        "aiotask": "1",
        "python": "3.11",
    }
    usual |= {
        "release": "",
        "wanted": 1,
        "serving": 1,
        "stopping": False,
        "exits": {},
        "ahead": 0.0,
        "running": [],
        "processes": [process],
    }
    return usual | more


def told(stats: Stats, workers: list[WorkerInfo], pauses: list[Pause] = [], **more: Any) -> list[str]:  # noqa: B006
    facts, hosts = more.get("facts", FACTS), more.get("hosts", [])
    found = attention_of(
        stats, workers, pauses, facts, more.get("unrecorded", 0), more.get("aside", 0), hosts, more.get("errors", [])
    )
    return [f"{'!' if each.is_bad else '-'} {each.what} {each.rest}".strip() for each in found]


def test_what_is_wrong_is_told_first_and_what_is_well_is_not() -> None:
    fine = Stats([QueueInfo("mail", pending=3, consumers=1)], pending=3, workers=1)
    assert told(fine, [WORKER], hosts=[host()]) == []
    assert told(fine, []) == ["! No worker is live and 3 jobs are not finished."]
    alone = Stats([QueueInfo("mail", pending=1, oldest=9.0)], pending=1, workers=1)
    pause = Pause("queue:x", queue="x", by="ada", why="moves")
    found = told(alone, [WORKER], [pause])
    assert found == [
        "! No live worker consumes queue mail and 1 job waits in it; the oldest for 9.0 s.",
        "- Queue x has been paused by ada (moves), and 0 jobs wait.",
    ]
    full = ServerFacts("redis", "7", FACTS.durability, memory_limit=100, memory_used=95)
    assert told(fine, [WORKER], facts=full) == [
        "! 95 % of the server's memory is used; when it is full, the server refuses new jobs."
    ]
    assert "were set aside" in told(fine, [WORKER], aside=2)[0]
    assert "wait to be recorded" in told(fine, [WORKER], unrecorded=20_000)[0]
    parked = Stats([], parked=1, workers=1)
    assert told(parked, [WORKER])[0].startswith("! 1 job waits for a worker that can run it")
    # A pause parks the jobs of its task, and hides no others.
    both = Stats([], parked=4, paused=3, workers=1)
    assert told(both, [WORKER], [Pause("task:x", task="x")])[0].startswith("! 1 job waits for a worker")
    assert told(Stats([], parked=3, paused=3, workers=1), [WORKER]) == []
    assert told(fine, [WORKER], facts=replace(full, memory_used=141)) == [
        "! 141 % of the server's memory is used; it is full, and refuses new jobs."
    ]
    assert told(fine, [WORKER], aside=1) == [
        "! 1 message was set aside: its seal is missing or wrong, so it was not run."
    ]


def test_queues_that_are_empty_and_not_consumed_are_left_out_while_others_are_consumed() -> None:
    mail, mial, late = QueueInfo("mail", consumers=1), QueueInfo("mial"), QueueInfo("late", scheduled=1)
    stopped = QueueInfo("stopped", paused=True)

    assert used_queues([late, mail, mial, stopped]) == [late, mail, stopped]
    # In a deploy no worker may be live for a moment.
    assert used_queues([late, mial]) == [late, mial]


def test_hosts_that_are_silent_or_stand_still_are_told() -> None:
    stats = Stats([], workers=1)
    still = {"pid": 7, "still": 4.1, "lag": 4.1}
    blocks = {"id": "x", "task": "shop:resize", "pid": 7, "blocks": True}
    hosts = [host(processes=[still], running=[blocks])]
    assert told(stats, [WORKER], hosts=hosts) == [
        "! Worker 7 on node-a has stood still for 4.1 s in shop:resize: an async task blocks its event loop."
    ]
    assert "has not been heard of for 20 s" in told(stats, [WORKER], hosts=[host(age=20.0)])[0]
    assert told(stats, [WORKER], hosts=[host(serving=0)]) == []
    assert "0 of 1 workers serve on node-a" in told(stats, [WORKER], hosts=[host(serving=0, exits={"signal": 2})])[0]
    assert told(stats, [WORKER], hosts=[host(ahead=-1.9)]) == []
    assert told(stats, [WORKER], hosts=[host(ahead=900.0)]) == [
        "! The clock of host node-a is 15 min ahead of that of the server."
    ]
    lost = attention_of(stats, [WORKER], [], FACTS, 0, 0, lost=[LostHost("web-1-7-ab", 120.0, "web-1", 3)])
    assert [f"{each.what} {each.rest}" for each in lost] == [
        "Host web-1 (web-1-7-ab) was lost 2 min ago (3 jobs were requeued)."
    ]
    by_hand = attention_of(stats, [WORKER], [], FACTS, 0, 0, by_hand={"stripe": "1 at a time"})
    assert [(each.is_bad, each.what, each.fix) for each in by_hand] == [
        (False, "Limit stripe", "To restore what its tasks declare: aiotask limits reset stripe")
    ]
    assert "different releases of the app" in told(stats, [WORKER], hosts=[host(release="a"), host(release="b")])[0]


def test_what_was_given_up_lately_is_told_with_its_most_frequent_error() -> None:
    stats = Stats([], workers=1, dead=9)
    errors = [
        {"error": "ValueError", "task": "shop:pay", "number": 6, "lately": 1},
        {"error": "KeyError", "task": "shop:sell", "number": 3, "lately": 3},
    ]
    assert told(stats, [WORKER], errors=errors) == [
        "- 4 jobs were given up in the last hour, 3 of them by KeyError in shop:sell; there are 9 dead letters in all."
    ]
    old = [{**each, "lately": 0} for each in errors]
    assert told(stats, [WORKER], errors=old) == []
    one = [{**errors[0], "lately": 1}]
    assert told(Stats([], workers=1, dead=1), [WORKER], errors=one) == [
        "- 1 job was given up in the last hour, by ValueError in shop:pay; there is 1 dead letter in all."
    ]


def test_each_sentence_says_what_to_do() -> None:
    """What is unusual without being wrong, or is mended elsewhere, is said with its remedy, too."""
    stats = Stats([QueueInfo("mail", pending=1, oldest=9.0)], pending=1, parked=2, workers=1, dead=1)
    still = {"pid": 7, "still": 4.1, "lag": 4.1}
    pauses = [Pause("queue:x", queue="x"), Pause("task:y", task="y")]
    late = ScheduleState("nightly", b"", "", 0.0, 0.0, 0.0, paused=1.0, paused_by="ada", paused_why="holidays")
    errors = [{"error": "ValueError", "task": "shop:pay", "number": 6, "lately": 1}]
    hosts = [host(processes=[still]), host(age=20.0), host(release="b", serving=0, exits={"signal": 2})]
    full = ServerFacts("redis", "7", FACTS.durability, memory_limit=100, memory_used=95)
    for found in (
        attention_of(stats, [WORKER], pauses, full, 20_000, 2, hosts, errors, schedules=[late]),
        attention_of(stats, [WORKER, WorkerInfo("h.2", "h", {"release": 2, "python": "3.13.0"})], [], full, 0, 0),
        attention_of(stats, [], [], full, 0, 0),
    ):
        assert found and [each for each in found if not each.fix] == []
