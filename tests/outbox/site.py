"""The app of ``test_service.py``, as worker processes and clients import it: settings come from the environment."""

from __future__ import annotations

import os
from pathlib import Path

import sqlalchemy as sa

from aiotask import App, current_job
from aiotask.brokers.sql.tables import add_tables

app = App(os.environ["TEST_APP"], secret="x" * 40, database=os.environ["TEST_DATABASE"])
LEDGER = Path(os.environ["TEST_LEDGER"])

metadata = sa.MetaData()
tables = add_tables(metadata)
orders = sa.Table("orders", metadata, sa.Column("id", sa.Integer, primary_key=True))


@app.task
def receipt(order: int) -> str:
    """Write down that it has run, and whether it has seen its order."""
    with app.session() as session:
        seen = session.execute(sa.select(orders.c.id).where(orders.c.id == order)).scalar()
    with LEDGER.open("a") as file:
        file.write(f"{order} {seen} {current_job().id}\n")
    return f"receipt of {seen}"


@app.task
def outer(order: int) -> None:
    """A job that sends another one in its own transaction."""
    with app.session() as session, app.in_transaction(session):
        session.execute(sa.insert(orders).values(id=order))
        receipt.apply_async(order)
