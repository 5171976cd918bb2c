"""Memory: supervisor, keeper and two idle workers; and what a pending job costs each kind of server."""

from __future__ import annotations

import asyncio
import contextlib
import os

import psutil

from .figure import Figure
from .fleet import fleet
from .plan import Plan
from .server import Server, kinds, private_server
from .tasks import Tasks

__all__ = ["measure"]

_PROCESSES = 2
#: Bytes of argument of a pending job, and how many are sent.
_ARGUMENT = 200
_PENDING = 20_000


def _size(process: psutil.Process) -> float:
    """Megabytes of memory: what is shared is divided among the sharers where the system says so (Linux)."""
    info = process.memory_full_info()
    return float(getattr(info, "pss", info.uss)) / 1e6


async def _idle_workers(plan: Plan) -> Figure:
    sizes = []
    for _ in plan.rounds():
        with fleet(plan.server, _PROCESSES) as workers:
            await asyncio.sleep(1.0)
            supervisor = psutil.Process(workers.pid)
            sizes.append(sum(_size(process) for process in (supervisor, *supervisor.children(recursive=True))))
    name = f"supervisor, keeper, {_PROCESSES} idle workers"
    return Figure("memory", name, "MB PSS" if psutil.LINUX else "MB", sizes, 60, more=False)


async def _pending_jobs(plan: Plan, server: Server) -> Figure:
    tasks = Tasks(server.url)
    sizes = []
    async with tasks.app:
        for _ in plan.rounds():
            server.clear()
            before = server.used_memory()
            for _ in range(_PENDING):
                tasks.async_bytes.apply_async(os.urandom(_ARGUMENT))
            await tasks.app.flush()
            sizes.append((server.used_memory() - before) / _PENDING - _ARGUMENT)
    server.clear()
    return Figure("memory", f"{server.kind}, pending job beside its payload", "bytes", sizes, 250, more=False)


async def measure(plan: Plan) -> list[Figure]:
    # A server that is given is the one that matters; else every kind that is here.
    servers = kinds() if plan.server.is_private else [None]
    plan.bar.expect((1 + len(servers)) * plan.reps)
    figures = [await _idle_workers(plan)]
    for kind in servers:
        with contextlib.nullcontext(plan.server) if kind is None else private_server("no", kind) as server:
            figures.append(await _pending_jobs(plan, server))
    return figures
