"""A verdict in one table: the status that a job has after a run, and what the log calls it."""

from __future__ import annotations

import pytest

from aiotask.job import FINAL, Status
from aiotask.log.events import JobEvent
from aiotask.worker.verdict import SUCCEEDED, Verdict, What

ERROR = KeyError("k")


@pytest.mark.parametrize("what", What)
def test_a_job_that_goes_on_has_no_final_status(what: What) -> None:
    goes_on = what in (What.RETRY, What.WAIT, What.PARK, What.RELEASE)

    assert (what.status in FINAL) is not goes_on


@pytest.mark.parametrize("what", What)
def test_each_end_has_an_event_of_its_own(what: What) -> None:
    assert [other for other in What if other.event is what.event] == [what]


@pytest.mark.parametrize(
    ("verdict", "dead", "event"),
    [
        (SUCCEEDED, False, JobEvent.SUCCEEDED),
        (Verdict(What.FAILED, ERROR), False, JobEvent.FAILED),
        (Verdict(What.FAILED, ERROR), True, JobEvent.DEAD),
        (Verdict(What.FAILED, ERROR, timed_out=True), False, JobEvent.TIMEOUT),
        (Verdict(What.RETRY, ERROR, timed_out=True), False, JobEvent.RETRYING),
        (Verdict(What.CANCELLED, ERROR), False, JobEvent.CANCELLED),
    ],
)
def test_what_the_log_calls_it(verdict: Verdict, dead: bool, event: JobEvent) -> None:
    assert verdict.event(dead=dead) is event


def test_the_status_of_a_failure_is_final_and_that_of_a_retry_is_not() -> None:
    assert What.FAILED.status is Status.FAILED
    assert What.RETRY.status is Status.RETRYING
