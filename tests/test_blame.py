"""Which jobs a death counts against, as a table."""

from __future__ import annotations

import signal
from itertools import product
from signal import Signals

import pytest

from aiotask.daemon.board import Started
from aiotask.daemon.watch.blame import TOLERATED, Blame, End, blame, is_from_outside
from aiotask.daemon.watch.signal_counts import SignalCounts

RUNS, WAITS = Started(0, "runs", 0.0, -1.0), Started(1, "waits", 0.0, -1.0, away=True)
#: Signals that operators, terminals, timers and other programs send, and that no fault of a process raises.
OUTSIDE = ["HUP", "INT", "QUIT", "USR1", "USR2", "ALRM", "TERM", "TSTP", "TTIN", "TTOU", "VTALRM", "PROF"]
FAULTS = ["ILL", "TRAP", "ABRT", "BUS", "FPE", "SEGV", "SYS", "XCPU", "XFSZ", "PIPE"]


def by(name: str) -> int:
    """The exit code of a process that died of this signal."""
    return -Signals[f"SIG{name}"]


def own(*ran: str, waited: tuple[str, ...] = (), recent: bool = False) -> Blame:
    """What a process that fails by itself counts against."""
    return Blame(ran, waited, recent, own_fault=True)


TABLE = {
    "a job ends its process": (End(70), [RUNS], own("runs", recent=True)),
    "a job ends its process with exit code 0": (End(0), [RUNS], own("runs", recent=True)),
    "a job ends a process that had been asked to end": (End(70, draining=True), [RUNS], own("runs")),
    "nothing ran": (End(1), [], own(recent=True)),
    "nothing ran in a process that had been asked to end": (End(1, draining=True), [], own()),
    "an end without fault, asked for": (End(0, draining=True), [], Blame()),
    "an end without fault, by itself": (End(0), [], Blame(recent=True)),
    "several ran, and some of them only waited": (End(1), [RUNS, WAITS], own("runs", "waits", recent=True)),
    "only one that waited": (End(1), [WAITS], own("waits", recent=True)),
    "a suspect ran beside one that waited": (End(1, alone=True), [RUNS, WAITS], own("runs", waited=("waits",))),
    "a suspect ran alone": (End(by("SEGV"), alone=True), [RUNS], own("runs")),
    "a suspect ran in a process that had been asked to end": (End(1, draining=True, alone=True), [RUNS], own("runs")),
    "beside a suspect that has ended": (End(1, alone=True), [WAITS], own(waited=("waits",), recent=True)),
    "nothing ran after a suspect": (End(1, alone=True), [], own(recent=True)),
    "the stack is in the job": (End(by("SEGV"), in_job=True), [RUNS], own("runs")),
    "the stack is in a job, beside one that waited": (
        End(by("SEGV"), in_job=True), [RUNS, WAITS], own("runs", "waits")
    ),
    "the stack is in a job that the board does not show any more": (End(by("SEGV"), in_job=True), [], own()),
    "KILL may be the kernel's, for want of memory": (End(by("KILL")), [RUNS], own("runs")),
    "KILL of a suspect": (End(by("KILL"), alone=True), [RUNS, WAITS], own("runs", waited=("waits",))),
    "KILL while nothing ran": (End(by("KILL")), [], own()),
    "the supervisor killed it": (End(by("KILL"), killed=True), [RUNS, WAITS], Blame()),
    "killed, and ended otherwise in the same moment": (End(1, killed=True), [RUNS], Blame()),
    "killed, and its stack is in a job": (End(by("SEGV"), killed=True, in_job=True), [RUNS], Blame()),
    "TERM from outside while nothing ran": (End(by("TERM")), [], own()),
    **{f"{name} from outside": (End(by(name)), [RUNS, WAITS], own()) for name in OUTSIDE},
    **{f"{name} is a fault": (End(by(name)), [RUNS], own("runs", recent=True)) for name in FAULTS},
    "a real-time signal": (End(-int(signal.SIGRTMIN) - 3), [RUNS], own()),
}  # fmt: skip


@pytest.mark.parametrize(("end", "started", "expected"), TABLE.values(), ids=TABLE)
def test_whom_a_death_counts_against(end: End, started: list[Started], expected: Blame) -> None:
    assert blame(end, started) == expected


CODES = [0, 1, 70, *(by(name) for name in ("KILL", "SEGV", "TERM"))]


@pytest.mark.parametrize("code", CODES)
def test_what_holds_for_every_death(code: int) -> None:
    """Each job that ran is judged once, and what is certain or harmless accuses no job that has ended before."""
    jobs: list[list[Started]] = [[], [RUNS], [WAITS], [RUNS, WAITS]]
    for killed, draining, alone, in_job, started in product(*[[False, True]] * 4, jobs):
        end = End(code, killed, draining, alone, in_job)
        found = blame(end, started)
        judged = [*found.ran, *found.waited]
        if killed:
            assert found == Blame()
            continue
        assert found.own_fault == bool(code or started)
        assert sorted(judged) == ([] if end.is_from_outside else sorted(job.id for job in started))
        assert bool(found.waited) == (alone and WAITS in started and not end.is_from_outside)
        if draining or in_job or end.is_from_outside or code == by("KILL") or (alone and found.ran):
            assert not found.recent
        else:
            assert found.recent


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_job_that_dies_of_such_a_signal_again_and_again_sends_it_itself(name: str) -> None:
    end = End(by(name))
    assert blame(end, [RUNS, WAITS], {"runs": TOLERATED}) == own()
    assert blame(end, [RUNS, WAITS], {"runs": TOLERATED + 1, "waits": 1}) == own("runs")
    assert blame(End(by(name), alone=True), [WAITS], {"waits": TOLERATED + 1}) == own(waited=("waits",))
    assert blame(End(by(name), killed=True), [RUNS], {"runs": TOLERATED + 1}) == Blame()


def jobs(*ids: str) -> list[Started]:
    return [Started(slot, id, 0.0, -1.0) for slot, id in enumerate(ids)]


def test_ends_by_signals_from_outside_are_counted_by_job() -> None:
    counts, end = SignalCounts(), End(by("TERM"))
    counts.count(end, jobs("a", "b"))
    assert counts.count(end, jobs("a")) == {"a": 2, "b": 1}
    for other in (End(1), End(by("KILL")), End(by("SEGV")), End(by("TERM"), killed=True)):
        assert counts.count(other, jobs("a")) == {"a": 2, "b": 1}
    counts.count(end, jobs(*map(str, range(5000))))
    assert len(counts.count(end, [])) == 1000


def test_an_exit_code_is_no_signal() -> None:
    assert not any(is_from_outside(code) for code in range(256))
