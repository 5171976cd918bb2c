"""Graphs of every shape, while workers, keepers, supervisors, clients in the middle of a graph, and the server die."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from random import Random

from aiotask.errors import AiotaskError
from aiotask.job import Status

from ..arena import Arena
from ..checker import examine, forgive_the_unlucky
from ..faults.kills import keepers_die, supervisors_die, workers_die
from ..features import send_features
from ..garden import Garden, Plant, judge_graphs, read
from ..producer import ANYTHING, Producer, Sent
from ..report import Report
from ..residue import immortal_outcomes
from ..trial import Tier, trial

_ABOARD = 600
_TICK = 0.05


@trial(
    16,
    summary="chains, chords, diamonds, settled values, follow-ups and growing graphs, while workers, keepers and "
    "supervisors die, graphs are cancelled, clients are killed in the middle of graphs of thousands of nodes, and the "
    "server is killed (append-only file: always)",
    passes=(
        "clean: each node of an accepted graph ends once, none of a graph that was not accepted runs",
        "no run begins before an end of every node upstream, and each is given their values",
        "nothing is left in nodes and agenda",
    ),
    short={
        "graphs": 60,
        "seconds": 6.0,
        "width": 20,
        "workers": (0.4, 0.9),
        "keepers": (1.5, 2.5),
        "supervisors": (2.0, 3.0),
        "clients": (),
        "server": 0,
        "patience": 40.0,
    },
    full={
        "graphs": 1_200,
        "seconds": 120.0,
        "width": 200,
        "workers": (0.3, 1.2),
        "keepers": (8.0, 15.0),
        "supervisors": (12.0, 16.0),
        "clients": (0.3, 1.5),
        "server": 3,
        "patience": 180.0,
    },
    module="tests.chaos.apps.graphs",
    server=("--appendonly", "yes", "--appendfsync", "always"),
    limits=(120.0, 600.0),
)
async def graphs(arena: Arena, tier: Tier, rng: Random) -> Report:
    await asyncio.gather(arena.start_host(2), arena.start_host(2))
    producer = arena.producer()
    garden = Garden(producer, arena.tasks, rng, width=tier.width)
    until = time.monotonic() + tier.seconds
    plans = arena.directory / "plans.log"
    await asyncio.gather(
        _plant(arena, producer, garden, tier, rng),
        workers_die(arena, rng, tier.workers, until),
        keepers_die(arena, rng, tier.keepers, until),
        supervisors_die(arena, rng, tier.supervisors, until, workers=2, kinds=("service", "supervisor", "host")),
        _clients_die(arena, rng, tier, plans, until),
        _server_dies(arena, rng, tier),
    )
    arena.tell("waiting for the last graphs")
    await producer.done(tier.patience)
    others = read(plans)
    _know(producer, others)
    report = await examine(arena, settle=tier.patience, keeps_values=True)
    forgive_the_unlucky(arena, report)
    plants = [*garden.plants, *others]
    ids = {plant.id for plant in plants}
    grown = {note["node"] for note in arena.ledger().notes if note.get("graph") in ids}
    grown |= {id for id, rows in report.history.items() if rows and rows[-1][1].graph in ids}
    follow_ups = {node.id for plant in plants for node in plant.nodes.values() if node.condition}
    judge_graphs(report, arena, plants, report.history)
    _judge_kept_values(arena, report)
    report.forgive("phantom", "a job of a graph that grew, or a follow-up", grown | follow_ups)
    return report


def _judge_kept_values(arena: Arena, report: Report) -> None:
    """Values of a graph in which something did not end well live as long as the graph, for a replay; no others do."""
    outcomes = [rows[-1][1] for rows in report.history.values() if rows]
    bad = {outcome.graph for outcome in outcomes if outcome.graph and outcome.status is not Status.SUCCESS}
    may_stay = {outcome.id for outcome in outcomes if outcome.graph in bad}
    stay = immortal_outcomes(arena)
    report.facts["values that a replay of their graph would read"] = len(stay & may_stay)
    report.residue += [f"key: r:{id} lives for ever" for id in sorted(stay - may_stay)]


async def _plant(arena: Arena, producer: Producer, garden: Garden, tier: Tier, rng: Random) -> None:
    """So many graphs, evenly, beside plain jobs; one in fifteen is cancelled soon."""
    began = time.monotonic()
    cancels = set[asyncio.Task[None]]()
    while len(garden.plants) < tier.graphs:
        due = min(tier.graphs, int((time.monotonic() - began) / tier.seconds * tier.graphs) + 1)
        while len(garden.plants) < due:
            plant = await garden.plant()
            if rng.random() < 1 / 15:
                cancels.add(asyncio.ensure_future(_cancel(plant, rng.uniform(0.0, 0.3))))
        producer.send(arena.tasks.noop)
        producer.send(arena.tasks.sync_noop)
        send_features(producer, arena.tasks, rng)
        arena.tell(f"{len(arena.faults):,} faults, {len(garden.plants):,} graphs", len(garden.plants), tier.graphs)
        await producer.pace(_ABOARD)
        await asyncio.sleep(_TICK)
    await asyncio.gather(*cancels)


async def _cancel(plant: Plant, after: float) -> None:
    await asyncio.sleep(after)
    plant.cancelled = True
    with contextlib.suppress(AiotaskError):
        assert plant.result is not None
        await plant.result.cancel()


async def _clients_die(arena: Arena, rng: Random, tier: Tier, plans: object, until: float) -> None:
    """A client that sends graphs of 2,000 nodes is killed at any moment, and another one begins."""
    while tier.clients and time.monotonic() < until:
        process = await asyncio.to_thread(
            subprocess.Popen,
            [sys.executable, "-m", "tests.chaos.apps.graph_client", str(plans)],
            env={**os.environ, **arena.environment()},
            stdin=subprocess.DEVNULL,
        )
        await asyncio.sleep(1.0 + rng.uniform(*tier.clients))
        process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(process.wait)
        arena.fault("client", [process.pid])


async def _server_dies(arena: Arena, rng: Random, tier: Tier) -> None:
    for _ in range(tier.server):
        await asyncio.sleep(rng.uniform(0.6, 1.0) * tier.seconds / (tier.server + 1))
        arena.fault("server")
        await asyncio.to_thread(arena.server.kill)
        await asyncio.sleep(rng.uniform(0.1, 0.5))
        await asyncio.to_thread(arena.server.start)


def _know(producer: Producer, plants: list[Plant]) -> None:
    """The jobs of graphs that other processes have sent are no phantoms."""
    for plant in plants:
        for node in plant.nodes.values():
            producer.sent[node.id] = Sent(node.id, node.task, ANYTHING, False, 0.0, "ambiguous", ended=True)
