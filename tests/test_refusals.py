"""Refusals in the audit: each kind is told at once, and a flood in a few lines."""

from __future__ import annotations

from aiotask.ops.audit import REFUSED, AuditLine
from aiotask.ops.refusals import MOST, QUIET, Refusals


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def line(who: str = "ada", verb: str = "cancel", subject: str = "job 1") -> AuditLine:
    return AuditLine(who, "10.0.0.7", verb, subject, 0, REFUSED)


def test_repeats_are_told_at_each_power_of_ten_and_anew_after_a_quiet_minute() -> None:
    clock = Clock()
    refusals = Refusals(clock)

    told = [refusals.admit(line(subject=f"job {number}")) for number in range(1, 1001)]

    written = {number: found for number, found in enumerate(told, 1) if found is not None}
    assert list(written) == [1, 10, 100, 1000]
    assert written[1].said == "" and written[1000].said == "1,000 times by now"
    assert written[10].subject == "job 10"
    # Another visitor and another verb are other kinds.
    assert refusals.admit(line("bob")) is not None and refusals.admit(line(verb="purge")) is not None
    clock.now += QUIET
    assert refusals.admit(line()) == line()


def test_made_up_names_are_told_of_as_a_whole() -> None:
    clock = Clock()
    refusals = Refusals(clock)

    written = [found for number in range(1_000) if (found := refusals.admit(line(f"eve-{number}")))]

    assert len(written) == MOST + 3
    assert [found.who for found in written[MOST - 1 :]] == [f"eve-{MOST - 1}", "(many)", "(many)", "(many)"]
    assert written[-1].said == "there were more refusals than lines; 100 times by now"
    # Who was told of before is told of further on, and so is everybody after a while.
    again = [refusals.admit(line("eve-0")) for _ in range(9)]
    assert again[-1] is not None and again[-1].who == "eve-0"
    clock.now += QUIET
    assert refusals.admit(line("zoe")) == line("zoe")
