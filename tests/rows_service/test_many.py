"""Many processes on one table: each row runs once, oldest first within a priority."""

from __future__ import annotations

from collections import Counter

import pytest

from .stage import RowStage


# Processes meet at the lock of the file there, and at those of rows here.
@pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
def test_two_thousand_rows_in_eight_processes_run_once_each(rows: RowStage) -> None:
    ids = rows.add(["ok"] * 2_000)
    supervisor = rows.start(8)
    ended = rows.wait_for_end(timeout=110)
    assert supervisor.stop() == 0
    assert {(row.status, row.value, row.claims >= 1) for row in ended.values()} == {("SUCCESS", 1, True)}
    assert Counter(rows.runs()) == Counter(ids)


def test_rows_run_by_priority_and_the_oldest_first(rows: RowStage) -> None:
    late, middle, early = (rows.add(["ok"] * 30, priority=priority) for priority in (9, 5, 1))
    supervisor = rows.start(1)
    rows.wait_for_end()
    assert rows.runs() == [*early, *middle, *late]
    assert supervisor.stop() == 0
