"""What is gathered of a worker process that has ended, before its board and its files go to another one."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from aiotask.daemon.board import SharedBoard
from aiotask.daemon.child import Child
from aiotask.daemon.watch.blame import Blame, End
from aiotask.daemon.watch.postmortem import Postmortem, how_it_ended

FATAL = """\
Fatal Python error: Segmentation fault

Current thread 0x00007f6ea7484b80 (most recent call first):
  File "/srv/shop/tasks.py", line 15 in die
  File "/usr/lib/aiotask/worker/executor.py", line 133 in call_sync"""
SEGV, KILL = -signal.SIGSEGV, -signal.SIGKILL


@pytest.fixture
def child() -> Iterator[Child]:
    """A worker as its supervisor sees it; no process is behind it."""
    child = Child(3, SharedBoard(2))
    child.begin(0)
    child.board.enlist("host.3")
    yield child
    child.close()


def wrote(child: Child, stacks: str) -> Child:
    os.write(child.stacks.fd, stacks.encode())
    return child


def test_how_an_exit_code_reads() -> None:
    assert how_it_ended(3) == "exit code 3"
    assert how_it_ended(SEGV) == "signal 11 (SIGSEGV)"
    assert "perhaps by the kernel for want of memory" in how_it_ended(KILL)
    assert "by the kernel: likely out of memory" in how_it_ended(KILL, out_of_memory=True)
    assert how_it_ended(-200) == "signal 200 (?)"


def test_the_reason_says_where_a_process_died(child: Child) -> None:
    facts = Postmortem.gather(wrote(child, FATAL), SEGV, 5_000_000)
    assert facts.reason == "signal 11 (SIGSEGV) in die (shop/tasks.py:15)"
    assert facts.end == End(SEGV, in_job=True)
    assert (facts.obituary.signal, facts.obituary.exit_code, facts.obituary.peak_memory) == (11, 0, 5_000_000)
    assert "die" in facts.obituary.stack


def test_stacks_that_were_asked_for_are_no_fault_of_a_job(child: Child) -> None:
    facts = Postmortem.gather(wrote(child, FATAL.removeprefix("Fatal Python error: ")), 1, 0)
    assert facts.reason == "exit code 1"
    assert not facts.end.in_job and not facts.obituary.stack and facts.dump


def test_a_process_past_a_limit_is_said_to_be_there(child: Child) -> None:
    child.killed, child.overdue = "a job past its time limit", {"a": -1.0}
    facts = Postmortem.gather(wrote(child, FATAL.partition("\n\n")[2]), KILL, 0)
    assert facts.reason == "a job past its time limit in die (shop/tasks.py:15)"
    assert facts.end.killed
    assert facts.deaths(Blame())[0].overdue == {"a": -1.0}


@pytest.mark.parametrize(("killed", "not_live"), [("an immediate stop", False), ("", True), ("", False)])
def test_who_was_killed_or_declared_dead_is_not_at_fault(child: Child, killed: str, not_live: bool) -> None:
    child.killed, child.not_live, child.loop_error = killed, not_live, "ValueError"
    facts = Postmortem.gather(child, 75, 0)
    assert facts.end.killed == bool(killed or not_live)
    assert facts.reason == (killed or "exit code 75, since its event loop broke: ValueError")


def test_the_keeper_hears_of_each_name_of_the_process(child: Child) -> None:
    child.board.enlist("host.3.other")
    child.board.start(0, "a", 0.0, -1.0)
    facts = Postmortem.gather(child, 1, 0)
    one, other = facts.deaths(Blame(("a",), ("b",), recent=True))
    assert (one.incarnation, other.incarnation) == ("host.3", "host.3.other")
    assert (one.blame, one.waited, one.recent) == (("a",), ("b",), child.board.ring())
    assert facts.deaths(Blame(("a",)))[0].recent == b""
    assert [job.id for job in facts.started] == ["a"]


def test_what_was_gathered_stays_when_the_board_goes_to_another_process(child: Child) -> None:
    child.board.start(0, "a", 0.0, -1.0)
    facts = Postmortem.gather(child, 1, 0)
    child.board.reset()
    assert [job.id for job in facts.started] == ["a"] and facts.incarnations == ("host.3",)
