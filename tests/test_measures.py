"""What a worker counts goes on once the broker has taken the ends of these jobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aiotask.broker import Delivery, Finish
from aiotask.job import Meta, Status
from aiotask.log.events import EventLog, JobEvent
from aiotask.values.metrics import Counts, Slot, Table, bucket_of, slot_of
from aiotask.worker.measures import Measures, MetricsTable, shape_of

from .seam import sealed_outcome


@dataclass
class Account:
    """How much was handed over, and how much of it the broker has taken."""

    handed: int = 0
    settled: int = 0


def events(**numbers: int) -> Mapping[str, Mapping[str, int]]:
    return {kind: {"shop:a": numbers[kind.name.lower()]} if kind.name.lower() in numbers else {} for kind in JobEvent}


def test_counts_wait_until_the_broker_has_taken_the_ends() -> None:
    table, account = MetricsTable(), Account(handed=5, settled=2)
    measures = Measures(table.add, account)

    measures.ran("shop:a", 0.02, 0.01)
    measures.flush(events(succeeded=3))
    assert table.read() == ({}, {}, {})
    account.handed, account.settled = 9, 4
    measures.hand_on()
    assert table.read() == ({}, {}, {})
    account.settled = 5
    measures.hand_on()
    first = {Slot.SUCCEEDED: 3, Slot.TIME: 20_000, Slot.CPU: 10_000, slot_of(bucket_of(0.02)): 1}
    assert table.read()[0] == {"shop:a": Counts(first)}

    measures.flush(events(succeeded=1, failed=1, dead=1, timeout=1, retrying=2, cancelled=1, expired=1))
    account.settled = 9
    measures.flush(events())
    counts = table.read()[0]["shop:a"]
    found = [counts.of(slot) for slot in (Slot.SUCCEEDED, Slot.FAILED, Slot.RETRIED, Slot.CANCELLED, Slot.EXPIRED)]
    assert found == [4, 3, 2, 1, 1]
    assert counts.runs == 11 and counts.histogram[0] == 10


def test_an_end_that_was_not_this_workers_is_no_end() -> None:
    table, account = MetricsTable(), Account()
    measures = Measures(table.add, account)
    measures.flush(events(succeeded=3))
    delivery = Delivery("q:default:5", "1-1", "a", b"", Meta())
    outcome = sealed_outcome("a")

    measures.disown([Finish(delivery, outcome, Status.SUCCESS, 60.0)])
    measures.flush(events())

    ended: dict[str, Counts] = table.read()[0]
    assert sum(counts.of(Slot.SUCCEEDED) for counts in ended.values()) == 2
    assert sum(counts.of(Slot.REFERRED) for counts in ended.values()) == 1


def test_waits_are_counted_by_queue() -> None:
    table = MetricsTable()
    measures = Measures(table.add, Account())

    measures.waited([("mail", 0.5), ("mail", 0.0001), ("default", 4000.0)])
    measures.flush(events())

    queues = table.read()[1]
    assert (queues["mail"].runs, queues["mail"].time) == (2, 0.5001)
    assert queues["mail"].histogram[0] == 1 and queues["default"].histogram[-1] == 1


def test_the_log_hands_on_each_event_once() -> None:
    log, seen = EventLog(per_second=1), list[int]()

    def count(counts: Mapping[str, Mapping[str, int]]) -> None:
        seen.append(counts[JobEvent.SUCCEEDED].get("shop:a", 0))

    log.counted = count
    for number in range(50):
        if not log.counts(JobEvent.SUCCEEDED, "shop:a", 0.0):
            log.job(JobEvent.SUCCEEDED, id=str(number), task="shop:a")
    log.flush()
    log.flush()

    assert sum(seen) == 50


def test_errors_of_one_kind_have_one_shape() -> None:
    shapes = {shape_of(KeyError(f"order {n} of 'shop-{n}' at 0x{n:x}f is missing")) for n in range(5)}
    assert shapes == {"KeyError: order … of … at … is missing"}
    assert shape_of(ValueError("a\nb")) == "ValueError: a"
    assert len(shape_of(ValueError("x" * 10_000))) <= 120


def test_a_table_adds_up() -> None:
    table = MetricsTable()
    tasks: Table = {"a": {Slot.SUCCEEDED: 1}}
    for _ in range(3):
        table.add(tasks, {}, {"shape": 2})
    assert table.read() == ({"a": Counts({Slot.SUCCEEDED: 3})}, {}, {"shape": 6})
