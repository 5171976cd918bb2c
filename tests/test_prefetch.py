"""How much a worker claims ahead: a pure decision, asked with what its lanes hold."""

from __future__ import annotations

import pytest

from aiotask.broker import BATCH_JOBS
from aiotask.worker.prefetch import AHEAD, Prefetch
from aiotask.worker.probe import Seen


def prefetch(*, syncs: bool = True, asyncs: bool = True, took: float = 0.01) -> Prefetch:
    """One that has seen nothing but jobs of this length for a while."""
    made = Prefetch(syncs=syncs, asyncs=asyncs, max_in_flight=100)
    for _ in range(200):
        made.measure(False, took)
        made.measure(True, took)
    return made


def room(of: Prefetch, **lanes: int | bool) -> int:
    """How many jobs a claim asks for now."""
    state = {"running": 0, "ready": 0, "waiting": 0, "free": 1, "stuck": False, "full": False} | lanes
    jobs, full_of_async = of.room(**state)  # type: ignore[arg-type]
    of.adapt(jobs, full_of_async)
    return jobs


@pytest.mark.parametrize(("took", "claimed"), [(0.0175, 3), (0.01, 6), (1.0, 1), (0.001, 50)])
def test_sync_jobs_are_claimed_for_the_next_50_ms(took: float, claimed: int) -> None:
    assert room(prefetch(asyncs=False, took=took)) == claimed


def test_one_claim_asks_for_a_batch_at_most_and_short_jobs_are_held_for_several() -> None:
    short = prefetch(asyncs=False, took=0.00001)

    assert room(short) == BATCH_JOBS
    assert room(short, waiting=3 * BATCH_JOBS, free=0) == BATCH_JOBS
    assert room(short, waiting=round(AHEAD / 0.00005), free=0) == 0


def test_nothing_sync_is_claimed_behind_a_long_job() -> None:
    assert room(prefetch(asyncs=False), free=0, stuck=True) == 0


def test_long_async_jobs_are_claimed_for_free_seats_only() -> None:
    slow = prefetch(syncs=False, took=0.5)

    assert room(slow) == 100
    assert room(slow, running=90) == 10
    assert room(slow, running=90, ready=10) == 0


def test_short_async_jobs_are_held_beside_those_that_run_unless_nothing_ends() -> None:
    quick = prefetch(syncs=False, took=0.00001)

    assert room(quick, running=100) == BATCH_JOBS
    assert room(quick, running=100, full=True) == 0


def test_where_sync_jobs_are_full_async_ones_get_a_try_and_a_wrong_one_makes_it_wait() -> None:
    mixed = prefetch()
    assert room(mixed, waiting=50, free=0) == 1

    mixed.claimed(is_async=False)

    assert mixed.pause > 0
    assert room(mixed, waiting=50, free=0) == 0, "one more sync job would only be kept from others"
    assert room(mixed) > 0, "what has room is claimed at once"


def test_tries_in_vain_become_rare_and_frequent_again_once_one_is_not() -> None:
    mixed = prefetch()
    rests = []
    for _ in range(8):
        mixed._next_probe = 0.0
        for _ in range(room(mixed, waiting=50, free=0)):
            mixed.claimed(is_async=False)
        rests.append(mixed.pause)

    assert rests[0] <= AHEAD < rests[1] < rests[2] < rests[3]
    assert rests[-1] == pytest.approx(1.0, abs=0.1)

    mixed._next_probe = 0.0
    assert room(mixed, waiting=50, free=0) == 50
    mixed.claimed(is_async=True)
    assert mixed.pause == 0
    mixed.claimed(is_async=False)
    assert mixed.pause <= AHEAD


def test_a_look_that_sees_jobs_of_the_full_kind_alone_stands_for_a_try_and_these_jobs_keep_their_turn() -> None:
    mixed, rests = prefetch(), []
    assert mixed.rotates
    for _ in range(8):
        mixed._next_probe = 0.0
        assert room(mixed, waiting=50, free=0) > 0
        assert mixed.probes is False
        mixed.see(Seen.FULL_KIND)
        assert mixed.probes is None
        rests.append(mixed.pause)

    assert not mixed.rotates
    assert rests[0] <= AHEAD < rests[1] < rests[-1] == pytest.approx(1.0, abs=0.1)


def test_a_look_that_sees_a_job_of_the_other_kind_makes_the_tries_frequent() -> None:
    mixed = prefetch()
    for _ in range(8):
        mixed._next_probe = 0.0
        room(mixed, waiting=50, free=0)
        mixed.see(Seen.FULL_KIND)
    mixed._next_probe = 0.0
    assert room(mixed, waiting=50, free=0) == 50

    mixed.see(Seen.OTHER_KIND)
    mixed.claimed(is_async=False)

    assert mixed.rotates
    assert mixed.pause <= AHEAD


@pytest.mark.parametrize(("seen", "rotates"), [(Seen.NOTHING, False), (Seen.MANY, True)])
def test_what_a_look_cannot_tell_is_tried(seen: Seen, rotates: bool) -> None:
    mixed = prefetch()
    assert room(mixed, waiting=50, free=0) == 1
    mixed.see(seen)
    assert mixed.probes is False
    assert mixed.rotates is rotates


def test_the_tries_grow_to_get_past_a_long_row_and_begin_small_again_once_there_is_room() -> None:
    mixed = prefetch()
    tries = []
    for _ in range(4):
        tries.append(room(mixed, waiting=50, free=0))
        mixed.claimed(is_async=True)

    assert tries == [1, 2, 4, 8]
    assert room(mixed) > 0
    assert room(mixed, waiting=50, free=0) == 1


@pytest.mark.parametrize("lanes", [{}, {"waiting": 50, "free": 0}, {"running": 100, "full": True}])
def test_to_ask_changes_nothing(lanes: dict[str, int | bool]) -> None:
    mixed = prefetch()
    assert room(mixed, waiting=50, free=0) == 1
    state = {"running": 0, "ready": 0, "waiting": 0, "free": 1, "stuck": False, "full": False} | lanes
    before = vars(mixed).copy()

    assert mixed.room(**state) == mixed.room(**state)  # type: ignore[arg-type]

    assert vars(mixed) == before


def test_a_row_that_was_claimed_while_jobs_were_short_is_more_than_is_kept() -> None:
    changed = prefetch(asyncs=False, took=0.00001)
    assert changed.max_waiting > BATCH_JOBS

    for _ in range(50):
        changed.measure(False, 0.02)

    assert changed.max_waiting <= 6
