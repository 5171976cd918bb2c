"""Which worker is asked to run suspects: one, and another one soon where the first does not answer."""

from __future__ import annotations

from aiotask.brokers.sql.turns import MOST, STEP, TURN, Turns

WORKERS = [f"{host}.worker-{number}" for host in ("red", "green", "blue") for number in range(1, 5)]


def asked(turns: dict[str, Turns], suspect: object, *, at: float = 0.0, now: float = 0.0) -> list[str]:
    return [name for name, own in turns.items() if own.asks(name, WORKERS, suspect, at=at, now=now)]


def all_turns() -> dict[str, Turns]:
    return {name: Turns() for name in WORKERS}


def test_one_worker_is_asked_at_first() -> None:
    assert len(asked(all_turns(), (1, 1))) == 1


def test_another_is_asked_while_the_suspect_waits_on() -> None:
    turns = all_turns()
    counts = [len(asked(turns, (1, 1), now=step * STEP)) for step in range(6)]
    assert counts == [1, 2, MOST, MOST, MOST, MOST]


def test_the_workers_that_are_asked_are_of_several_hosts() -> None:
    turns = all_turns()
    asked(turns, (1, 1))
    assert len({name.partition(".")[0] for name in asked(turns, (1, 1), now=60.0)}) > 1


def test_a_suspect_that_was_claimed_makes_the_next_one_wait_for_the_first_worker() -> None:
    turns = all_turns()
    asked(turns, (1, 1))
    assert len(asked(turns, (1, 2), now=60.0)) == 1


def test_the_first_one_changes_with_time() -> None:
    assert asked(all_turns(), (1, 1)) != asked(all_turns(), (1, 1), at=TURN)


def test_a_worker_that_no_other_knows_is_asked() -> None:
    assert Turns().asks("new.worker-1", [], (1, 1), at=0.0, now=0.0)
