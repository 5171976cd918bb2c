"""Time limits and cancels of rows that run in worker processes."""

from __future__ import annotations

from .stage import RowStage


def test_a_row_past_its_time_limit_fails(rows: RowStage) -> None:
    model = rows.shop.Limited
    [long], after = rows.add(["sleep 60"], model), rows.add(["ok"] * 3)
    rows.start(1)
    ended = rows.wait_for_end(model)
    assert ended[long].status == "FAILED" and ended[long].last_error.startswith("JobTimeout")
    assert {row.status for row in rows.wait_for_end().values()} == {"SUCCESS"} and len(after) == 3


def test_a_row_that_ignores_its_time_limit_costs_its_process_and_fails(rows: RowStage) -> None:
    model = rows.shop.Limited
    [stuck] = rows.add(["stubborn"], model)
    supervisor = rows.start(1)
    others = rows.add(["ok"] * 5)
    ended = rows.wait_for_end(model)
    assert ended[stuck].status == "FAILED" and "ran longer than its time limit" in ended[stuck].last_error
    assert ended[stuck].attempt == 1 and rows.runs("limited") == [stuck]
    after = rows.wait_for_end()
    assert {(after[id].status, after[id].deaths) for id in others} == {("SUCCESS", 0)}
    assert supervisor.stop() == 0


def test_a_running_row_that_is_cancelled_is_stopped(rows: RowStage) -> None:
    [running] = rows.add(["sleep 60"])
    rows.start(1)
    rows.running([running])
    rows.set(running, status="CANCELLED")
    later = rows.add(["ok"] * 3)
    ended = rows.wait_for_end()
    assert ended[running].status == "CANCELLED" and ended[running].value == 0
    assert [ended[id].status for id in later] == ["SUCCESS"] * 3


def test_a_waiting_row_that_is_cancelled_never_starts(rows: RowStage) -> None:
    [first], [waits] = rows.add(["wait go"]), rows.add(["ok"])
    rows.start(1)
    rows.running([first])
    # The row behind it is given back before long; nothing says that the worker has not claimed it in between.
    rows.wait(lambda: rows.set_where(waits, "PENDING", status="CANCELLED"), "a row that waits was cancelled")
    rows.open("go")
    ended = rows.wait_for_end()
    assert (ended[first].status, ended[waits].status) == ("SUCCESS", "CANCELLED")
    assert rows.runs() == [first]


def test_a_cancelled_row_that_does_not_react_costs_its_process(rows: RowStage) -> None:
    [stuck] = rows.add(["stubborn"])
    rows.start(1)
    rows.running([stuck])
    rows.set(stuck, status="CANCELLED")
    later = rows.add(["ok"] * 3)
    rows.wait(lambda: rows.statuses()["SUCCESS"] == 3, "the other rows have run")
    ended = rows.rows()
    assert ended[stuck].status == "CANCELLED" and rows.runs().count(stuck) == 1
    assert [ended[id].deaths for id in later] == [0, 0, 0]
