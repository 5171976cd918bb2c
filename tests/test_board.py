"""The page between a worker and those who look after it, and the stacks it leaves: written by forks of this process."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest

from aiotask.daemon.board import SharedBoard, unpack_ring
from aiotask.daemon.health.vitals import Vitals
from aiotask.daemon.watch.excess import excesses
from aiotask.daemon.watch.stack_file import Stacks, where
from aiotask.worker.run import Budget

#: The thread of the test's own time limit is no danger to forks that only write into a page.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@pytest.fixture
def board() -> SharedBoard:
    return SharedBoard(8)


def in_a_fork(work: Callable[[], object]) -> None:
    """What a worker process writes."""
    pid = os.fork()
    if not pid:
        work()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0


def shown(board: SharedBoard) -> dict[str, tuple[float, float]]:
    return {job.id: (job.deadline, job.again) for job in board.started()}


def test_a_reader_never_sees_a_number_that_is_being_written(board: SharedBoard) -> None:
    began = time.monotonic()
    vitals = Vitals()
    board.settle_in(1)
    vitals.judge(True)

    def work() -> None:
        while not board.is_alone:
            board.settle_in(7)
            board.handled_deaths = board.relief = 2**30 + 1
            vitals.turn(3, 3, stopping=False, complete=True)
            vitals.judge(True)

    pid = os.fork()
    if not pid:
        work()
        os._exit(0)
    try:
        torn: set[str] = set()
        for _ in range(200_000):
            if board.heartbeat < began:
                torn.add("heartbeat")
            if board.pid not in (1, 7):
                torn.add("pid")
            if board.handled_deaths not in (0, 2**30 + 1):
                torn.add("deaths")
            if board.relief not in (0, 2**30 + 1):
                torn.add("relief")
            if vitals.turned < began:
                torn.add("turned")
            if vitals.judged[0] < began or not vitals.judged[1]:
                torn.add("judged")
    finally:
        board.set_alone(True)
        assert os.waitpid(pid, 0)[1] == 0
    assert not torn


def test_a_reader_never_sees_a_job_that_is_half_written(board: SharedBoard) -> None:
    # One job after the other in one slot; with every field its own, a mixture of two would show.
    budget = Budget(thread=5, cpu=1.0, memory=3e9, memory_before=2e9)
    ids = [letter * (20 + 60 * n) for n, letter in enumerate("abc")]

    def work() -> None:
        while not board.is_alone:
            for n, id in enumerate(ids):
                board.start(2, id, 1e9 + n, float(n), 2e9 + n, "task")
                board.limit(2, id, budget)
                board.clear(2)

    pid = os.fork()
    if not pid:
        work()
        os._exit(0)
    try:
        seen, looks = set(), 0
        # The writer may wait for a CPU at first.
        while looks < 100_000 or len(seen) < len(ids):
            looks += 1
            for job in board.started():
                seen.add(job.id)
                n = ids.index(job.id)
                assert (job.deadline, job.again, job.since, job.task) == (1e9 + n, n, 2e9 + n, hash("task"))
                assert job.limits in (None, budget)
    finally:
        board.set_alone(True)
        assert os.waitpid(pid, 0)[1] == 0


def test_it_shows_who_waits_for_another_job_and_whether_a_suspect_is_alone(board: SharedBoard) -> None:
    board.start(1, "ü" * 100, 0.0, -1.0)
    board.start(2, "runs", 0.0, -1.0)
    board.set_away(1, True)
    board.set_away(3, True)
    board.set_alone(True)
    assert [(job.id, job.away) for job in board.started()] == [("ü" * 100, True), ("runs", False)]
    assert board.is_alone and unpack_ring(board.ring()) == {hash("ü" * 100), hash("runs")}
    board.set_away(1, False)
    board.clear(2)
    board.set_away(2, True)
    board.set_alone(False)
    assert [(job.id, job.away) for job in board.started()] == [("ü" * 100, False)] and not board.is_alone


def test_it_shows_what_runs_and_no_more_what_has_ended(board: SharedBoard) -> None:
    def work() -> None:
        board.start(0, "first", 0.0, -1.0)
        board.start(5, "second", 12.5, 3.0)
        board.start(2, "third", 0.0, -1.0)
        board.clear(2)
        board.start(0, "fourth", 0.0, -1.0)

    in_a_fork(work)
    assert shown(board) == {"fourth": (0.0, -1.0), "second": (12.5, 3.0)}


def test_it_outlives_the_process_until_the_next_one_takes_its_place(board: SharedBoard) -> None:
    def work() -> None:
        board.settle_in(os.getpid())
        board.enlist("host.1")
        board.enlist("host.1r2")
        for slot in range(8):
            board.start(slot, f"job-{slot}", 0.0, -1.0)

    in_a_fork(work)
    assert board.pid > 0 and board.incarnations == ["host.1", "host.1r2"] and len(shown(board)) == 8
    board.reset()
    assert (board.pid, board.incarnations, shown(board), board.recent()) == (0, [], {}, frozenset())


def test_the_longest_id_fits(board: SharedBoard) -> None:
    id = "\N{GRINNING FACE}" * 200
    in_a_fork(lambda: board.start(0, id, 0.0, -1.0))
    assert list(shown(board)) == [id]


def test_only_the_last_names_of_a_process_are_kept(board: SharedBoard) -> None:
    for n in range(10):
        board.enlist("h" * 60 + f".{n}")
    assert board.incarnations == ["h" * 60 + f".{n}" for n in range(6, 10)]


def test_who_is_overdue(board: SharedBoard) -> None:
    now = time.monotonic()
    board.start(0, "without a limit", 0.0, -1.0)
    board.start(1, "in time", now + 5, -1.0)
    board.start(2, "tolerated", now - 0.5, -1.0)
    board.start(3, "late", now - 1.5, 2.0)
    # And what has had its time to end by itself, since it used up its CPU; one that may go on; one of another job.
    for slot, id, until in ((4, "spent", now - 1.5), (5, "resting", 0.0), (6, "busy", now + 1.0)):
        board.start(slot, id, 0.0, -1.0, now - 10)
        board.limit(slot, id, Budget(cpu=2.0, cpu_again=3.0, until=until))
    board.start(4, "next", 0.0, -1.0, now - 10)
    board.limit(7, "spent", Budget(cpu=2.0, cpu_again=3.0, until=now - 1.5))
    board.start(7, "spent", 0.0, -1.0, now - 10)
    found = excesses(os.getpid(), board.started(), now, 1.0)
    assert {id: (each.again, each.kind) for id, each in found.items()} == {"late": (2.0, "time"), "spent": (3.0, "cpu")}
    assert found["spent"].words == "used more CPU than its limit of 2 s"


def test_a_cancel_is_a_limit_of_that_job_alone(board: SharedBoard) -> None:
    board.start(0, "cancelled", 0.0, -1.0)
    board.start(1, "with a limit", time.monotonic() + 100, 5.0)
    for slot, id in ((0, "cancelled"), (1, "with a limit"), (0, "cancelled")):
        board.hurry(slot, id)
    first = shown(board)
    # Cancelled, it does not run again.
    assert all(0 < deadline <= time.monotonic() and again == -1.0 for deadline, again in first.values())
    # Asked again, it has no more time for that.
    board.hurry(0, "cancelled")
    assert shown(board) == first
    # Whoever comes next to that place is not meant, even if the cancel comes late.
    board.start(0, "next", 0.0, -1.0)
    board.hurry(0, "cancelled")
    assert shown(board)["next"] == (0.0, -1.0)
    # Nor is the same job the next time.
    board.start(0, "cancelled", 0.0, -1.0)
    assert shown(board)["cancelled"] == (0.0, -1.0)


def test_nothing_starts_between_a_relief_and_its_notice(board: SharedBoard) -> None:
    assert board.start(0, "before", 0.0, -1.0)
    board.relief += 1
    assert board.is_relieved
    in_a_fork(lambda: board.start(1, "meanwhile", 0.0, -1.0) and os._exit(1))
    assert list(shown(board)) == ["before"]
    assert hash("before") in board.recent() and hash("meanwhile") not in board.recent()
    board.relief += 1
    # The keeper is done, and the worker does not know it yet.
    assert not board.start(1, "meanwhile", 0.0, -1.0)
    board.notice(board.relief)
    assert board.start(1, "after", 0.0, -1.0) and not board.is_relieved


def test_it_remembers_far_more_starts_than_a_worker_holds(board: SharedBoard) -> None:
    for n in range(10_000):
        board.start(n % 8, f"job-{n}", 0.0, -1.0)
    recent = board.recent()
    assert all(hash(f"job-{n}") in recent for n in range(6_000, 10_000))
    assert hash("job-100") not in recent


def test_a_process_that_a_task_forks_writes_on_no_board(board: SharedBoard) -> None:
    def work() -> None:
        board.start(0, "parent", 0.0, -1.0)
        pid = os.fork()
        if not pid:
            board.detach()
            board.clear(0)
            board.start(0, "child", 0.0, -1.0)
            os._exit(0)
        os.waitpid(pid, 0)

    in_a_fork(work)
    assert list(shown(board)) == ["parent"]


# ---- stacks

SEGFAULT = """\
Fatal Python error: Segmentation fault

