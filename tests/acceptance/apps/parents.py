"""Parents and their children, each run of which is in the ledger; children of some wait at a gate."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from aiotask import App, current_job, gather

from ..ledger import entered

app = App(os.environ["TEST_APP"])
_LEDGER = Path(os.environ["TEST_LEDGER"])


def open_gate(name: str = "gate") -> None:
    """Let the children through that wait there."""
    (_LEDGER / name).touch()


@app.task
def child(n: int, gate: str = "gate") -> int:
    """A sync one: one at a time in a worker process."""
    with entered(f"child {n}"):
        while not (_LEDGER / gate).exists():
            time.sleep(0.01)
        return n * n


@app.task
async def achild(n: int, gate: str = "gate") -> int:
    with entered(f"child {n}"):
        while not (_LEDGER / gate).exists():
            await asyncio.sleep(0.01)
        return n * n


@app.task(retries=2)
async def parent(children: int) -> int:
    """The sum of squares."""
    with entered("parent"):
        return sum(await gather([child.apply_async(n) for n in range(children)]))


@app.task(retries=2)
async def grandparent(parents: int, children: int) -> int:
    with entered("grandparent"):
        return sum(
            await asyncio.gather(*(parent.options(timeout=600 + n).apply_async(children) for n in range(parents)))
        )


@app.task
async def at_the_first_gate(children: int) -> list[int]:
    """Half of them are through before the other half is sent. The run that it was comes last."""
    with entered("parent"):
        first = await gather([achild.apply_async(n, "first") for n in range(children)])
        second = await gather([achild.apply_async(n + children, "second") for n in range(children)])
        return [*first, *second, current_job().attempt]


@app.task
async def for_a_running_one() -> int:
    """Waits for one that runs already."""
    with entered("parent"):
        return await achild.apply_async(3)


@app.task
def ids_here_and_in_a_fork() -> list[str]:
    """Of equal calls: one that this process sends, and one that a process sends which it forks."""
    own = child.options(queue="nowhere").apply_async(1).id
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(write, child.options(queue="nowhere").apply_async(1).id.encode())
        os._exit(0)
    os.waitpid(pid, 0)
    return [own, os.read(read, 100).decode()]
