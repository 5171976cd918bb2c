"""``App.in_transaction`` as type checkers see it. Checked by mypy and pyright, never run.

A line with ``# type: ignore[code]`` must be an error of exactly this kind (``tests/test_types.py``).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, assert_type

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session, scoped_session

from aiotask import App, AsyncResult, NotSent
from aiotask.sql.transactions import Outbox, OutboxJob

app = App("shop", database="sqlite:///shop.db")


@app.task
def receipt(order: int) -> str:
    return str(order)


def sync(session: Session, sessions: scoped_session[Session], connection: sqlite3.Connection) -> None:
    with app.in_transaction(session) as outbox:
        assert_type(outbox, Outbox)
        assert_type(receipt.apply_async(1), AsyncResult[str])
        receipt.apply_async("one")  # type: ignore[arg-type]
    assert_type(outbox.jobs, Sequence[OutboxJob])
    assert_type(outbox.jobs[0].id, str)
    assert_type(outbox.jobs[0].args, tuple[Any, ...])
    assert_type(outbox.jobs[0].kwargs, Mapping[str, Any])
    with app.in_transaction(sessions), app.in_transaction(connection), app.in_transaction("default"):
        pass
    app.in_transaction()  # type: ignore[call-arg]


async def in_a_loop(session: AsyncSession) -> str:
    async with app.in_transaction(session) as outbox:
        assert_type(outbox, Outbox)
        result = receipt.apply_async(1)
    try:
        return await result
    except NotSent as error:
        return assert_type(error.job_id, str)
