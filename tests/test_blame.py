"""Which jobs a death counts against, as a table."""

from __future__ import annotations

import signal
from signal import Signals

import pytest

from aiotask.daemon.board import Started
from aiotask.daemon.watch.blame import TOLERATED, Blame, End, Signalled, blame, is_from_outside

RUNS, WAITS = Started(0, "runs", 0.0, -1.0), Started(1, "waits", 0.0, -1.0, away=True)
#: Signals that operators, terminals, timers and other programs send, and that no fault of a process raises.
OUTSIDE = ["HUP", "INT", "QUIT", "USR1", "USR2", "ALRM", "TERM", "TSTP", "TTIN", "TTOU", "VTALRM", "PROF"]
FAULTS = ["ILL", "ABRT", "BUS", "FPE", "SEGV", "SYS", "XCPU", "XFSZ", "PIPE"]


def by(name: str) -> int:
    """The exit code of a process that died of this signal."""
    return -Signals[f"SIG{name}"]


TABLE = {
    "a job ends its process": (End(70), [RUNS], Blame(("runs",), recent=True)),
    "a job ends its process with exit code 0": (End(0), [RUNS], Blame(("runs",), recent=True)),
    "nothing ran": (End(1), [], Blame(recent=True)),
    "nothing ran in a process that had been asked to end": (End(1, draining=True), [], Blame()),
    "several ran, and some of them only waited": (End(1), [RUNS, WAITS], Blame(("runs", "waits"), recent=True)),
    "a suspect ran beside one that waited": (End(1, alone=True), [RUNS, WAITS], Blame(("runs",), ("waits",))),
    "beside a suspect that has ended": (End(1, alone=True), [WAITS], Blame((), ("waits",), recent=True)),
    "the stack is in the job": (End(by("SEGV"), in_job=True), [RUNS], Blame(("runs",))),
    "KILL may be the kernel's, for want of memory": (End(by("KILL")), [RUNS], Blame(("runs",))),
    "KILL while nothing ran": (End(by("KILL")), [], Blame()),
    "the supervisor killed it": (End(by("KILL"), killed=True), [RUNS, WAITS], Blame()),
    "killed, and ended otherwise in the same moment": (End(1, killed=True), [RUNS], Blame()),
    **{f"{name} from outside": (End(by(name)), [RUNS, WAITS], Blame()) for name in OUTSIDE},
    **{f"{name} is a fault": (End(by(name)), [RUNS], Blame(("runs",), recent=True)) for name in FAULTS},
    "a real-time signal": (End(-int(signal.SIGRTMIN) - 3), [RUNS], Blame()),
}


@pytest.mark.parametrize(("end", "started", "expected"), TABLE.values(), ids=TABLE)
def test_whom_a_death_counts_against(end: End, started: list[Started], expected: Blame) -> None:
    assert blame(end, started) == expected


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_job_that_dies_of_such_a_signal_again_and_again_sends_it_itself(name: str) -> None:
    end = End(by(name))
    assert blame(end, [RUNS, WAITS], {"runs": TOLERATED}) == Blame()
    assert blame(end, [RUNS, WAITS], {"runs": TOLERATED + 1, "waits": 1}) == Blame(("runs",))


def test_ends_by_signals_are_counted_by_job() -> None:
    signalled = Signalled()
    signalled.count(["a", "b"])
    assert signalled.count(["a"]) == {"a": 2, "b": 1}
    signalled.count([str(n) for n in range(5000)])
    assert len(signalled.count([])) == 1000


def test_an_exit_code_is_no_signal() -> None:
    assert not any(is_from_outside(code) for code in range(256))
