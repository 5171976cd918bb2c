"""Tasks that save checkpoints."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aiotask import App, Retry, current_job
from aiotask.context import JobContext

__all__ = ["Position", "note", "register_saving", "steps_of"]

STEPS = 10


@dataclasses.dataclass
class Position:
    step: int
    names: list[str]


def note(path: str, what: object) -> None:
    with Path(path, "steps").open("a") as file:
        file.write(f"{what}\n")


def steps_of(path: Path) -> list[str]:
    return (path / "steps").read_text().split() if (path / "steps").exists() else []


def step(job: JobContext, path: str, number: int, fails_at: int) -> None:
    """One step of a long job, which is noted; the first run fails behind one of them."""
    note(path, number)
    job.checkpoint({"step": number})
    if number == fails_at and job.attempt == 1:
        raise Retry(delay=0.01)


def first_step(job: JobContext, path: str) -> int:
    Path(path, "pid").write_text(str(os.getpid()))
    state = job.last_checkpoint(dict[str, int])
    note(path, "begin" if state is None else "again")
    return 1 if state is None else state["step"] + 1


def register_saving(app: App) -> None:
    @app.task(name="saves", retries=2)
    async def saves(path: str, fails_at: int = 0) -> str:
        job = current_job()
        for number in range(first_step(job, path), STEPS + 1):
            step(job, path, number, fails_at)
            await asyncio.sleep(0)
        return "done"

    @app.task(name="saves_sync", retries=2)
    def saves_sync(path: str, fails_at: int = 0) -> str:
        job = current_job()
        for number in range(first_step(job, path), STEPS + 1):
            step(job, path, number, fails_at)
        return "done"

    @app.task(name="saves_thread", retries=2)
    def saves_thread(path: str, fails_at: int = 0) -> str:
        job, failed = current_job(), list[BaseException]()

        def work() -> None:
            try:
                for number in range(first_step(job, path), STEPS + 1):
                    step(job, path, number, fails_at)
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        for error in failed:
            raise error
        return "done"

    _register_waiting(app)
    _register_others(app)


def _register_waiting(app: App) -> None:
    """Tasks that wait behind some steps for a file: meanwhile something happens to their worker."""

    @app.task(name="waits")
    async def waits(path: str, stops: Sequence[int] = (7,)) -> str:
        job = current_job()
        for number in range(first_step(job, path), STEPS + 1):
            step(job, path, number, 0)
            while number in stops and not Path(path, "on").exists():
                await asyncio.sleep(0.01)
        return "done"

    @app.task(name="waits_sync")
    def waits_sync(path: str) -> str:
        job = current_job()
        for number in range(first_step(job, path), STEPS + 1):
            step(job, path, number, 0)
            while number == 7 and not Path(path, "on").exists():
                time.sleep(0.01)
        return "done"

    @app.task(name="overdue", timeout=1.0, retries=1, backoff=lambda failures: 0.01)
    def overdue(path: str, runs: int) -> str:
        """In so many runs it does not end, whatever interrupts it: its process is killed at the time limit."""
        job = current_job()
        step(job, path, first_step(job, path), 0)
        until = time.monotonic() + (60 if job.attempt <= runs else 0)
        while time.monotonic() < until:
            try:
                time.sleep(60)
            except BaseException:
                continue
        return "done"


def _register_others(app: App) -> None:
    @app.task(name="saves_this")
    async def saves_this(kind: str) -> Any:
        job = current_job()
        job.checkpoint({"large": b"x" * 300_000, "lambda": lambda: None, "list": [1, 2], "none": None}[kind])
        return job.last_checkpoint()

    @app.task(name="saves_position", retries=1)
    async def saves_position() -> str:
        job = current_job()
        if job.attempt == 1:
            job.checkpoint(Position(3, ["a", "b"]))
            assert job.last_checkpoint(Position) == Position(3, ["a", "b"])
            raise Retry(delay=0.01)
        found = job.last_checkpoint(Position)
        assert isinstance(found, Position)
        return f"{found.step} {found.names}"

    @app.task(name="reads_other_type", retries=1)
    async def reads_other_type() -> None:
        job = current_job()
        if job.attempt == 1:
            job.checkpoint([1])
            raise Retry(delay=0.01)
        job.last_checkpoint(dict[str, int])

    @app.task(name="fails_for_good", retries=1, backoff=lambda failures: 0.01)
    async def fails_for_good(path: str) -> str:
        job = current_job()
        number = first_step(job, path)
        step(job, path, number, 0)
        if not Path(path, "on").exists():
            raise ValueError("not yet")
        return "done"

    @app.task(name="grows", retries=1)
    async def grows(path: str) -> Any:
        current_job().checkpoint("before")
        return saves_this.s("none")
