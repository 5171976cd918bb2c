"""Graphs of every shape, each with what has to be true of it, and the judge of all of them."""

from __future__ import annotations

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from aiotask import Signature, group
from aiotask.errors import AiotaskError
from aiotask.job import Status
from aiotask.outcome import Outcome
from aiotask.results.result import AsyncResult

from .producer import ANYTHING, Producer, Sent

if TYPE_CHECKING:
    from .arena import Arena
    from .ledger import Attempt
    from .report import Report

__all__ = ["Garden", "Plant", "judge_graphs", "layered"]

#: Runs of one job that may end with their process before the job is given up.
_DEATHS = 3
_TOUCH = 0.0005


@dataclass
class _Node:
    """What is known of one node: the ids whose values it takes, and those of which it takes the value or the error."""

    id: str
    task: str
    cast: list[str] = field(default_factory=list)
    settled: list[str] = field(default_factory=list)
    #: For a follow-up: ``s`` or ``e``.
    condition: str = ""


@dataclass
class Plant:
    """One graph as it is sent."""

    root: Any
    nodes: dict[str, _Node] = field(default_factory=dict)
    id: str = ""
    result: AsyncResult[Any] | None = None
    #: ``accepted``, ``refused``, ``ambiguous``, or empty: not known yet.
    verdict: str = ""
    cancelled: bool = False
    #: Its jobs send further ones into the graph as they run.
    grows: bool = False

    def add(
        self, call: Signature[Any], cast: Iterable[Any] = (), settled: Iterable[Any] = (), condition: str = ""
    ) -> Signature[Any]:
        ids = [[each.id for each in some] for some in (cast, settled)]
        self.nodes[call.id] = _Node(call.id, call.task.rpartition(":")[2], *ids, condition)
        return call


