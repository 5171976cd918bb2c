"""aiotask's own tables: the outbox, and the leases of workers."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import migrations

from ....sql.schema import own_statements


def create(apps: Any, editor: Any) -> None:
    """Create the tables that are missing, where the database is one that aiotask can use."""
    if editor.connection.vendor in ("sqlite", "postgresql"):
        for statement in own_statements(editor.connection.vendor):
            editor.execute(statement)


def drop(apps: Any, editor: Any) -> None:
    """Drop the tables."""
    for table in ("aiotask_outbox", "aiotask_hosts", "aiotask_workers"):
        editor.execute(f"DROP TABLE IF EXISTS {table}")


class Migration(migrations.Migration):  # type: ignore[misc]  # Django has no types
    """Written by hand: the tables are no models."""

    initial = True
    dependencies: ClassVar[list[tuple[str, str]]] = []
    operations: ClassVar[list[Any]] = [migrations.RunPython(create, drop)]
