"""Alembic in an environment of its own, as ``docs/rows.md`` describes it: scripts are written, run and taken back."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from aiotask import App
from aiotask.sql import Row, RowJob, add_tables, create_tables

from .driver import work

_ENV = """
from alembic import context

import aiotask.sql

given = context.config.attributes
with given["engine"].connect() as connection:
    context.configure(
        connection=connection,
        target_metadata=given["metadata"],
        render_item=aiotask.sql.render_item,
        render_as_batch=True,
        compare_server_default=True,
    )
    with context.begin_transaction():
        context.run_migrations()
"""
_SCRIPT = '''"""${message}"""
from alembic import op
import sqlalchemy as sa
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
'''
_OWN = {"aiotask_hosts", "aiotask_outbox", "aiotask_workers"}
_COLUMNS = ["status", "created_at", "updated_at", "due_at", "priority", "attempt"]
_COLUMNS += ["deaths", "claims", "worker", "error", "failures"]


class Scripts:
    """A folder of migrations for the database of an app."""

    def __init__(self, place: Path, app: App, metadata: Any) -> None:
        (place / "versions").mkdir(parents=True)
        (place / "env.py").write_text(_ENV)
        (place / "script.py.mako").write_text(_SCRIPT)
        self.engine = app.database.open().engine
        self._place = place
        self._metadata = metadata
        self.config = Config()
        self.config.set_main_option("script_location", str(place))
        self.config.set_main_option("path_separator", "os")
        self.config.attributes.update(engine=self.engine, metadata=metadata)

    def write(self, message: str) -> str:
        """Let Alembic write a migration; its code."""
        command.revision(self.config, message, autogenerate=True)
        (script,) = (self._place / "versions").glob(f"*_{message}.py")
        return script.read_text()

    def left(self) -> list[Any]:
        """What the models and the database differ in."""
        with self.engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_server_default": True})
            return list(compare_metadata(context, self._metadata))

    def columns(self, table: str) -> dict[str, Any]:
        return {column["name"]: column for column in sa.inspect(self.engine).get_columns(table)}

    def indexes(self, table: str) -> dict[str | None, Any]:
        return {index["name"]: index for index in sa.inspect(self.engine).get_indexes(table)}

    def tables(self) -> set[str]:
        return set(sa.inspect(self.engine).get_table_names()) - {"alembic_version"}


@pytest.fixture
def app(database_url: str) -> App:
    return App("shop", database=database_url)


@pytest.fixture
def base() -> type[DeclarativeBase]:
    class Base(DeclarativeBase):
        pass

    return Base


def thumbnails(app: App, base: Any) -> Any:
    """A row class over a table that may have existed before."""

    @app.row
    class Thumbnail(RowJob, base):
        __tablename__ = "thumbnails"
        id: Mapped[int] = mapped_column(primary_key=True)
        path: Mapped[str]

        def run(self) -> None:
            self.path += "!"

    return Thumbnail


def with_old_rows(scripts: Scripts) -> None:
    """The table as it was before it became a queue, with an index and two rows."""
    with scripts.engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE thumbnails (id INTEGER PRIMARY KEY, path VARCHAR NOT NULL)")
        connection.exec_driver_sql("INSERT INTO thumbnails (id, path) VALUES (1, 'a'), (2, 'b')")


def test_a_script_adds_what_a_row_class_needs_and_names_types_of_sqlalchemy_alone(app, base, tmp_path):
    thumbnails(app, base)
    scripts = Scripts(tmp_path / "migrations", app, base.metadata)
    with_old_rows(scripts)
    code = scripts.write("rows")
    up, down = code.split("def downgrade")
    assert re.findall(r"add_column\(sa\.Column\('(\w+)'", up) == _COLUMNS
    assert re.findall(r"create_index\('ix_thumbnails_(\w+)'", up) == ["later", "ready", "running"]
    assert set(re.findall(r"create_table\('(\w+)'", up)) == _OWN
    assert "drop_" not in up
    assert "aiotask." not in code and "Utc" not in code
    # The clock of neither database stands in it, but the word that both know.
    assert "CURRENT_TIMESTAMP" in up and "strftime" not in up and "clock_timestamp" not in up
    assert set(re.findall(r"drop_column\('(\w+)'\)", down)) == set(_COLUMNS)


async def test_an_existing_table_becomes_a_queue_and_an_old_row_is_no_job(app, base, tmp_path):
    thumbnail = thumbnails(app, base)
    scripts = Scripts(tmp_path / "migrations", app, base.metadata)
    with_old_rows(scripts)
    scripts.write("rows")
    command.upgrade(scripts.config, "head")
    with app.session() as session:
        # All of them are jobs now, as the page says.
        assert session.scalars(sa.select(thumbnail.status)).all() == ["PENDING"] * 2
        session.execute(sa.text("UPDATE thumbnails SET status = 'SUCCESS'"))
        session.add(thumbnail(id=3, path="new"))
    await work(app)
    with app.session() as session:
        rows = session.scalars(sa.select(thumbnail).order_by(thumbnail.id)).all()
        assert [(row.path, row.status) for row in rows] == [("a", "SUCCESS"), ("b", "SUCCESS"), ("new!", "SUCCESS")]
        assert all(row.created_at.utcoffset().total_seconds() == 0 for row in rows)


def test_a_second_script_is_empty(app, base, tmp_path):
    thumbnails(app, base)
    scripts = Scripts(tmp_path / "migrations", app, base.metadata)
    with_old_rows(scripts)
    scripts.write("rows")
    command.upgrade(scripts.config, "head")
    assert scripts.left() == []
    assert re.findall(r"^    (pass|\S.*op\..*)$", scripts.write("nothing"), re.MULTILINE) == ["pass", "pass"]


def test_a_downgrade_takes_the_columns_and_tables_away_and_keeps_the_rows(app, base, tmp_path):
    thumbnails(app, base)
    scripts = Scripts(tmp_path / "migrations", app, base.metadata)
    with_old_rows(scripts)
    scripts.write("rows")
    command.upgrade(scripts.config, "head")
    assert set(scripts.columns("thumbnails")) == {"id", "path", *_COLUMNS}
    assert scripts.tables() == {"thumbnails", *_OWN}
    command.downgrade(scripts.config, "base")
    assert set(scripts.columns("thumbnails")) == {"id", "path"}
    assert scripts.indexes("thumbnails") == {}
    assert scripts.tables() == {"thumbnails"}
    with scripts.engine.connect() as connection:
        found = connection.exec_driver_sql("SELECT id, path FROM thumbnails ORDER BY id").all()
    assert found == [(1, "a"), (2, "b")]
    command.upgrade(scripts.config, "head")
    assert scripts.left() == []


def test_what_a_script_makes_is_what_create_tables_makes(app, base, tmp_path):
    thumbnails(app, base)
    scripts = Scripts(tmp_path / "migrations", app, base.metadata)
    scripts.write("all")
    command.upgrade(scripts.config, "head")
    found = _shape(scripts)
    command.downgrade(scripts.config, "base")
    create_tables(app)
    assert _shape(scripts) == found
    assert scripts.left() == []


def _shape(scripts: Scripts) -> dict[str, Any]:
    """The columns and partial indexes of all tables."""
    kind = scripts.engine.dialect.name
    shape: dict[str, Any] = {}
    for table in sorted(scripts.tables()):
        columns = [(c["name"], str(c["type"]), c["nullable"], c["default"]) for c in scripts.columns(table).values()]
        indexes = [
            (name, index["column_names"], str(index["dialect_options"].get(f"{kind}_where")))
            for name, index in sorted(scripts.indexes(table).items())
        ]
        shape[table] = columns, indexes
    return shape


def test_a_table_whose_tables_of_aiotask_are_in_the_database_loses_none_of_them(app, base, tmp_path):
    thumbnails(app, base)
    create_tables(app)
    scripts = Scripts(tmp_path / "migrations", app, base.metadata)
    assert "drop_" not in scripts.write("nothing")


@pytest.mark.filterwarnings("ignore:This declarative base already contains a class with the same class name")
def test_rows_of_two_metadata_and_others_that_are_no_rows_migrate_together(app, base, tmp_path):
    """Each of aiotask's own tables is in one of them: Alembic refuses two that hold the same table."""

    class Another(DeclarativeBase):
        pass

    class Ready(Row):
        __abstract__ = True
        metadata = sa.MetaData()

    class Plain(Another):
        __tablename__ = "plain"
        id: Mapped[int] = mapped_column(primary_key=True)

    @app.row
    class Photo(Ready):
        __tablename__ = "photos"
        path: Mapped[str]

        def run(self) -> None: ...

    thumbnails(app, base)
    metadata = [Ready.metadata, base.metadata, Another.metadata]
    scripts = Scripts(tmp_path / "migrations", app, metadata)
    code = scripts.write("all")
    assert len(re.findall(r"create_table\('aiotask_", code)) == 3
    command.upgrade(scripts.config, "head")
    assert scripts.tables() == {"photos", "plain", "thumbnails", *_OWN}
    assert scripts.left() == []
    command.downgrade(scripts.config, "base")
    create_tables(app)
    assert scripts.tables() == {"photos", "thumbnails", *_OWN}


def test_an_app_without_rows_gives_its_metadata_the_tables_of_aiotask(app, base, tmp_path):
    class Order(base):
        __tablename__ = "orders"
        id: Mapped[int] = mapped_column(primary_key=True)

    add_tables(base.metadata)
    scripts = Scripts(tmp_path / "migrations", app, base.metadata)
    scripts.write("all")
    command.upgrade(scripts.config, "head")
    assert scripts.tables() == {"orders", *_OWN}
    assert scripts.left() == []


def test_sqlite_takes_the_columns_in_batch_mode_alone(sqlite_url, base, tmp_path):
    app = App("shop", database=sqlite_url)
    thumbnails(app, base)
    scripts = Scripts(tmp_path / "migrations", app, base.metadata)
    env = tmp_path / "migrations" / "env.py"
    env.write_text(env.read_text().replace("render_as_batch=True", "render_as_batch=False"))
    with_old_rows(scripts)
    assert "batch_alter_table" not in scripts.write("rows")
    with pytest.raises(sa.exc.OperationalError, match="non-constant default"):
        command.upgrade(scripts.config, "head")
