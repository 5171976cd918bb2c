"""A process that sends jobs in transactions until so many were done: ``… PROGRESS COUNT SEED``.

Each transaction that has ended is one byte in the file PROGRESS, which all clients share. A third is rolled back, a
third has savepoints, of which some are rolled back.
"""

from __future__ import annotations

import os
import sys
from random import Random

import sqlalchemy as sa
from sqlalchemy.orm import Session

from .outbox import app, noop, promised, sync_noop


class _Undone(Exception):
    """Rolls a savepoint back."""


def promise(session: Session, rng: Random) -> None:
    """Send a job, and write down that it is to run."""
    result = rng.choice((noop, sync_noop)).apply_async()
    session.execute(sa.insert(promised).values(job=result.id, task=result.task))


def with_savepoints(session: Session, rng: Random) -> None:
    promise(session, rng)
    for _ in range(rng.randrange(1, 4)):
        try:
            with session.begin_nested():
                promise(session, rng)
                if rng.random() < 0.5:
                    session.flush()
                if rng.random() < 0.5:
                    raise _Undone
        except _Undone:
            pass


def transact(engine: sa.Engine, rng: Random) -> None:
    """One transaction: committed, rolled back, or with savepoints."""
    with Session(engine) as session:
        # The write lock of SQLite first: one that has read before would be refused.
        session.execute(sa.delete(promised).where(promised.c.job == ""))
        with app.in_transaction(session):
            kind = rng.randrange(3)
            if kind == 2:
                with_savepoints(session, rng)
            else:
                for _ in range(rng.randrange(1, 4)):
                    promise(session, rng)
        if kind == 1:
            session.rollback()
        else:
            session.commit()


def main(path: str, count: int, seed: str) -> None:
    progress = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    engine, rng = app.database.open().engine, Random(seed)
    while os.fstat(progress).st_size < count:
        transact(engine, rng)
        os.write(progress, b".")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
    # The jobs are the relay's: nothing is to be sent at the end.
    os._exit(0)
