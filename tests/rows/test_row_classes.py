"""Which classes are row classes, what is refused with which fix, and what stands in the database."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, mapped_column

from aiotask import App, Depends
from aiotask.brokers.sql.one_statement import Claims
from aiotask.errors import ConfigError
from aiotask.sql import Row, RowData, RowJob, create_tables

from .driver import work


@pytest.fixture
def app(database_url: str) -> App:
    return App("shop", database=database_url)


@pytest.fixture
def plain() -> App:
    return App("shop", database="sqlite:////tmp/never-opened.db")


@pytest.fixture
def base() -> type[DeclarativeBase]:
    class Base(DeclarativeBase):
        pass

    return Base


def table(base: Any, name: str = "things", **more: Any) -> type[Any]:
    """A class that could be a row class, but for what is added."""
    body = {"__tablename__": name, "id": mapped_column(sa.Integer, primary_key=True), "run": lambda self: None}
    return type(f"Thing_{name}", (RowJob, base), {**body, **more})


# ---- refused


def test_a_class_that_is_not_mapped(plain):
    class Thing(RowJob):
        def run(self) -> None: ...

    with pytest.raises(ConfigError, match="not mapped"):
        plain.row(Thing)


def test_a_class_without_the_columns_of_a_job(plain, base):
    class Thing(base):
        __tablename__ = "things"
        id: Mapped[int] = mapped_column(primary_key=True)

        def run(self) -> None: ...

    with pytest.raises(ConfigError, match=r"RowJob, Base"):
        plain.row(Thing)


@pytest.mark.parametrize("name", ["status", "priority", "worker", "failures", "due_at"])
def test_a_column_of_the_users_with_a_name_of_aiotasks(plain, base, name):
    with pytest.raises(ConfigError, match=f"{name} clashes"):
        plain.row(table(base, **{name: mapped_column(sa.String(20))}))


def test_columns_named_run_and_error(plain, base):
    with pytest.raises(ConfigError, match="Rename"):
        plain.row(table(base, error=mapped_column("text_of_error", sa.Text)))
    with pytest.raises(ConfigError, match="Rename"):
        plain.row(table(base, "others", run=mapped_column("runs", sa.Integer)))


def test_a_composite_key(plain, base):
    with pytest.raises(ConfigError, match="UniqueConstraint"):
        plain.row(table(base, second=mapped_column(sa.Integer, primary_key=True)))


def test_a_key_of_another_type(plain, base):
    with pytest.raises(ConfigError, match="integer, text or a UUID"):
        plain.row(table(base, id=mapped_column(sa.DateTime, primary_key=True)))


def test_inheritance_over_several_tables(plain, base):
    class Parent(base):
        __tablename__ = "parents"
        id: Mapped[int] = mapped_column(primary_key=True)
        kind: Mapped[str]
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "parent"}  # noqa: RUF012

    class Child(RowJob, Parent):
        __tablename__ = "children"
        id: Mapped[int] = mapped_column(sa.ForeignKey("parents.id"), primary_key=True)
        __mapper_args__ = {"polymorphic_identity": "child"}  # noqa: RUF012

        def run(self) -> None: ...

    with pytest.raises(ConfigError, match="mixin"):
        plain.row(Child)


def test_a_class_without_run_and_a_run_that_cannot_be_called(plain, base):
    def with_arguments(self: Any, size: int) -> None: ...

    def with_a_provider(self: Any, session: Any = Depends(lambda: 1)) -> None: ...

    def generates(self: Any) -> Any:
        yield 1

    async def asynchronous(self: Any, exc: Exception) -> None: ...

    with pytest.raises(ConfigError, match="no method run"):
        plain.row(table(base, run=None))
    with pytest.raises(ConfigError, match="make them columns"):
        plain.row(table(base, "b", run=with_arguments))
    with pytest.raises(ConfigError, match="Depends"):
        plain.row(table(base, "c", run=with_a_provider))
    with pytest.raises(ConfigError, match="generator"):
        plain.row(table(base, "d", run=generates))
    with pytest.raises(ConfigError, match="plain method"):
        plain.row(table(base, "e", error=asynchronous))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"retrys": 3}, 'Did you mean "retries"'),
        ({"priority": 3}, "column priority"),
        ({"delay": 3}, "due_at"),
        ({"key": "x"}, "UNIQUE"),
        ({"limit": 3}, "rows have no option"),
        ({"cron": "* * * * *"}, "rows have no option"),
        ({"acks": "early"}, "rows have no option"),
        ({"retries": -1}, "out of range"),
        ({"retries": 1, "retry_on": ()}, "contradict"),
        ({"timeout": 0}, "no time"),
        ({"delete_when_done": "yes"}, "True or False"),
        ({"queue": "a b"}, "cannot name a queue"),
    ],
)
def test_options(plain, base, options, words):
    with pytest.raises(ConfigError, match=words):
        plain.row(**options)(table(base))
    assert plain.rows is None


def test_a_table_has_one_row_class(plain, base):
    first = table(base)
    plain.row(first)
    plain.row(first)

    class Another(DeclarativeBase):
        pass

    class Thing(RowJob, Another):
        __tablename__ = "things"
        id: Mapped[int] = mapped_column(primary_key=True)

        def run(self) -> None: ...

    with pytest.raises(ConfigError, match="one row class"):
        plain.row(Thing)


def test_without_sqlalchemy_the_error_names_what_to_install():
    code = (
        "import sys; sys.modules['sqlalchemy'] = None\n"
        "from aiotask import App, ConfigError\n"
        "app = App('shop', database='sqlite:////tmp/shop.db')\n"
        "for use in (app.session, lambda: app.row(int)):\n"
        "    try: use()\n"
        "    except ConfigError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.count("pip install 'aiotask[sql]'") == 2, done.stderr


# ---- what stands in the database


async def test_keys_may_be_integers_text_and_uuids(app, base):
    keys = {
        "ints": (sa.Integer, [1, 12]),
        "big": (sa.BigInteger, [2**60]),
        "texts": (sa.String(40), ["12e34", "000012", "a/b c", "ü"]),
        "uuids": (sa.Uuid, [uuid4()]),
        "uuid_texts": (sa.Uuid(as_uuid=False), [str(uuid4())]),
        "uuid_chars": (sa.Uuid(native_uuid=False), [uuid4()]),
    }
    models = {}
    for name, (type_, _) in keys.items():
        models[name] = app.row(table(base, name, id=mapped_column(type_, primary_key=True)))
    create_tables(app)
    with app.session() as session:
        session.add_all(models[name](id=key) for name, (_, values) in keys.items() for key in values)
    broker = app.rows.broker()
    for each in app.rows.tables:
        for key in keys[each.facts.name][1]:
            assert each.key_of(each.id_of(key)) == key
    await broker.close()
    await work(app)
    with app.session() as session:
        for name, (_, values) in keys.items():
            found = session.scalars(sa.select(models[name])).all()
            assert {(row.id, row.status) for row in found} == {(key, "SUCCESS") for key in values}


def test_an_id_that_is_none_finds_no_row(plain, base):
    plain.row(table(base))
    plain.row(table(base, "uuids", id=mapped_column(sa.Uuid, primary_key=True)))
    ints, uuids = plain.rows.tables
    assert [ints.key_of(f"things/{text}") for text in ("7", "07", "7.0", "x", "", str(2**64))] == [7, *[None] * 5]
    assert uuids.key_of("uuids/12e34") is None
    assert isinstance(uuids.key_of(f"uuids/{uuid4()}"), UUID)


async def test_hostile_names_of_tables_and_columns_are_names(app, base):
    name = 'thumb"; DROP TABLE x; -- %s (:keys) select'
    thing = table(base, name, column=mapped_column('quo"ted %(x)s', sa.Integer, default=0))
    app.row(thing)
    other = type(
        "Other",
        (RowJob, base),
        {
            "__tablename__": "Order",
            "run": lambda self: setattr(self, "n", 7),
            "id": mapped_column('se"lect', sa.Integer, primary_key=True),
            "n": mapped_column("count", sa.Integer, default=0),
        },
    )
    app.row(other)
    create_tables(app)
    with app.session() as session:
        session.add_all([thing(), other()])
    await work(app)
    with app.session() as session:
        assert session.scalars(sa.select(thing.status)).all() == ["SUCCESS"]
        assert session.execute(sa.select(other.status, other.n)).all() == [("SUCCESS", 7)]


def test_times_are_aware_and_in_utc(app, base):
    thing = app.row(table(base))
    create_tables(app)
    east = datetime(2030, 1, 1, 12, tzinfo=timezone(timedelta(hours=5)))
    with app.session() as session:
        session.add_all([thing(id=1, due_at=east), thing(id=2)])
        session.execute(sa.text("INSERT INTO things (id) VALUES (3)"))
    with app.session() as session:
        rows = session.scalars(sa.select(thing).order_by(thing.id)).all()
        assert rows[0].due_at == east
        assert all(moment.utcoffset() == timedelta(0) for row in rows for moment in (row.due_at, row.created_at))
        assert all(abs(datetime.now(UTC) - row.created_at) < timedelta(minutes=1) for row in rows)
        assert [row.status for row in rows] == ["SCHEDULED", "PENDING", "PENDING"]
    with pytest.raises(sa.exc.StatementError, match="no time zone"), app.session() as session:
        session.add(thing(id=4, due_at=datetime(2030, 1, 1)))


async def test_dataclasses_and_the_ready_base(app):
    class Base(MappedAsDataclass, DeclarativeBase):
        pass

    @app.row
    class Photo(RowData, Base):
        __tablename__ = "photos"
        id: Mapped[int] = mapped_column(primary_key=True, init=False)
        path: Mapped[str]
        width: Mapped[int] = mapped_column(default=0)

        def run(self) -> None:
            self.width = len(self.path)

    create_tables(app)
    with app.session() as session:
        session.add(Photo(path="abc", priority=2))
    await work(app)
    with app.session() as session:
        [row] = session.scalars(sa.select(Photo))
        assert (row.status, row.width, row.priority) == ("SUCCESS", 3, 2)


async def test_a_table_of_the_ready_base_is_made_at_first_use(sqlite_url):
    app = App("photos", database=sqlite_url)

    class Base(Row):
        __abstract__ = True
        metadata = sa.MetaData()

    @app.row
    class Photo(Base):
        __tablename__ = "photo"
        foo: Mapped[int]
        bar: Mapped[str]
        baz: Mapped[dict[str, Any]]

        def run(self) -> None:
            self.foo += 1
            self.baz["done"] = True

    with app.session() as session:
        session.add(Photo(foo=1, bar="test", baz={"foo": "bar"}))
    await work(app)
    with app.session() as session:
        found = sa.select(Photo).where(Photo.status == "SUCCESS", Photo.baz["foo"].as_string() == "bar")
        [row] = session.scalars(found)
        assert (row.foo, row.baz) == (2, {"foo": "bar", "done": True})
        assert isinstance(row.id, str)


def test_there_are_three_partial_indexes(app, base):
    app.row(table(base))
    create_tables(app)
    found = {index["name"]: index for index in sa.inspect(app.database.open().engine).get_indexes("things")}
    assert set(found) == {"ix_things_ready", "ix_things_later", "ix_things_running"}
    kind = app.database.open().engine.dialect.name
    assert all(f"{kind}_where" in index["dialect_options"] for index in found.values())


def test_a_claim_reads_the_partial_index(app, base):
    app.row(table(base))
    create_tables(app)
    [things] = app.rows.tables
    database = app.database.open()
    sql = str(things.ready.compile(database.engine, compile_kwargs={"literal_binds": False}))
    assert "'PENDING'" in sql
    if database.is_sqlite:
        with database.reading() as connection:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", (0, 10, 0)).all()
        assert "ix_things_ready" in str(plan)


def test_rows_that_are_due_later_are_not_read(base: Any, postgres_url: str) -> None:
    app = App("shop", database=postgres_url)
    app.row(table(base))
    create_tables(app)
    [things] = app.rows.tables
    with app.database.open().writing() as connection:
        later = "now() + interval '1 day' + g * interval '1 s' FROM generate_series(1, 20000) g"
        for status in ("PENDING", "SCHEDULED"):
            connection.exec_driver_sql(f"INSERT INTO things (status, due_at) SELECT '{status}', {later}")
        connection.exec_driver_sql("ANALYZE things")
        claims = Claims(things)
        for statement in (things.due, claims.ready, *claims.ready_parts):
            values = {"_me": "host.1", "_most": 10, "_priority": 5, "_since": datetime.now(UTC)}
            sql = statement.params(most=10, **values).compile(connection, compile_kwargs={"literal_binds": True})
            plan = "\n".join(connection.exec_driver_sql(f"EXPLAIN {sql}").scalars())
            assert "Seq Scan on things" not in plan, plan
            conditions = [line for line in plan.splitlines() if "Index Cond:" in line]
            assert any("due_at <= statement_timestamp()" in line for line in conditions), plan
