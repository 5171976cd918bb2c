"""An app that has rows and no task, whose jobs another service runs; settings come from the environment."""

from __future__ import annotations

import os

from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, object_session

from aiotask import App
from aiotask.sql import RowJob

app = App(os.environ["TEST_APP"], secret="x" * 40, database=os.environ["TEST_DATABASE"])


class Base(DeclarativeBase):
    pass


@app.row
class Parcel(RowJob, Base):
    __tablename__ = "parcels"
    id: Mapped[int] = mapped_column(primary_key=True)

    def run(self) -> None:
        """Send a job of the other service in the transaction that saves this row."""
        with app.in_transaction(object_session(self)):
            app.named("elsewhere:receipt").options(id=f"receipt-{self.id}").apply_async(self.id)
