"""Which hooks are called for what a worker hands over, and for which answer of the broker."""

from __future__ import annotations

import asyncio

import pytest

from aiotask.broker import Settled
from aiotask.context import JobContext
from aiotask.middleware import Hooks
from aiotask.worker.aftermath import Aftermath
from aiotask.worker.life import Life
from aiotask.worker.verdict import SUCCEEDED, Verdict, What

from .helpers import wait_until_async
from .test_executor import run_of

ERROR = KeyError("k")
Calls = list[tuple[str, str, object]]


def aftermath_of(calls: Calls) -> Aftermath:
    def on_retry(job: JobContext, error: Exception, delay: float) -> None:
        calls.append((job.id, "retry", error))

    def on_finish(job: JobContext, status: str, error: Exception | None) -> None:
        calls.append((job.id, status, error))

    return Aftermath(Hooks(on_retry=[on_retry], on_finish=[on_finish]), "host.1", Life())


@pytest.mark.parametrize(
    ("verdict", "called"),
    [
        (SUCCEEDED, ("SUCCESS", None)),
        (Verdict(What.FAILED, ERROR), ("FAILED", ERROR)),
        (Verdict(What.CANCELLED, ERROR), ("CANCELLED", ERROR)),
        (Verdict(What.EXPIRED, ERROR), ("EXPIRED", ERROR)),
        (Verdict(What.RETRY, ERROR, 1.0), ("retry", ERROR)),
        (Verdict(What.RELEASE), None),
        (Verdict(What.PARK, ERROR, need="python:3.9"), None),
    ],
)
@pytest.mark.parametrize("answer", Settled)
def test_hooks_are_called_for_what_the_broker_has_taken(
    verdict: Verdict, called: tuple[str, object] | None, answer: Settled
) -> None:
    calls: Calls = []
    aftermath, run = aftermath_of(calls), run_of()

    aftermath.expect(run, verdict)
    assert not calls
    for _ in range(2):  # the broker may answer once more for what was repeated
        aftermath.settled([run.delivery], [answer])

    expected = [("id-1", *called)] if called is not None and answer is not Settled.NOT_YOURS else []
    assert calls == expected


def test_an_outcome_that_the_broker_refuses_is_told_as_the_one_that_takes_its_place() -> None:
    calls: Calls = []
    aftermath, run = aftermath_of(calls), run_of()

    aftermath.expect(run, SUCCEEDED)
    aftermath.replace(run.delivery, Verdict(What.FAILED, ERROR))
    aftermath.settled([run.delivery], [Settled.DONE])

    assert calls == [("id-1", "FAILED", ERROR)]


def test_what_ends_processes_is_told_as_an_exception() -> None:
    calls: Calls = []
    aftermath, run = aftermath_of(calls), run_of()

    aftermath.expect(run, Verdict(What.FAILED, SystemExit(3)))
    aftermath.settled([run.delivery], [Settled.DONE])

    ((_, _, error),) = calls
    assert isinstance(error, Exception) and str(error) == "SystemExit: 3"
    assert isinstance(error.__cause__, SystemExit)


async def test_hooks_that_hang_are_cancelled_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiotask.worker.aftermath.END_TIMEOUT", 0.05)
    ended: list[str] = []

    async def on_finish(job: JobContext, status: str, error: Exception | None) -> None:
        try:
            await asyncio.sleep(600)
        finally:
            ended.append(status)

    aftermath, run = Aftermath(Hooks(on_finish=[on_finish]), "host.1", Life()), run_of()
    aftermath.expect(run, SUCCEEDED)
    aftermath.settled([run.delivery], [Settled.DONE])
    assert aftermath.backlog == 1

    await aftermath.settle_all()

    assert ended == ["SUCCESS"]
    await wait_until_async(lambda: aftermath.backlog == 0, description="nothing is left")