Thread 0x00007f6ea564d6c0 (most recent call first):
  File "/srv/shop/mail.py", line 3 in send
  File "/usr/lib/aiotask/worker/executor.py", line 160 in call_async

Current thread 0x00007f6ea7484b80 (most recent call first):
  File "/usr/lib/python3.11/ctypes/__init__.py", line 519 in string_at
  File "/srv/shop/tasks.py", line 15 in die
  File "/usr/lib/aiotask/worker/executor.py", line 133 in call_sync
  File "/usr/lib/aiotask/daemon/worker_process.py", line 180 in _execute

Extension modules: msgspec._core, uvloop.loop (total: 2)"""

BOTH = """\
Thread 0x00007f6ea564d6c0 (most recent call first):
  File "/srv/shop/mail.py", line 3 in send
  File "/usr/lib/aiotask/worker/executor.py", line 160 in call_async

Current thread 0x00007f6ea7484b80 (most recent call first):
  File "/srv/shop/tasks.py", line 15 in die
  File "/usr/lib/aiotask/worker/executor.py", line 133 in call_sync"""

IDLE = """\
Thread 0x00007f6ea564d6c0 (most recent call first):
  File "/usr/lib/uvloop/__init__.py", line 92 in run

Current thread 0x00007f6ea7484b80 (most recent call first):
  File "/usr/lib/aiotask/worker/sync_lane.py", line 105 in serve"""


@pytest.mark.parametrize(
    ("dump", "said"),
    [
        (SEGFAULT, "string_at (ctypes/__init__.py:519) < die (shop/tasks.py:15)"),
        (BOTH, "send (shop/mail.py:3), and die (shop/tasks.py:15)"),
        (IDLE, ""),
        ("", ""),
        ("garbage", ""),
    ],
    ids=["the thread that died", "both threads", "no job", "nothing", "garbage"],
)
def test_where_a_job_was_in_one_line(dump: str, said: str) -> None:
    assert where(dump) == said


def test_a_dump_is_read_once() -> None:
    stacks = Stacks()
    assert not stacks.written

    def work() -> None:
        stacks.record()
        os.kill(os.getpid(), signal.SIGUSR1)

    try:
        for _ in range(2):
            in_a_fork(work)
            assert stacks.written
            assert "in work" in stacks.take()
            assert not stacks.written and stacks.take() == ""
    finally:
        stacks.close()
