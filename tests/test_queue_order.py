"""The order of a worker's queues: equal turns, weights, strict order."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Sequence
from string import ascii_lowercase

import pytest

from aiotask.errors import ConfigError
from aiotask.values.queue_order import EQUAL_TURNS, QueueOrder, parse_queues

LETTERS = tuple(ascii_lowercase)


def first_of(order: QueueOrder, queues: Sequence[str], claims: int, full: Collection[str] = ()) -> Counter[str]:
    """How many of these claims each queue gets, if these queues have jobs; by default all have."""
    turns = itertools.islice(order.turns(queues), claims)
    return Counter(next(queue for queue in turn if queue in (full or queues)) for turn in turns)


# ---- equal turns


def test_each_of_26_queues_is_the_first_one_once_in_26_claims() -> None:
    turns = EQUAL_TURNS.turns(LETTERS)
    for _ in range(5):
        assert Counter(turn[0] for turn in itertools.islice(turns, 26)) == Counter(LETTERS)


@pytest.mark.parametrize("full", ["ab", "az", "mno", "acegz"])
def test_queues_behind_empty_ones_have_no_more_turns_than_others(full: str) -> None:
    claims = first_of(EQUAL_TURNS, LETTERS, 26 * 200, full)

    fair = 26 * 200 / len(full)
    assert all(0.6 * fair < claims[queue] < 1.4 * fair for queue in full), claims


def test_every_turn_has_every_queue_once() -> None:
    for order in (EQUAL_TURNS, QueueOrder({"a": 6, "b": 1}), QueueOrder(is_strict=True)):
        for turn in itertools.islice(order.turns(LETTERS), 60):
            assert sorted(turn) == list(LETTERS)
        assert next(order.turns([])) == []


# ---- weights and strict order


def test_weights_are_shares_of_claims() -> None:
    queues, order = parse_queues("critical:6,default:3,low:1")
    claims = first_of(order, queues, 10_000)

    assert claims["critical"] == pytest.approx(6_000, abs=500)
    assert claims["default"] == pytest.approx(3_000, abs=500)
    assert claims["low"] == pytest.approx(1_000, abs=500)


def test_the_share_of_an_empty_queue_goes_to_the_others_by_their_weights() -> None:
    queues, order = parse_queues("critical:6,default:3,low:1")
    claims = first_of(order, queues, 10_000, full=["default", "low"])

    assert claims["default"] == pytest.approx(7_500, abs=500)
    assert claims["low"] == pytest.approx(2_500, abs=500)


def test_in_strict_order_the_first_that_has_jobs_is_always_the_first() -> None:
    queues, order = parse_queues("critical>default>low")

    assert first_of(order, queues, 100) == {"critical": 100}
    assert first_of(order, queues, 100, full=["default", "low"]) == {"default": 100}


# ---- as text


@pytest.mark.parametrize(
    ("given", "names", "order", "shown"),
    [
        ("a,b", ("a", "b"), EQUAL_TURNS, "a, b"),
        ("a , b,,a", ("a", "b"), EQUAL_TURNS, "a, b"),
        (["a", "b,c"], ("a", "b", "c"), EQUAL_TURNS, "a, b, c"),
        ("a:6,b:3", ("a", "b"), QueueOrder({"a": 6, "b": 3}), "a:6, b:3"),
        ("a: 6, b", ("a", "b"), QueueOrder({"a": 6, "b": 1}), "a:6, b:1"),
        (["a:1000", "b:1"], ("a", "b"), QueueOrder({"a": 1000, "b": 1}), "a:1000, b:1"),
        ("a>b > c", ("a", "b", "c"), QueueOrder(is_strict=True), "a > b > c"),
        (["a", ">", "b"], ("a", "b"), QueueOrder(is_strict=True), "a > b"),
        ([], (), EQUAL_TURNS, ""),
    ],
)
def test_what_a_user_gives(given: str | list[str], names: tuple[str, ...], order: QueueOrder, shown: str) -> None:
    assert parse_queues(given) == (names, order)
    assert order.shown(names) == shown


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("a:0,b", 'Queues "a:0,b": "a:0" has no weight from 1 to 1,000'),
        ("a:1001", '"a:1001" has no weight'),
        ("a:99999999", "has no weight"),
        ("a:-1", '"a:-1" has no weight'),
        ("a:1.5", '"a:1.5" has no weight'),
        ("a:²", "has no weight"),
        ("a:", '"a:" has no weight'),
        (":3", "'' cannot name a queue"),
        ("a b", "'a b' cannot name a queue"),
        ("", "'' cannot name a queue"),
        (["a", " "], "' ' cannot name a queue"),
        ([7], "7 cannot name a queue"),
        ("a:2,a:3", '"a" stands there twice'),
        ("a>b>a", '"a" stands there twice'),
        ("a>b,c", 'Queues "a>b,c": a strict order is names with ">" between them'),
        ("a:6>b", "It takes no weights and no commas"),
        ("a>>b", "a strict order is names"),
        (">a", "a strict order is names"),
        ("a>", "a strict order is names"),
        ("a>b c", "'b c' cannot name a queue"),
    ],
)
def test_nonsense_is_named(given: str | list[str], named: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_queues(given)
    assert named in str(raised.value)
