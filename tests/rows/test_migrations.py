"""What Alembic makes of a model that became a row class."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic.autogenerate import produce_migrations, render_python_code
from alembic.migration import MigrationContext
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from aiotask import App
from aiotask.sql import RowJob, create_tables, render_item


def model_of(app: App) -> type[DeclarativeBase]:
    class Base(DeclarativeBase):
        pass

    @app.row
    class Thumbnail(RowJob, Base):
        __tablename__ = "thumbnails"
        id: Mapped[int] = mapped_column(primary_key=True)
        path: Mapped[str]

        def run(self) -> None: ...

    return Base


def migration(engine: sa.Engine, metadata: sa.MetaData) -> str:
    """The code of the migration that Alembic would write."""
    options: dict[str, Any] = {
        "target_metadata": metadata,
        "render_item": render_item,
        "sqlalchemy_module_prefix": "sa.",
        "alembic_module_prefix": "op.",
        "user_module_prefix": None,
    }
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts=options)
        script = produce_migrations(context, metadata)
        assert script.upgrade_ops is not None
        return render_python_code(script.upgrade_ops, render_item=render_item, migration_context=context)


def test_a_table_gets_eleven_columns_and_three_indexes_and_loses_nothing(database_url: str) -> None:
    app = App("shop", database=database_url)
    base = model_of(app)
    engine = app.database.open().engine
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE thumbnails (id INTEGER PRIMARY KEY, path VARCHAR NOT NULL)"))
    code = migration(engine, base.metadata)
    assert code.count("add_column('thumbnails'") == 11
    assert code.count("create_index('ix_thumbnails_") == 3
    assert code.count("create_table(") == 3
    assert "drop_" not in code
    assert "aiotask.sql" not in code
    assert "aiotask.brokers" not in code
    assert "sa.DateTime(timezone=True)" in code
    assert "CURRENT_TIMESTAMP" in code


def test_nothing_is_left_to_migrate_once_the_tables_are_made(database_url: str) -> None:
    app = App("shop", database=database_url)
    base = model_of(app)
    create_tables(app)
    create_tables(app)
    code = migration(app.database.open().engine, base.metadata)
    assert code.strip().splitlines()[-1].strip() == "pass" or "op." not in code, code
