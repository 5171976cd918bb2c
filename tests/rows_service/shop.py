"""The row classes and tasks of these tests, made for one app: by the process of the test, and by workers."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import async_object_session
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, object_session

from aiotask import App
from aiotask.sql import RowJob

__all__ = ["Shop", "run_of"]


def jot(folder: Path, *words: object) -> None:
    """Append a line to the file of this process; one write is one line."""
    fd = os.open(folder / f"{os.getpid()}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(fd, (" ".join(map(str, words)) + "\n").encode())
    finally:
        os.close(fd)


def wait_for(path: Path) -> None:
    """Return once the file is there, as a job that takes its time."""
    deadline = time.monotonic() + 60
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.01)


class Shop:
    """An app with a table of sync rows, one of async rows and one with a time limit, and with tasks if asked for.

    What a row does is in its column ``work``: a word, and after a space its argument.

    Args:
        folder: where processes write down each run.
    """

    def __init__(self, name: str, database: str, folder: Path, url: str | None = None, *, tasks: bool = False) -> None:
        self.app = app = App(name, url=url, database=database)
        self.folder = folder

        class Base(DeclarativeBase):
            pass

        class Columns(RowJob):
            id: Mapped[int] = mapped_column(primary_key=True)
            work: Mapped[str] = mapped_column(default="ok")
            value: Mapped[int] = mapped_column(default=0, server_default="0")

        @app.row(name="shop:Plain", retries=1, backoff=lambda failed: 0.01)
        class Plain(Columns, Base):
            __tablename__ = "plain"

            def run(self) -> None:
                jot(folder, "plain", self.id, self.attempt)
                self.value += 1
                run_of(self, folder)

            def error(self, exc: Exception) -> None:
                jot(folder, "error", self.id, type(exc).__name__)

        if not (folder / "third release").exists():

            @app.row(name="shop:Async")
            class Async(Columns, Base):
                __tablename__ = "async_rows"

                async def run(self) -> None:
                    jot(folder, "async", self.id, self.attempt)
                    self.value += 1
                    await arun_of(self, folder)

            self.Async = Async

        @app.row(name="shop:Limited", timeout=0.5)
        class Limited(Columns, Base):
            __tablename__ = "limited"

            def run(self) -> None:
                jot(folder, "limited", self.id, self.attempt)
                run_of(self, folder)

        # A process of tests may hold several of these apps.
        Plain.app = app  # type: ignore[attr-defined]
        self.Base, self.Plain, self.Limited = Base, Plain, Limited
        if (folder / "second release").exists():

            @app.row(name="shop:Added")
            class Added(Columns, Base):
                __tablename__ = "added"

                def run(self) -> None:
                    jot(folder, "added", self.id, self.attempt)

            self.Added = Added
        if tasks:

            @app.task(name="shop:insert")
            def insert(count: int) -> None:
                with app.session() as session:
                    session.add_all(Plain(work="send") for _ in range(count))

            @app.task(name="shop:note")
            def note(n: int) -> int:
                jot(folder, "task", n, 1)
                return n

            self.insert, self.note = insert, note


def run_of(row: Any, folder: Path) -> None:
    word, _, argument = row.work.partition(" ")
    match word:
        case "fail":
            raise ValueError("no")
        case "sleep":
            time.sleep(float(argument))
        case "wait":
            wait_for(folder / argument)
        case "stubborn":
            while True:
                try:
                    time.sleep(60)
                except BaseException as error:
                    print(f"stubborn: {type(error).__name__}", flush=True)
        case "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        case "more":
            session = object_session(row)
            assert session is not None
            session.add(type(row)(work=argument))
        case "send":
            row.app.s("shop:note", row.id).apply_async()
        case "fork":
            session = object_session(row)
            assert session is not None
            session.add(type(row)())
            session.flush()
            fork(argument)


def fork(how: str) -> None:
    """Wait for a process that is forked here, and that ends in this way."""
    if how == "by multiprocessing":
        process = multiprocessing.get_context("fork").Process(target=os.getpid)
        process.start()
        process.join()
    elif pid := os.fork():
        os.waitpid(pid, 0)
    elif how == "exits":
        sys.exit()
    elif how == "raises":
        raise ValueError("in the fork")
    elif how == "leaves":
        os._exit(0)


async def arun_of(row: Any, folder: Path) -> None:
    word, _, argument = row.work.partition(" ")
    match word:
        case "wait":
            while not (folder / argument).exists():
                await asyncio.sleep(0.01)
        case "more":
            session = async_object_session(row)
            assert session is not None
            session.add(type(row)(work=argument))
        case "fail":
            raise ValueError("no")
