"""What is forged follows from the seed and the number of the message alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from .faults.forgery import Forger

#: Jobs that run while messages are forged: of one trial, and of another one on a slower machine.
FEW, MANY = ["00a1-1", "00a1-2"], [f"00b2-{n}" for n in range(6)]
KINDS: dict[str, Callable[[Forger, list[str]], object]] = {
    "an entry of a lane": lambda forger, ids: forger.entry(forger.one_of(ids)),
    "a job that is held": lambda forger, ids: forger.held(),
    "a question": lambda forger, ids: forger.ask(),
    "a message": lambda forger, ids: forger.message(ids),
    "a cancel": lambda forger, ids: forger.cancel(ids),
    "a mark": lambda forger, ids: forger.mark(forger.one_of(ids)),
    "rubbish": lambda forger, ids: (forger.meta(), forger.rng.random()),
}


def forged(seed: int, kind: str, ids: list[str], number: int, path: Path) -> str:
    """A message, without the ids of jobs in it and the seals over these."""
    forger = Forger(seed, "a secret", "shop", "shop:echo", path)
    for n in range(number):
        forger.begin(str(n))
        KINDS[kind](forger, ids)
        # Some machines ask more often.
        for _ in range(len(ids)):
            forger.id(), forger.rng.random()
    forger.begin(str(number))
    made = KINDS[kind](forger, ["00a1-1"])
    return repr(made)


@pytest.mark.parametrize("kind", KINDS)
def test_a_message_is_the_same_whatever_came_before_it(kind: str, tmp_path: Path) -> None:
    made = [forged(7, kind, FEW, n, tmp_path / "canary") for n in range(40)]
    assert [forged(7, kind, MANY, n, tmp_path / "canary") for n in range(40)] == made
    assert len(set(made)) > 3


@pytest.mark.parametrize("kind", ["an entry of a lane", "a message", "a cancel", "a mark"])
def test_what_is_drawn_next_does_not_depend_on_how_many_jobs_run(kind: str, tmp_path: Path) -> None:
    for number in map(str, range(40)):
        drawn = []
        for ids in (["00a1-1"] * 2, ["00a1-1"] * 6):
            forger = Forger(7, "a secret", "shop", "shop:echo", tmp_path / "canary")
            forger.begin(number)
            made = KINDS[kind](forger, ids)
            drawn.append((repr(made), forger.rng.random()))
        assert drawn[0] == drawn[1]


def test_another_seed_forges_other_messages(tmp_path: Path) -> None:
    made = {forged(seed, "an entry of a lane", FEW, 3, tmp_path / "canary") for seed in range(20)}
    assert len(made) > 10
