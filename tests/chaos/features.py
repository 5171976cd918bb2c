"""Jobs of every feature beside plain ones, for the stream of any trial: a trial sends some of them at each turn."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

from aiotask import group

from .limits import spans_of, too_many
from .producer import Producer, Within

if TYPE_CHECKING:
    from .arena import Arena
    from .report import Report

__all__ = ["judge_features", "send_features"]

#: Keys of unique jobs, and of limited ones.
_KEYS = 4


def send_features(producer: Producer, tasks: Any, rng: Random, *, saving: float = 0.1) -> None:
    """Send one job of each feature.

    Args:
        tasks: a module with the tasks of ``tests.chaos.app``.
        saving: part of the calls that send a job with checkpoints. It is a long one, and runs alone after a death: many
            of them leave no room for other suspects.
    """
    _send_expiring(producer, tasks, rng)
    _send_graph(producer, tasks, rng)
    _send_items(producer, rng)
    _send_limited(producer, rng)
    if rng.random() < saving:
        producer.send(producer.app.named(f"{__package__}.app:saving"))
    _send_unique(producer, tasks, rng)


def judge_features(arena: Arena, report: Report) -> None:
    """Limits hold, and what a job has saved, where no server may forget who was admitted and what was saved."""
    from .app import EACH, IN_ALL

    runs = [run for run in arena.ledger().attempts.values() if run.task.endswith("app:limited")]
    for n in range(_KEYS):
        mine = [run for run in runs if run.key == _key(n)]
        report.require(not too_many(spans_of(arena, mine), EACH), f"more than {EACH} job of {_key(n)} ran at once")
    report.require(not too_many(spans_of(arena, runs), IN_ALL), f"more than {IN_ALL} limited jobs ran at once")
    report.facts["limited runs"] = len(runs)
    _judge_saving(arena, report)


def _judge_saving(arena: Arena, report: Report) -> None:
    """A run begins behind the last step that an earlier one saw the broker keep, and behind none that was not made."""
    from .app import STEPS

    ledger = arena.ledger()
    notes: dict[str, list[dict[str, Any]]] = {}
    for note in sorted((note for note in ledger.notes if "saving" in note), key=lambda note: note["at"]):
        notes.setdefault(note["saving"], []).append(note)
    again = 0
    for id, found in notes.items():
        made, kept = 0, 0
        for note in found:
            if "began" not in note:
                made, kept = max(made, note.get("step", 0)), max(kept, note.get("kept", 0))
                continue
            report.require(note["began"] >= kept, f"{id} began anew behind step {note['began']}, but {kept} was kept")
            report.require(note["began"] <= made, f"{id} began behind a step that it had not made")
            again += made > 0
        ended = any(run.outcome == "ok" for run in ledger.by_job.get(id, ()))
        steps = {note["step"] for note in found if "step" in note}
        report.require(not ended or steps == set(range(1, STEPS + 1)), f"{id} has ended without some of its steps")
    seen = [note for found in notes.values() for note in found if note.get("kept")]
    report.require(bool(seen) or not notes, "the broker was never seen to keep a checkpoint")
    report.facts["jobs with checkpoints"] = f"{len(notes):,}, {again:,} runs after others"


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


def _key(number: int) -> str:
    return f"key-{number}"


def _send_limited(producer: Producer, rng: Random) -> None:
    """Some jobs of a limit, which wait in lines while others are in."""
    task = producer.app.named(f"{__package__}.app:limited")
    for _ in range(rng.randrange(0, 3)):
        producer.send(task, _key(rng.randrange(_KEYS)))


def _send_unique(producer: Producer, tasks: Any, rng: Random) -> None:
    """Some calls with one key: the later ones are the first one, or take its place."""
    options: dict[str, Any] = {"key": _key(rng.randrange(_KEYS)), "unique": "unfinished"}
    task = tasks.noop
    if rng.random() < 0.5:
        # Debounced. Another task, since all calls of a task with one key have the same policy.
        task, options["unique"] = tasks.sync_noop, "pending"
        options |= {"on_conflict": "replace", "delay": 0.05, "max_wait": 0.2}
    for _ in range(rng.randrange(0, 4)):
        producer.send(task.options(**options))
