"""The page on commands has every field that JSON output has of rows."""

from __future__ import annotations

from ..rows_service.stage import RowStage
from ..test_cli_docs import fields, keys
from .asking import Asking


def test_every_field_of_json_output_about_rows_is_told_of(rows: RowStage) -> None:
    asking = Asking(rows.database)
    rows.start(1)
    rows.add(["fail"])
    rows.wait_for_end()

    of_user = ("columns",)
    assert keys(asking.ask("queues")) <= fields("aiotask queues list")
    assert keys(asking.ask("jobs", "plain/1"), besides=of_user) <= fields("aiotask jobs")
    assert keys(asking.ask("dead", "list")) <= fields("aiotask jobs")
    assert keys(asking.ask("dead", "show", "plain/1"), besides=of_user) <= fields("aiotask jobs")
    assert keys(asking.ask("cancel", "plain/1", code=1)) <= fields("aiotask cancel")
    assert keys(asking.ask("doctor")) <= fields("aiotask doctor")
    assert keys(asking.ask("sql")) | keys(asking.ask("sql", "--check")) <= fields("aiotask sql")
