"""Rows with values that their class cannot read: they fail, and stop no other row."""

from __future__ import annotations

import enum
import logging

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from aiotask import App
from aiotask.sql import RowJob, create_tables

from .driver import work
from .test_running import app as app
from .test_running import base as base


class Color(enum.Enum):
    red = 1


async def test_a_row_that_its_class_cannot_read_fails_alone(
    app: App, base: type[DeclarativeBase], caplog: pytest.LogCaptureFixture
) -> None:
    @app.row
    class Car(RowJob, base):
        __tablename__ = "cars"
        id: Mapped[int] = mapped_column(primary_key=True)
        color: Mapped[Color] = mapped_column(sa.Enum(Color, native_enum=False, length=10))

        def run(self) -> None: ...

    create_tables(app)
    with app.session() as session:
        session.execute(sa.text("INSERT INTO cars (id, color) VALUES (1, 'red'), (2, 'blue'), (3, 'red')"))
        session.execute(sa.text("INSERT INTO cars (id, color, deaths) VALUES (4, 'green', 1), (5, 'red', 1)"))
    with caplog.at_level(logging.ERROR, "aiotask.worker"):
        await work(app)
    with app.session() as session:
        rows = session.execute(sa.text("SELECT id, status, error FROM cars ORDER BY id")).all()
    assert [row.status for row in rows] == ["SUCCESS", "FAILED", "SUCCESS", "FAILED", "SUCCESS"]
    assert "LookupError: 'blue'" in rows[1].error
    assert "Row cars/2 is FAILED" in caplog.text


async def test_a_moment_that_python_does_not_know(postgres_url: str, base: type[DeclarativeBase]) -> None:
    app = App("shop", database=postgres_url)

    @app.row
    class Car(RowJob, base):
        __tablename__ = "cars"
        id: Mapped[int] = mapped_column(primary_key=True)

        def run(self) -> None: ...

    create_tables(app)
    with app.session() as session:
        session.execute(sa.text("INSERT INTO cars (id, created_at) VALUES (1, now()), (2, '20000-01-01'), (3, now())"))
    await work(app)
    with app.session() as session:
        rows = session.execute(sa.text("SELECT status FROM cars ORDER BY id")).scalars().all()
    assert rows == ["SUCCESS", "FAILED", "SUCCESS"]
