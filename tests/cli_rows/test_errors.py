"""Errors of commands about a database are one line with the cause and the next step."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from aiotask.errors import BrokerError, ConfigError
from aiotask.sql import create_tables

from ..rows_service.shop import Shop
from ..rows_service.stage import RowStage
from .asking import Asking, checks


def test_a_url_of_another_kind_of_database_is_refused() -> None:
    error = Asking("mysql://db/shop").error("queues")

    assert isinstance(error, ConfigError) and "rows need SQLite or PostgreSQL" in str(error)


def test_a_file_that_does_not_exist_is_refused_and_not_made(tmp_path: Path) -> None:
    file = tmp_path / "shop.db"

    for command in (["queues"], ["jobs"], ["cancel", "a/1"], ["dead", "list"], ["sql", "--check"]):
        error = Asking(f"sqlite:///{file}").error(*command)
        assert isinstance(error, ConfigError) and f'"{file}"' in str(error) and "create_tables" in str(error)
    assert checks(Asking(f"sqlite:///{file}"), code=1)["database"]["state"] == "fail"
    assert not file.exists()


def test_a_database_without_tables_names_the_command_that_prints_them(tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()

    error = Asking(f"sqlite:///{tmp_path}/empty.db").error("queues")

    assert isinstance(error, BrokerError) and "lacks the table aiotask_workers" in str(error)
    assert "aiotask sql" in str(error)


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    file = tmp_path / "text.db"
    file.write_text("no database, but a text that is long enough to be taken for one" * 100)

    error = Asking(f"sqlite:///{file}").error("queues")

    assert isinstance(error, BrokerError) and "not a database" in str(error)


def test_a_server_that_does_not_answer_is_told_of_without_its_password(tmp_path: Path) -> None:
    asking = Asking(f"postgresql://shop:hunter2@/shop?host={tmp_path}")

    error = asking.error("queues")
    assert isinstance(error, BrokerError) and "does not answer" in str(error) and "hunter2" not in str(error)
    found = checks(asking, code=1)["database"]
    assert found["state"] == "fail" and "AIOTASK_DATABASE" in found["fix"] and "hunter2" not in str(found)


def test_a_database_that_its_server_does_not_have_is_told_apart_from_a_server_that_is_silent(postgres_url: str) -> None:
    url = sa.make_url(postgres_url).set(database="no_such_database").render_as_string(hide_password=False)
    asking = Asking(url)

    error = asking.error("queues")
    assert isinstance(error, BrokerError) and "refuses the connection" in str(error)
    assert "--database" in str(error) and "connect_timeout" not in str(error)
    found = checks(asking, code=1)["database"]
    assert found["state"] == "fail" and "--database" in found["detail"] and not found.get("fix")


def test_without_sqlalchemy_the_package_to_install_is_named(tmp_path: Path) -> None:
    (tmp_path / "shop.db").touch()
    program = "import sys; sys.modules['sqlalchemy'] = None; from aiotask_cli.main import main; main()"

    for command in (["queues"], ["doctor"], ["sql", "--check"], ["sql", "--dialect", "sqlite"]):
        arguments = [*command, "--database", f"sqlite:///{tmp_path}/shop.db"]
        done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=100)
        said = done.stdout + done.stderr
        assert done.returncode in (1, 2) and "pip install 'aiotask[sql]'" in said and "Traceback" not in said, command


def test_a_user_without_privileges_is_told_which_ones(postgres_url: str, tmp_path: Path) -> None:

    (tmp_path / "runs").mkdir()
    shop = Shop("shop", postgres_url, tmp_path / "runs")

    create_tables(shop.app)
    engine = shop.app.database.open().engine
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP ROLE IF EXISTS reader")
        connection.exec_driver_sql("CREATE ROLE reader LOGIN")
        connection.exec_driver_sql("GRANT SELECT ON aiotask_workers, aiotask_hosts, aiotask_outbox, plain TO reader")
        connection.exec_driver_sql("INSERT INTO plain (work) VALUES ('ok')")
    asking = Asking(postgres_url.replace("aiotask@", "reader@"))

    error = asking.error("cancel", "plain/1")
    assert isinstance(error, BrokerError) and "permission denied for table" in str(error) and "Grant" in str(error)
    found = checks(asking, code=1)["database privileges"]
    assert found["state"] == "fail" and "INSERT, UPDATE on plain" in found["detail"]
    assert "INSERT, UPDATE, DELETE on aiotask_hosts" in found["detail"] and found["fix"].startswith("GRANT ")
    with engine.begin() as connection:
        connection.exec_driver_sql("GRANT ALL ON ALL TABLES IN SCHEMA public TO reader")
    assert checks(asking)["database privileges"]["state"] == "ok"
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP OWNED BY reader")
        connection.exec_driver_sql("DROP ROLE reader")


def test_a_module_attribute_is_an_address_too(rows: RowStage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows.add(["ok"])
    (tmp_path / "engines_of_shop.py").write_text(
        f"import sqlalchemy as sa\nengine = sa.create_engine({rows.database!r})\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    asking = Asking("engines_of_shop:engine")
    assert asking.status("plain/1") == "PENDING"
    engine: sa.Engine = sys.modules.pop("engines_of_shop").engine
    engine.dispose()
    error = Asking("engines_of_shop:missing").error("queues")
    assert isinstance(error, ConfigError) and "cannot be found" in str(error)
    sys.modules.pop("engines_of_shop").engine.dispose()
