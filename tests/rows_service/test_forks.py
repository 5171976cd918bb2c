"""Processes that a run forks while its session has a transaction open: the transaction stays its own."""

from __future__ import annotations

from .stage import RowStage

ENDS = ["returns", "exits", "raises", "leaves", "by multiprocessing"]


def test_a_fork_leaves_the_transaction_of_the_run_alone(rows: RowStage) -> None:
    ids = rows.add([f"fork {how}" for how in ENDS])
    supervisor = rows.start()
    rows.wait(lambda: len(rows.rows()) == 2 * len(ids), "what the runs have added is committed")
    rows.wait(lambda: set(rows.statuses()) == {"SUCCESS"}, "every row has ended")
    ended = rows.rows()
    assert [ended[id].value for id in ids] == [1] * len(ids)
    assert sorted(rows.runs()) == sorted(ended), "each has run once"
    assert supervisor.stop() == 0
