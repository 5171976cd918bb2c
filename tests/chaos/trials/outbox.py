"""Clients, keepers and the server are killed while transactions send jobs: what commits runs, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from random import Random

import pytest
import sqlalchemy as sa

from aiotask.brokers.sql.database import Database

from ...postgres import PostgresServer, programs
from ..arena import Arena
from ..checker import examine
from ..hosts import Host
from ..producer import ANYTHING, Sent
from ..report import Report
from ..trial import Tier, trial

_CLIENT = "tests.chaos.apps.outbox_client"


@trial(
    22,
    summary="three clients send in transactions, a third of them rolled back, a third with savepoints; clients, "
    "keepers and the server are killed",
    passes=(
        "each job whose transaction and savepoint were committed runs, no other does",
        "none is sent twice, though batches were repeated",
        "the outbox is empty at the end",
    ),
    short={
        "transactions": 600,
        "clients": 3,
        "every": (0.5, 1.0),
        "blows": 8,
        "databases": ("sqlite",),
        "patience": 60,
    },
    full={
        "transactions": 10_000,
        "clients": 3,
        "every": (0.5, 1.5),
        "blows": 60,
        "databases": ("sqlite", "postgresql"),
        "patience": 120,
    },
    module="tests.chaos.apps.outbox",
    server=("--appendonly", "yes"),
    limits=(120.0, 1500.0),
)
async def outbox(arena: Arena, tier: Tier, rng: Random) -> Report:
    committed: dict[str, str] = {}
    producer = arena.producer()
    for kind in tier.databases:
        if kind == "postgresql" and programs() is None:
            continue
        with contextlib.ExitStack() as stack:
            url = await asyncio.to_thread(_database, arena, kind, stack)
            committed |= await _Scene(arena, tier, rng, kind, url).play()
    now = time.monotonic()
    for id, task in committed.items():
        producer.sent[id] = Sent(id, task, ANYTHING, False, now, "accepted", accepted_at=now, ended=True)
    # Clients of batches are remembered for a week.
    report = await examine(arena, settle=float(tier.patience), keys=(r"client:outbox\..*",))
    runs = set(arena.ledger().by_job)
    report.require(runs >= set(committed), f"{len(set(committed) - runs)} of {len(committed)} jobs never ran")
    report.require(runs <= set(committed), f"{len(runs - set(committed))} jobs of no commit ran")
    report.facts["transactions"] = f"{tier.transactions:,} on each of {', '.join(tier.databases)}"
    report.facts["jobs committed"] = f"{len(committed):,}"
    return report


def _database(arena: Arena, kind: str, stack: contextlib.ExitStack) -> str:
    """The URL of an empty database."""
    if kind == "sqlite":
        return f"sqlite:///{arena.directory / 'outbox.db'}"
    folder = programs()
    assert folder is not None
    server = PostgresServer(folder, "synchronous_commit=on")
    stack.callback(server.remove)
    server.start()
    return server.create()


class _Scene:
    """The trial over one database."""

    def __init__(self, arena: Arena, tier: Tier, rng: Random, kind: str, url: str) -> None:
        self.arena = arena
        self.tier = tier
        self.rng = rng
        self.kind = kind
        self.env = {"CHAOS_DATABASE": url}
        self.database = Database(url)
        self.progress = arena.directory / f"transactions-{kind}"
        self.clients: list[subprocess.Popen[bytes]] = []
        self._numbers = itertools.count(1)

    async def play(self) -> dict[str, str]:
        """The jobs that were committed, and their tasks."""
        # Before a client looks for them.
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("CHAOS_DATABASE", self.env["CHAOS_DATABASE"])
            module = self.arena.load()
        await asyncio.to_thread(module.metadata.create_all, self.database.engine)
        host = await self.arena.start_host(2, env=self.env)
        try:
            for _ in range(self.tier.clients):
                await self._start_client()
            await self._strike(host)
            await self._until(lambda: not self._working(), "the clients have ended")
            await self._until(lambda: self._count(module.tables.outbox) == 0, "the outbox is empty")
            with self.database.reading() as connection:
                found: dict[str, str] = {job: task for job, task in connection.execute(sa.select(module.promised))}
            await self._until(lambda: set(self.arena.ledger().by_job) >= set(found), "every job has run")
            return found
        finally:
            for client in self.clients:
                client.kill()
                client.wait()
            # Its keeper looks at a database that is gone afterwards.
            await asyncio.to_thread(host.supervisor.stop)
            host.killed = True
            self.database.dispose()

    async def _strike(self, host: Host) -> None:
        blows = 0
        while self._working() or blows < 3:
            blows += 1
            self.arena.tell(f"{self.kind}: {blows} blows", self._done(), self.tier.transactions)
            await asyncio.sleep(self.rng.uniform(*self.tier.every))
            if blows <= self.tier.blows:
                await self._blow(host, ("client", "keeper", "server")[blows % 3])

    async def _blow(self, host: Host, what: str) -> None:
        if what == "client":
            await self._kill_client()
        elif what == "keeper":
            host.kill_keeper()
        else:
            self.arena.fault("server")
            await asyncio.to_thread(self.arena.server.kill)
            await asyncio.sleep(self.rng.uniform(0.1, 0.5))
            await asyncio.to_thread(self.arena.server.start)

    async def _kill_client(self) -> None:
        working = self._working()
        if working:
            victim = self.rng.choice(working)
            victim.send_signal(signal.SIGKILL)
            await asyncio.to_thread(victim.wait)
            self.clients.remove(victim)
            self.arena.fault("client", [victim.pid])
            await self._start_client()

    async def _start_client(self) -> None:
        seed = f"{self.rng.random()} {next(self._numbers)}"
        client = await asyncio.to_thread(
            subprocess.Popen,
            [sys.executable, "-m", _CLIENT, str(self.progress), str(self.tier.transactions), seed],
            env={**os.environ, **self.arena.environment(), **self.env},
            stdin=subprocess.DEVNULL,
        )
        self.clients.append(client)

    def _working(self) -> list[subprocess.Popen[bytes]]:
        return [client for client in self.clients if client.poll() is None]

    def _done(self) -> int:
        return self.progress.stat().st_size if self.progress.exists() else 0

    def _count(self, table: sa.Table) -> int:
        with self.database.reading() as connection:
            return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())

    async def _until(self, there: Callable[[], bool], description: str) -> None:
        try:
            async with asyncio.timeout(self.tier.patience):
                while not await asyncio.to_thread(there):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"{self.kind}: waited {self.tier.patience} s in vain until {description}") from None
