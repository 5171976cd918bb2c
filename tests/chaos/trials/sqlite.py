"""The history's file and its writer are hurt in every way; the queue must not notice, and no row may be missing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from ..arena import Arena
from ..checker import examine
from ..faults.disk import Disk
from ..features import send_features
from ..hosts import Host
from ..producer import Producer
from ..report import Report
from ..trial import Tier, trial

#: Seconds after which, the cause being gone, what has ended is in the file.
_CATCH_UP = 5.0
#: Part of the turns that send jobs of each feature, about a dozen: as many as a turn sends of plain ones.
_FEATURED = 0.2
#: Part of the jobs sent during a fault that ends during it.
_LIVELY = 0.5


@trial(
    12,
    summary="SIGKILL to the keeper while it writes the history, then the file locked, its disk full and read-only, the "
    "file replaced and its header overwritten, while jobs stream in",
    passes=(
        "integrity_check is ok, every job has its row",
        "recording catches up within 5 s after the cause is gone",
        "the queue never stops",
    ),
    short={"kills": 6, "locked": 1.0, "hold": 1.0, "rate": 200, "megabytes": 8},
    full={"kills": 200, "locked": 30.0, "hold": 10.0, "rate": 200, "megabytes": 128},
    limits=(60.0, 600.0),
)
async def sqlite(arena: Arena, tier: Tier, rng: Random) -> Report:
    disk = Disk(arena.directory / "disk", tier.megabytes)
    try:
        return await _Trial(arena, tier, rng, disk).run()
    finally:
        disk.remove()


class _Trial:
    def __init__(self, arena: Arena, tier: Tier, rng: Random, disk: Disk) -> None:
        self.arena, self.tier, self.rng, self.disk = arena, tier, rng, disk
        self.path = disk.directory / "results.db"
        self.moved = arena.directory / "moved.db"
        self.producer: Producer = arena.producer()
        self.failures: list[str] = []
        self.facts: dict[str, Any] = {}

    async def run(self) -> Report:
        host = await self.arena.start_host(2, "--result-db", str(self.path))
        streaming = asyncio.create_task(self._stream())
        try:
            await self._until(lambda: self._missing(10) == 0, 20.0)
            await self._kill_keepers(host)
            await self._locked()
            if self.disk.limited:
                with self.disk.full():
                    await self._hold("full disk")
                await self._caught_up("full disk")
                await self._read_only()
            else:
                self.facts["disk"] = "full and read-only were not tried: nothing may be mounted here"
            await self._replaced()
            await self._overwritten()
        finally:
            streaming.cancel()
        await self.producer.done(20.0)
        await self._until(lambda: self._missing(0) == 0, 20.0)
        self._check_files()
        report = await examine(self.arena)
        report.require(not (missing := self._missing(0)), f"{missing} jobs have no row in the history")
        report.failures += self.failures
        report.facts |= self.facts
        return report

    async def _stream(self) -> None:
        tasks, began, count = self.arena.tasks, time.monotonic(), 0
        while True:
            while count < (time.monotonic() - began) * self.tier.rate:
                count += 1
                self.producer.send(tasks.noop if self.rng.random() < 0.7 else tasks.sync_noop)
            if self.rng.random() < _FEATURED:
                send_features(self.producer, tasks, self.rng)
            self.arena.tell(f"{len(self.arena.faults)} faults, {count:,} jobs")
            await self.producer.pace(5_000)
            await asyncio.sleep(0.05)

    # ---- the faults

    async def _kill_keepers(self, host: Host) -> None:
        for _ in range(self.tier.kills):
            # Enough time for some transactions, and an end in the middle of one.
            await asyncio.sleep(self.rng.uniform(0.05, 0.4))
            with contextlib.suppress(TimeoutError):
                await self._until(lambda: host.keeper() is not None, 5.0)
                host.kill_keeper()
        await self._caught_up("kills of the keeper")

    async def _locked(self) -> None:
        with contextlib.closing(sqlite3.connect(self.path, isolation_level=None, timeout=10.0)) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            await self._hold("locked file", self.tier.locked)
            connection.execute("COMMIT")
        await self._caught_up("locked file")

    async def _read_only(self) -> None:
        try:
            with self.disk.read_only():
                await self._hold("read-only disk")
        except OSError:
            # The recorder has the file open for writing, so the kernel refuses; an immutable file does as well.
            if not await self._immutable():
                self.facts["read-only"] = "not tried: the kernel refuses it while the file is open"
                return
        await self._caught_up("read-only disk")

    async def _immutable(self) -> bool:
        mark = ["chattr", "+i", str(self.path)]
        process = await asyncio.create_subprocess_exec(*mark, stderr=asyncio.subprocess.DEVNULL)
        if await process.wait():
            return False
        try:
            await self._hold("read-only file")
        finally:
            process = await asyncio.create_subprocess_exec("chattr", "-i", str(self.path))
            await process.wait()
        return True

    async def _replaced(self) -> None:
        self.arena.fault("replaced file")
        # To another file system it is a copy; so nothing of the old one is lost, its log is written back first.
        inside = self.disk.directory / "moved.db"
        for tail in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.rename(f"{self.path}{tail}", f"{inside}{tail}")
        self.moved = inside
        await self._until(lambda: bool(_ids(self.path)), 20.0)
        await self._caught_up("replaced file")

    async def _overwritten(self) -> None:
        with self.path.open("r+b") as file:
            magic = file.read(16)
            file.seek(0)
            file.write(b"nothing of note\0")
            file.flush()
            await self._hold("overwritten header")
            file.seek(0)
            file.write(magic)
        await self._caught_up("overwritten header")

    # ---- what has to hold meanwhile

    async def _hold(self, kind: str, seconds: float = 0.0) -> None:
        """While the fault lasts, jobs end as they are sent."""
        self.arena.fault(kind)
        sent, ended = len(self.producer.sent), self._ended()
        await asyncio.sleep(seconds or self.tier.hold)
        sent, ended = len(self.producer.sent) - sent, self._ended() - ended
        if ended < _LIVELY * sent:
            self.failures.append(f"{kind}: of {sent} jobs that were sent during it only {ended} ended")

    def _ended(self) -> int:
        return sum(job.ended for job in self.producer.sent.values())

    async def _caught_up(self, kind: str) -> None:
        """The cause is gone: what has ended by now gets its row."""
        began = time.monotonic()
        due = {job.job for job in self.producer.sent.values() if job.ended}
        try:
            await self._until(lambda: not due - self._rows(), 30.0)
        except TimeoutError:
            self.failures.append(f"{kind}: {len(due - self._rows())} of {len(due)} jobs had no row after 30 s")
        took = time.monotonic() - began
        self.facts[f"caught up after {kind}"] = f"{took:.2f} s"
        if took > _CATCH_UP:
            self.failures.append(f"{kind}: recording caught up after {took:.2f} s, not {_CATCH_UP:g} s")

    async def _until(self, there: Callable[[], bool], timeout: float) -> None:
        async with asyncio.timeout(timeout):
            while not await asyncio.to_thread(there):
                await asyncio.sleep(0.05)

    # ---- what is written

    def _missing(self, at_most: int) -> int:
        """Jobs that have ended and have no row; 1 when fewer than so many have ended."""
        ended = {job.job for job in self.producer.sent.values() if job.ended and job.verdict == "accepted"}
        return len(ended - self._rows()) if len(ended) >= at_most else 1

    def _rows(self) -> set[str]:
        found: set[str] = set()
        for path in (self.path, self.moved):
            found |= _ids(path)
        return found

    def _check_files(self) -> None:
        for path in (self.path, self.moved):
            if path.exists():
                with contextlib.closing(_opened(path)) as connection:
                    said = [text for (text,) in connection.execute("PRAGMA integrity_check")]
                if said != ["ok"]:
                    self.failures.append(f"integrity_check of {path.name}: {said[:3]}")


def _ids(path: Path) -> set[str]:
    """The jobs that have a row there; none while it cannot be read."""
    if path.exists():
        with contextlib.suppress(sqlite3.Error), contextlib.closing(_opened(path)) as connection:
            return {id for (id,) in connection.execute("SELECT id FROM jobs")}
    return set()


def _opened(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=1.0, isolation_level=None)