class Garden:
    """Sends graphs of random shapes through a producer."""

    def __init__(self, producer: Producer, tasks: Any, rng: Random, *, width: int) -> None:
        self.plants: list[Plant] = []
        self._producer = producer
        self._tasks = tasks
        self._rng = rng
        self._width = width
        self._shapes = (self._chain, self._chord, self._diamond, self._settled, self._follow_ups, self._growing)

    async def plant(self) -> Plant:
        """Send one more graph, of the next shape."""
        made = self._shapes[len(self.plants) % len(self._shapes)]()
        self.plants.append(made)
        made.id = made.root.id
        result = made.result = made.root.apply_async()
        following = asyncio.ensure_future(self._follow(made, result))
        self._producer.look_after(following)
        return made

    async def _follow(self, plant: Plant, result: AsyncResult[Any]) -> None:
        try:
            await result.sent()
        except AiotaskError as error:
            plant.verdict = "ambiguous" if "may have" in str(error) else "refused"
        else:
            plant.verdict = "accepted"
        now = time.monotonic()
        for node in plant.nodes.values():
            sent = Sent(node.id, node.task, ANYTHING, False, now, plant.verdict, now, ended=True)
            if not node.condition:
                self._producer.sent[node.id] = sent
        if plant.verdict == "accepted":
            await asyncio.gather(result, return_exceptions=True)

    # ---- shapes

    def _step(self, plant: Plant, *upstream: Signature[Any]) -> Signature[Any]:
        """A node that takes values; some nap, some fail now and then, some are sync."""
        tasks, rng = self._tasks, self._rng
        inputs = [each.cast for each in upstream]
        kind = rng.random()
        if kind < 0.1:
            call = tasks.step.s(inputs, rng.uniform(0.01, 0.3))
        elif kind < 0.2:
            call = tasks.step.s(inputs, again=1)
        else:
            call = (tasks.step, tasks.sync_step)[kind < 0.6].s(inputs)
        return plant.add(call, upstream)

    def _chain(self) -> Plant:
        plant = Plant(None)
        plant.root = self._step(plant)
        for _ in range(self._rng.randrange(2, 12)):
            plant.root = self._step(plant, plant.root)
        return plant

    def _chord(self) -> Plant:
        plant = Plant(None)
        members = [self._step(plant) for _ in range(self._rng.choice((1, 7, self._width)))]
        plant.root = plant.add(self._tasks.join.s(group(members).cast), members)
        return plant

    def _diamond(self) -> Plant:
        plant = Plant(None)
        width = max(2, self._width // 20)
        above = [self._step(plant) for _ in range(width)]
        below = [self._step(plant, *above) for _ in range(width)]
        plant.root = plant.add(self._tasks.join.s(group(below).cast), below)
        return plant

    def _settled(self) -> Plant:
        plant = Plant(None)
        bad = plant.add(self._tasks.broken.s([]))
        behind = self._step(plant, self._step(plant, bad))
        good = self._step(plant)
        some = [bad, behind, good]
        plant.root = plant.add(self._tasks.told.s([each.settled for each in some]), settled=some)
        return plant

    def _follow_ups(self) -> Plant:
        plant = Plant(None)
        tasks = self._tasks
        call = plant.add(tasks.broken.s([])) if self._rng.random() < 0.5 else self._step(plant)
        call.on_success(tasks.told).on_error(tasks.told)
        for condition, follow_up in call._follow_ups:
            upstream = {"cast" if condition == "s" else "settled": [call]}
            plant.add(follow_up, condition=condition, **upstream)
        plant.root = call
        return plant

    def _growing(self) -> Plant:
        plant = Plant(None, grows=True)
        first = self._step(plant)
        plant.root = plant.add(self._tasks.grow.s([first.cast], 2, 3), [first])
        return plant


def layered(tasks: Any, layers: int, width: int) -> Plant:
    """A graph in layers: each node takes two values of the layer above."""
    plant = Plant(None)
    above = [plant.add(tasks.step.s([])) for _ in range(width)]
    for _ in range(layers - 1):
        pairs = [(above[n], above[(n + 1) % width]) for n in range(width)]
        above = [plant.add(tasks.step.s([each.cast for each in pair]), pair) for pair in pairs]
    plant.root = plant.add(tasks.join.s([each.cast for each in above]), above)
    plant.id = plant.root.id
    return plant


def written(plant: Plant) -> str:
    """A graph as a line of text, for a process that sends it and is killed."""
    return json.dumps([plant.id, [[node.id, node.task, node.cast] for node in plant.nodes.values()]])


def read(path: Path) -> list[Plant]:
    """The graphs that a process has written down, with what it knew of each."""
    plants: dict[str, Plant] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        kind, _, rest = line.partition("\t")
        if kind == "graph":
            id, nodes = json.loads(rest)
            plants[id] = Plant(
                None, {node: _Node(node, task, cast) for node, task, cast in nodes}, id, None, "ambiguous"
            )
        elif kind == "accepted":
            plants[rest].verdict = "accepted"
    return list(plants.values())


# ---- the judge


def judge_graphs(
    report: Report, arena: Arena, plants: Sequence[Plant], history: dict[str, list[tuple[float, Outcome]]]
) -> None:
    """Early runs, wrong values, graphs that were accepted in part, nodes that ended otherwise than their upstream."""
    judge = _Judge(report, arena, history)
    for plant in plants:
        judge.judge(plant)
    report.facts["graphs"] = ", ".join(f"{count} {name}" for name, count in sorted(judge.counts.items()))


class _Judge:
    def __init__(self, report: Report, arena: Arena, history: dict[str, list[tuple[float, Outcome]]]) -> None:
        ledger = arena.ledger()
        self._report = report
        self._deaths = arena.deaths
        self._runs = ledger.by_job
        self._ends = {id: rows[-1][1] for id, rows in history.items() if rows}
        self._notes = {note["token"]: note["inputs"] for note in ledger.notes if "node" in note}
        self._tokens = {run.token: run for run in ledger.attempts.values()}
        self.counts: dict[str, int] = defaultdict(int)

    def judge(self, plant: Plant) -> None:
        self.counts[plant.verdict or "without an answer"] += 1
        ran = [id for id in plant.nodes if self._runs.get(id) or id in self._ends]
        if plant.verdict == "refused" or not ran:
            for id in ran:
                self._report.phantom.append(f"{id} is of the graph {plant.id}, which was refused")
            if plant.verdict == "accepted":
                self._report.lost.append(f"{plant.id} nothing of this graph has run")
            return
        for node in plant.nodes.values():
            fault = self._fault_of(plant, node)
            if fault:
                kind = self._report.lost if fault == "no outcome" else self._report.wrong
                kind.append(f"{node.id} {node.task} of graph {plant.id}: {fault}")

    def _fault_of(self, plant: Plant, node: _Node) -> str:
        runs, end = self._runs.get(node.id, []), self._ends.get(node.id)
        if node.condition:
            return self._fault_of_follow_up(node, runs, plant)
        if end is None:
            return "no outcome"
        if early := self._early(node, runs):
            return early
        if plant.cancelled and end.status is Status.CANCELLED:
            return ""
        bad = [id for id in node.cast if (its := self._ends.get(id)) is None or its.status is not Status.SUCCESS]
        if bad:
            name = end.error.type.rpartition(".")[2] if end.error is not None else str(end.status)
            if runs:
                return f"ran although {bad[0]} upstream had ended badly"
            return "" if name == "DependencyFailed" else f"ended with {name} although {bad[0]} upstream had ended badly"
        if node.task == "broken":
            return "" if end.status is Status.FAILED else f"ended as {end.status}"
        # A death with its whole host, or with a supervisor, is no strike: such a job may run once more.
        if end.status is Status.FAILED and sum(map(self._deaths.took, runs)) >= _DEATHS:
            return ""
        if end.status is not Status.SUCCESS and not plant.cancelled:
            return f"ended as {end.status} ({end.error.message if end.error else ''})"
        return self._wrong_values(node, runs)

    def _fault_of_follow_up(self, node: _Node, runs: Sequence[Attempt], plant: Plant) -> str:
        (above,) = node.cast or node.settled
        end = self._ends.get(above)
        if end is None or plant.cancelled:
            return ""
        wanted = (end.status is Status.SUCCESS) == (node.condition == "s") and end.status is not Status.CANCELLED
        if wanted and node.id not in self._ends:
            return "no outcome"
        if not wanted and (runs or node.id in self._ends):
            return f"ran although {above} ended as {end.status}"
        return ""

    def _early(self, node: _Node, runs: Sequence[Attempt]) -> str:
        for run in runs:
            for above in (*node.cast, *node.settled):
                ended = [each.end for each in self._runs.get(above, ()) if each.end is not None]
                if ended and min(ended) > run.start + _TOUCH:
                    return f"began {min(ended) - run.start:.3f} s before the first end of {above} upstream"
        return ""

    def _wrong_values(self, node: _Node, runs: Sequence[Attempt]) -> str:
        """Every value that a run was given has to be that of a run of the right job, the same one in all runs."""
        given = [self._notes[run.token] for run in runs if run.token in self._notes]
        if any(each != given[0] for each in given):
            return f"its runs were given different values: {given[:2]}"
        for inputs in given[:1]:
            tokens = [token for token in inputs if token != "!"]
            sources = [self._tokens[token].id if token in self._tokens else token for token in tokens]
            if len(inputs) != len(node.cast) + len(node.settled):
                return f"was given {len(inputs)} values, not {len(node.cast) + len(node.settled)}"
            if node.cast and not node.settled and sources != node.cast and not self._is_grown(node):
                return f"was given values of {sources[:3]}, not of {node.cast[:3]}"
        return ""

    def _is_grown(self, node: _Node) -> bool:
        return any(run.task.endswith(":grow") for above in node.cast for run in self._runs.get(above, ()))
