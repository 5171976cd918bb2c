"""Kill -9 of workers, keepers, supervisors and whole hosts: no row is lost, each ends once, and the neighbours of a row
that kills its process are unharmed."""

from __future__ import annotations

import contextlib
import os
import signal
from collections import Counter
from functools import partial

import psutil

from ..workers import Supervisor
from .stage import RowStage


def title(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error, OSError):
        return " ".join(process.cmdline())
    return ""


def keeper_of(supervisor: Supervisor) -> psutil.Process | None:
    return next((child for child in supervisor.children() if "keeper of" in title(child)), None)


def workers_of(supervisor: Supervisor) -> list[psutil.Process]:
    return [child for child in supervisor.children() if "worker-" in title(child)]


def test_a_row_whose_process_is_killed_runs_again(rows: RowStage) -> None:
    [killed] = rows.add(["wait go"])
    others = rows.add(["ok"] * 30)
    supervisor = rows.start(2)
    rows.running([killed])
    [log] = [path for path in rows.folder.glob("*.log") if f"plain {killed} " in path.read_text()]
    os.kill(int(log.stem), signal.SIGKILL)
    rows.wait(lambda: rows.runs().count(killed) == 2, "the row runs again")
    rows.open("go")
    ended = rows.wait_for_end()
    assert (ended[killed].status, ended[killed].attempt, ended[killed].deaths, ended[killed].value) == (
        "SUCCESS",
        1,
        1,
        1,
    )
    assert {(ended[id].status, ended[id].deaths, ended[id].value) for id in others} == {("SUCCESS", 0, 1)}
    assert Counter(rows.runs()) == Counter([*ended, killed])
    assert supervisor.stop() == 0


def test_a_row_that_kills_its_process_fails_after_three_and_its_neighbours_are_unharmed(rows: RowStage) -> None:
    neighbours = rows.add(["ok"] * 40)
    [poison] = rows.add(["crash"], priority=4)
    supervisor = rows.start(2, "--threads", "2")
    ended = rows.wait_for_end()
    assert ended[poison].status == "FAILED" and ended[poison].last_error.startswith("WorkerLost")
    assert ended[poison].deaths == 3 and rows.runs().count(poison) == 3
    assert {(ended[id].status, ended[id].value) for id in neighbours} == {("SUCCESS", 1)}
    assert {ended[id].deaths for id in neighbours} <= {0, 1}
    assert supervisor.stop() == 0


def test_another_keeper_takes_over_and_gives_back_rows(rows: RowStage) -> None:
    [held] = rows.add(["wait go"])
    supervisor = rows.start(1)
    rows.running([held])
    keeper = keeper_of(supervisor)
    assert keeper is not None
    keeper.kill()
    [worker] = workers_of(supervisor)
    worker.kill()
    rows.wait(lambda: rows.runs().count(held) == 2, "the row runs again")
    rows.open("go")
    assert rows.wait_for_end()[held].status == "SUCCESS"
    assert "; a new one takes over" in supervisor.log
    assert supervisor.stop() == 0


def test_the_keeper_of_a_supervisor_that_is_gone_ends_the_workers_and_gives_back_rows(rows: RowStage) -> None:
    [held] = rows.add(["wait go"])
    others = rows.add(["ok"] * 5)
    supervisor = rows.start(1)
    rows.running([held])
    os.kill(supervisor.pid, signal.SIGKILL)
    supervisor.wait()
    rows.wait(lambda: rows.statuses() == {"PENDING": 6}, "all rows are back")
    rows.wait(lambda: not supervisor.session(), "no process is left")
    rows.open("go")
    rows.start(1)
    ended = rows.wait_for_end()
    assert {(ended[id].status, ended[id].value) for id in (held, *others)} == {("SUCCESS", 1)}
    assert _hosts(rows) == 1


def test_another_host_gives_back_the_rows_of_one_that_is_gone(rows: RowStage) -> None:
    [held] = rows.add(["wait go"])
    dying = rows.start(1)
    rows.running([held])
    dying.signal(signal.SIGSTOP)
    family = [psutil.Process(dying.pid), *dying.children()]
    for process in family:
        process.kill()
    dying.wait()
    rows.open("go")
    rows.start(1)
    ended = rows.wait_for_end()
    assert (ended[held].status, ended[held].value) == ("SUCCESS", 1)
    assert rows.runs().count(held) == 2
    rows.wait(lambda: _hosts(rows) == 1, "the host that is gone is forgotten")


def _hosts(stage: RowStage) -> int:
    rows = stage.shop.app.rows
    assert rows is not None
    with stage.shop.app.session() as session:
        return len(session.execute(rows.own.hosts.select()).all())


def test_kills_of_everything_at_random_run_each_row_to_one_end(rows: RowStage) -> None:
    """A small version of the chaos trial: every counter is 1 whatever was killed."""
    rows.add(["ok"] * 600)
    rows.add(["ok"] * 300, rows.shop.Async)
    supervisor = rows.start(3)
    for number in range(6):
        rows.wait(partial(_has_ended, rows, 100 * number), "rows end")
        victims = workers_of(supervisor)
        if number == 3 and (keeper := keeper_of(supervisor)) is not None:
            victims = [keeper]
        if victims:
            victims[0].kill()
    for model in (rows.shop.Plain, rows.shop.Async):
        ended = rows.wait_for_end(model)
        assert {(row.status, row.value) for row in ended.values()} == {("SUCCESS", 1)}
    assert supervisor.stop() == 0


def _has_ended(stage: RowStage, count: int) -> bool:
    return sum(stage.statuses(model)["SUCCESS"] for model in (stage.shop.Plain, stage.shop.Async)) >= count
