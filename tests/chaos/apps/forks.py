"""An app that does at import all that a fork does not survive: threads, an event loop, connections, files.

Only where ``CHAOS_FORKS`` is set: in the workers, not in the process of the trial.
"""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import threading
import time
from pathlib import Path

import redis

from ..app import app as app
from ..ledger import VARIABLE, attempt, jot

__all__ = ["DATABASE", "app", "sync_use", "use"]

#: In the directory above that of the ledger.
DATABASE = "forks.db"


class _Held:
    """What this module opens at import; each job uses all of it."""

    def __init__(self) -> None:
        # Nobody has seeded it here: the first number that this process draws.
        jot(forked=_birth(), drawn=random.random())
        self.beats = 0
        threading.Thread(target=self._beat, name="heart", daemon=True).start()
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, name="own-loop", daemon=True).start()
        self.client = redis.Redis.from_url(os.environ["CHAOS_URL"], protocol=2)
        self.client.ping()
        self.lock = threading.Lock()
        path = Path(os.environ[VARIABLE]).parent / DATABASE
        self.file = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=20.0)
        self.file.execute("PRAGMA synchronous = OFF")
        self.file.execute("PRAGMA journal_mode = WAL")
        self.file.execute("CREATE TABLE IF NOT EXISTS runs (token TEXT PRIMARY KEY, pid INT)")

    def _beat(self) -> None:
        while True:
            self.beats += 1
            time.sleep(0.05)

    async def _in_own_loop(self, token: str) -> str:
        await asyncio.sleep(0)
        return token

    def use(self, token: str) -> None:
        """AssertionError if anything of it is not this process's own."""
        # On a connection that another process reads too, sooner or later the reply is another one's.
        assert self.client.echo(token) == token.encode(), "the reply was to another command"
        found = asyncio.run_coroutine_threadsafe(self._in_own_loop(token), self.loop).result(20.0)
        assert found == token and self.beats > 0, "a thread of the app does not run"
        with self.lock:
            self.file.execute("INSERT INTO runs VALUES (?, ?)", (token, os.getpid()))


def _birth() -> float | None:
    """When this process was forked, on the monotonic clock, to some 10 ms; None where the system does not say."""
    try:
        with open("/proc/self/stat") as file:
            ticks = int(file.read().rpartition(")")[2].split()[19])
    except OSError:
        return None
    since_boot = time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()
    return ticks / os.sysconf("SC_CLK_TCK") - since_boot


_held = _Held() if os.environ.get("CHAOS_FORKS") else None


@app.task
def sync_use() -> str:
    with attempt() as token:
        assert _held is not None
        _held.use(token)
        return token


@app.task
async def use() -> str:
    with attempt() as token:
        assert _held is not None
        await asyncio.to_thread(_held.use, token)
        return token
