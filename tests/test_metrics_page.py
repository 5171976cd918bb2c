"""The metrics page: numbers that only grow, and that other processes read while they are written."""

from __future__ import annotations

import os
import random

import pytest

from aiotask.brokers.metrics import Observed
from aiotask.daemon.metrics_page import MetricsPage
from aiotask.daemon.report_ledger import ReportLedger
from aiotask.keeper.report import State
from aiotask.values.metrics import BUCKETS, EDGES, Counts, Slot, bucket_of, slot_of

EVERY = [*Slot, *(slot_of(bucket) for bucket in range(1, BUCKETS))]


def test_what_was_added_is_read_by_app() -> None:
    page = MetricsPage()
    for _ in range(2):
        page.add("shop", {"a": {slot: slot + 1 for slot in EVERY}}, {"mail": {Slot.SUCCEEDED: 1}}, {"a\tKeyError": 2})
    page.add("other", {"a": {Slot.FAILED: 1}}, {}, {})

    shop = page.read("shop")
    assert shop.tasks == {"a": Counts({slot: 2 * (slot + 1) for slot in EVERY})}
    assert (shop.queues, shop.errors) == ({"mail": Counts({Slot.SUCCEEDED: 2})}, {"a\tKeyError": 4})
    assert page.read("other").tasks == {"a": Counts({Slot.FAILED: 1})}
    assert page.read("third") == ({}, {}, {})


def test_the_next_process_goes_on_counting_where_the_last_one_ended() -> None:
    page = MetricsPage()

    def count(task: str) -> None:
        pid = os.fork()
        if not pid:
            page.add("shop", {task: {Slot.SUCCEEDED: 1}, "both": {Slot.SUCCEEDED: 1}}, {}, {})
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0

    for task in ("a", "b", "a"):
        count(task)

    found = page.read("shop").tasks
    assert {task: counts.of(Slot.SUCCEEDED) for task, counts in found.items()} == {"a": 2, "b": 1, "both": 3}


def test_what_finds_no_row_is_counted_as_other() -> None:
    page = MetricsPage()
    for number in range(600):
        page.add("shop", {f"task-{number}": {Slot.SUCCEEDED: 1}}, {f"queue-{number}": {Slot.SUCCEEDED: 1}}, {})

    found = page.read("shop")
    assert (len(found.tasks), len(found.queues)) == (256, 64)
    assert found.tasks["other"].of(Slot.SUCCEEDED) == 600 - 255 and found.queues["other"].of(Slot.SUCCEEDED) == 600 - 63
    assert found.tasks["task-254"].of(Slot.SUCCEEDED) == 1


def test_long_names_are_cut_and_told_apart() -> None:
    page = MetricsPage()
    names = ["ü" * 300 + end for end in "ab"]
    for name in names:
        page.add("shop", {name: {Slot.SUCCEEDED: 1}}, {}, {})
        page.add("shop", {name: {Slot.SUCCEEDED: 1}}, {}, {})

    found = page.read("shop").tasks
    assert len(found) == 2 and all(name.startswith("ü" * 50) for name in found)
    assert [counts.of(Slot.SUCCEEDED) for counts in found.values()] == [2, 2]


def test_a_reader_sees_no_number_fall_and_none_without_its_name() -> None:
    page, rounds = MetricsPage(), 20_000
    pid = os.fork()
    if not pid:
        for number in range(rounds):
            page.add("shop", {f"task-{number % 200}": {Slot.SUCCEEDED: 255, Slot.TIME: 2**33}}, {}, {})
        os._exit(0)
    last: dict[str, Counts] = {}
    looks = 0
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        now = page.read("shop").tasks
        assert all(name.startswith("task-") for name in now)
        for name, counts in last.items():
            for slot in (Slot.SUCCEEDED, Slot.TIME):
                assert now[name].of(slot) >= counts.of(slot), f"{name}: {slot!r} fell"
        last, looks = now, looks + 1
    total = Counts.sum(page.read("shop").tasks.values())
    assert (total.of(Slot.SUCCEEDED), total.of(Slot.TIME)) == (255 * rounds, 2**33 * rounds)
    assert looks


def test_a_process_that_a_task_has_forked_counts_elsewhere() -> None:
    page = MetricsPage()
    page.add("shop", {"a": {Slot.SUCCEEDED: 1}}, {}, {})
    pid = os.fork()
    if not pid:
        page.detach()
        page.add("shop", {"a": {Slot.SUCCEEDED: 5}}, {}, {})
        os._exit(0 if page.read("shop").tasks["a"].of(Slot.SUCCEEDED) == 5 else 1)

    assert os.waitpid(pid, 0)[1] == 0
    assert page.read("shop").tasks["a"].of(Slot.SUCCEEDED) == 1


# ---- histograms


def test_the_edges_never_change() -> None:
    assert EDGES[:3] == pytest.approx((0.001, 0.0015, 0.00225)) and EDGES[-4:] == (120.0, 300.0, 900.0, 3600.0)
    assert len(EDGES) == 32 and 56 < EDGES[27] < 57.7
    assert [bucket_of(seconds) for seconds in (0.0, 0.0009, 0.001, 0.0014, 0.0015, 3599.0, 3600.0, 1e9)] == [
        *(0, 0, 1, 1, 2, 31, 32, 32)
    ]


def counts_of(durations: list[float]) -> Counts:
    slots = {int(Slot.SUCCEEDED): len(durations)}
    for seconds in durations:
        if bucket := bucket_of(seconds):
            slots[slot_of(bucket)] = slots.get(slot_of(bucket), 0) + 1
    return Counts(slots)


@pytest.mark.parametrize("seed", range(20))
def test_percentiles_are_within_a_quarter_and_merge(seed: int) -> None:
    chance = random.Random(seed)
    middle, spread = 10 ** chance.uniform(-2.5, 1.0), chance.uniform(0.01, 2.0)
    durations = sorted(min(50.0, max(0.0011, chance.lognormvariate(0, spread) * middle)) for _ in range(3000))
    parts = [durations[n::7] for n in range(7)]

    merged = Counts.sum(map(counts_of, parts))

    assert merged == counts_of(durations)
    for share in (0.5, 0.95, 0.99):
        true = durations[min(len(durations) - 1, int(share * len(durations)))]
        found = merged.percentile(share)
        assert found is not None and abs(found - true) <= 0.26 * true, (share, true, found)
    shares = [merged.percentile(n / 100) or 0.0 for n in range(101)]
    assert shares == sorted(shares)


def test_percentiles_at_the_ends() -> None:
    assert Counts().percentile(0.5) is None
    assert 0.0 < (counts_of([0.0] * 10).percentile(0.95) or 0.0) < 0.001
    assert counts_of([1e9]).percentile(0.5) == 3600.0
    assert 300.0 < (counts_of([400.0]).percentile(0.5) or 0.0) < 900.0


# ---- the ledger


def test_a_ledger_keeps_the_last_state_for_the_next_keeper() -> None:
    ledger = ReportLedger(size=1000)
    assert ledger.read() == State()
    states = [State(n, Observed({"a": {2: n}}), Observed({"b": {3: n}}) if n % 2 else None) for n in range(5)]
    for state in states:
        pid = os.fork()
        if not pid:
            ledger.write(state)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        assert ledger.read() == state

    ledger.write(State(9, Observed({"x" * 2000: {2: 1}})))
    assert ledger.read() == states[-1]
