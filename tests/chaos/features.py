"""Jobs of every feature beside plain ones, for the stream of any trial: a trial sends some of them at each turn."""

from __future__ import annotations

from random import Random
from typing import Any

from aiotask import group

from .producer import Producer, Within

__all__ = ["send_features"]


def send_features(producer: Producer, tasks: Any, rng: Random) -> None:
    """Send one job of each feature.

    Args:
        tasks: a module with the tasks of ``tests.chaos.app``.
    """
    _send_expiring(producer, tasks, rng)
    _send_graph(producer, tasks, rng)
    _send_items(producer, rng)


def _send_expiring(producer: Producer, tasks: Any, rng: Random) -> None:
    """Some are too late from the start, most run, and some are overtaken by a fault."""
    seconds = rng.choice((0.001, rng.uniform(0.01, 0.2), rng.uniform(0.5, 3.0)))
    task = (tasks.noop, tasks.sync_noop)[rng.random() < 0.5]
    producer.send(task.options(expires=seconds), expect=Within(seconds))


def _send_graph(producer: Producer, tasks: Any, rng: Random) -> None:
    """Some jobs whose values another one takes, and one that takes its value."""
    joined = producer.app.named(f"{__package__}.app:joined")
    members = [(tasks.noop, tasks.sync_noop)[rng.random() < 0.5].s() for _ in range(rng.randrange(1, 6))]
    first = joined.s(group(members).cast)
    root = joined.s([first.cast])
    producer.send_graph(root, [*members, first])


def _send_items(producer: Producer, rng: Random) -> None:
    """Some items of a batch task, which share calls with those that were sent before and after them."""
    task = producer.app.named(f"{__package__}.app:{rng.choice(('batched', 'sync_batched'))}")
    for _ in range(rng.randrange(1, 12)):
        producer.send(task, "")
