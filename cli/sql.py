"""``aiotask sql``: the DDL of tables whose rows are jobs, and what of it a database lacks."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from .options import Json, option
from .output import console, plain, print_json

__all__ = ["sql"]

AppModule = Annotated[
    str | None,
    typer.Argument(
        metavar="APP",
        help="Module with the app, whose row tables are printed too: [bold]shop.models[/bold]. It is imported.",
    ),
]
OfDatabase = Annotated[
    str | None,
    option(
        "--database",
        metavar="URL",
        show_default="that of APP",
        help="Database, whose dialect is used, or which is checked: sqlite:///FILE or postgresql://USER@HOST/NAME.",
    ),
]
InDirectory = Annotated[str, option("--app-dir", metavar="DIR", help="Directory that is searched first for modules.")]


class Dialect(StrEnum):
    """Kinds of databases."""

    SQLITE = "sqlite"
    POSTGRESQL = "postgresql"


OfDialect = Annotated[
    Dialect | None,
    option(
        "--dialect",
        metavar="NAME",
        case_sensitive=False,
        show_default="that of the database",
        help="Dialect of the statements: sqlite or postgresql.",
    ),
]
Check = Annotated[bool, option("--check", help="Print what the database lacks instead of the statements.")]


def sql(
    app: AppModule = None,
    dialect: OfDialect = None,
    check: Check = False,
    database: OfDatabase = None,
    app_dir: InDirectory = ".",
    as_json: Json = False,
) -> None:
    """Print the statements that make aiotask's own tables, and with APP also its row tables and their indexes.

    Tables and indexes that exist are left as they are: new columns need a migration. --check changes nothing, either;
    the exit code is 1 if the database lacks a table, a column or an index.

    [bold]Examples[/bold]

      aiotask sql shop.models --dialect postgresql | psql shop
      aiotask sql --database sqlite:///shop.db
      aiotask sql shop.models --check
    """
    from aiotask.importer import load_apps
    from aiotask.ops.ddl import dialect_of, find_missing, statements_of

    apps = load_apps([app], app_dir) if app else []
    if check:
        _report(find_missing(apps, database), as_json=as_json)
        return
    name = dialect.value if dialect else dialect_of(apps, database)
    statements = statements_of(apps, name)
    if as_json:
        print_json({"dialect": name, "statements": statements})
        return
    for statement in statements:
        print(f"{statement};\n")


def _report(missing: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json({"ok": not missing, "missing": missing})
    elif not missing:
        console().print("Nothing is missing.")
    else:
        for each in missing:
            of = f" of {plain(each['table'])}" if each["name"] else ""
            what = f"{each['kind']} {plain(each['name'] or each['table'])}{of}"
            console().print(f"[red]missing[/red] {what}", soft_wrap=True)
        console().print(
            "Run your migrations. aiotask sql APP prints the statements of missing tables and indexes; for a missing "
            "column, write a migration.",
            soft_wrap=True,
        )
    if missing:
        raise typer.Exit(1)
