"""The queues of a worker as a user gives them, and the order in which the worker claims from them."""

from __future__ import annotations

import itertools
import random
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import ConfigError
from ..settings import check_name

__all__ = ["EQUAL_TURNS", "QueueOrder", "parse_queues"]

#: The greatest weight.
MOST = 1000


@dataclass(frozen=True, slots=True)
class QueueOrder:
    """In which order a worker claims from its queues; without arguments they take equal turns.

    Attributes:
        weights: by queue, how often it comes first in comparison with the others. Empty: it has no weight.
        is_strict: whether each queue comes before all that follow it.
    """

    weights: Mapping[str, int] = field(default_factory=dict)
    is_strict: bool = False

    @property
    def by_queue(self) -> bool:
        """Whether a claim goes from queue to queue. If not, it goes from priority to priority, over all queues."""
        return self.is_strict or bool(self.weights)

    def turns(self, queues: Sequence[str]) -> Iterator[list[str]]:
        """The queues in the order of each claim, without end. The caller does not change the lists."""
        if self.is_strict or len(queues) < 2:
            return itertools.repeat(list(queues))
        return _draws([(queue, 1 / self.weights.get(queue, 1)) for queue in queues] if self.weights else [], queues)

    def shown(self, queues: Sequence[str]) -> str:
        """The queues for people, in the form in which a user gives them."""
        if self.is_strict:
            return " > ".join(queues)
        return ", ".join(f"{queue}:{self.weights[queue]}" if queue in self.weights else queue for queue in queues)


EQUAL_TURNS = QueueOrder()


def _draws(weighted: Sequence[tuple[str, float]], queues: Sequence[str]) -> Iterator[list[str]]:
    while weighted:
        # The queue with the greatest u^(1/weight) is each one as often as its weight says.
        drawn = [(random.random() ** root, queue) for queue, root in weighted]
        yield [queue for _, queue in sorted(drawn, reverse=True)]
    while True:
        # Each queue comes first once in a round. Were all rounds alike, the queue behind many empty ones would have the
        # turns of these, too.
        turns = deque(random.sample(queues, len(queues)))
        for _ in queues:
            yield list(turns)
            turns.rotate(-1)


def parse_queues(given: str | Iterable[str]) -> tuple[tuple[str, ...], QueueOrder]:
    """The names of queues and their order: ``a,b`` equal turns, ``a:6,b:3`` weights, ``a>b`` strict order.

    Args:
        given: text of these forms, or several that stand for one with commas between them.

    Raises:
        ConfigError: the text has none of these forms, or a name cannot be that of a queue.
    """
    items = [given] if isinstance(given, str) else list(given)
    for item in items:
        if not isinstance(item, str) or not item.strip():
            check_name(item, "a queue")
    text = ",".join(items)
    if ">" in text:
        return _strict(text), QueueOrder(is_strict=True)
    parts = [part.strip() for part in text.split(",")]
    found = [_weighted(part, text) for part in parts if part]
    names = tuple(dict.fromkeys(name for name, _ in found))
    if not any(weight for _, weight in found):
        return names, EQUAL_TURNS
    _refuse_repeats([name for name, _ in found], text)
    return names, QueueOrder({name: weight or 1 for name, weight in found})


def _strict(text: str) -> tuple[str, ...]:
    # A shell variable with blanks around ">" comes in parts, and so with commas.
    names = [part.strip(" ,") for part in text.split(">")]
    if any(not name or "," in name or ":" in name for name in names):
        raise ConfigError(
            f'Queues "{text}": a strict order is names with ">" between them, as in "critical>default>low". '
            "It takes no weights and no commas."
        )
    _refuse_repeats(names, text)
    return tuple(check_name(name, "a queue") for name in names)


def _weighted(part: str, text: str) -> tuple[str, int]:
    """Name and weight of one queue; 0: it was given without a weight."""
    name, colon, weight = (piece.strip() for piece in part.partition(":"))
    if not colon:
        return check_name(name, "a queue"), 0
    if not (weight.isascii() and weight.isdecimal() and 1 <= int(weight[:5]) <= MOST and len(weight) < 5):
        raise ConfigError(
            f'Queues "{text}": "{part}" has no weight from 1 to {MOST:,}. Give a whole number after the colon, as in '
            '"critical:6,default:3,low:1".'
        )
    return check_name(name, "a queue"), int(weight)


def _refuse_repeats(names: Sequence[str], text: str) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f'Queues "{text}": "{name}" stands there twice. Name each queue once.')
