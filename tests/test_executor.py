"""What becomes of a job after a run, and how much a worker claims: two pure functions as tables."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from aiotask import exponential
from aiotask.broker import BATCH_JOBS, Delivery
from aiotask.errors import (
    DependencyFailed,
    Interrupted,
    JobCancelled,
    JobError,
    JobTimeout,
    Retry,
    SealError,
    SerializationError,
    UnknownTask,
    WorkerLost,
)
from aiotask.job import WIRE_VERSION, Job, Meta, Obituary, Status, encode_job
from aiotask.tasks.task import Definition, Registry
from aiotask.wire.error_info import error_info
from aiotask.wire.seal import Sealer
from aiotask.wire.serializer import OtherPython, serializer_named
from aiotask.worker.executor import call_sync, resolve
from aiotask.worker.prefetch import Prefetch
from aiotask.worker.run import NoBoard, Run
from aiotask.worker.verdict import What, convict, judge, next_meta


def nothing() -> None:
    """The function of every task here."""


def run_of(
    *,
    attempt: int = 1,
    retries: int = 0,
    said_retries: int | None = None,
    retry_on: tuple[type[Exception], ...] = (Exception,),
    timeout: float | None = None,
    said_timeout: float | None = None,
    deaths: int = 0,
    reason: str = "",
    cancelled: bool = False,
    stopped: bool = False,
    started: bool = False,
) -> Run:
    task = Definition(
        "shop:sell",
        nothing,
        False,
        nothing,
        retries=retries,
        retry_on=retry_on,
        timeout=timeout,
        backoff=exponential(base=8.0, jitter=False),
    )
    job = Job(WIRE_VERSION, "id-1", "shop:sell", "default", b"", retries=said_retries, timeout=said_timeout)
    registry, sealer = Registry(), Sealer([""], "job")
    registry.add(task)
    meta = Meta(attempt, deaths, reason)
    run = resolve(
        Delivery("q:default:5", "1-0", "id-1", sealer.seal(encode_job(job)), meta), registry, sealer, "host.1"
    )
    run.cancelled, run.stopped, run.started_at = cancelled, stopped, float(started)
    return run


def caused(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


KEY_ERROR = KeyError("k")

# What the run was, what it raised; what becomes of it, after which delay, with which error.
VERDICTS: dict[str, tuple[dict[str, Any], BaseException | None, What, float, Any]] = {
    "a value": ({}, None, What.SUCCESS, 0.0, None),
    "a value after a cancel": ({"cancelled": True}, None, What.SUCCESS, 0.0, None),
    "a value at a stop": ({"stopped": True}, None, What.SUCCESS, 0.0, None),
    "an error": ({}, KEY_ERROR, What.FAILED, 0.0, KEY_ERROR),
    "an error with a retry left": ({"retries": 1}, KEY_ERROR, What.RETRY, 8.0, KEY_ERROR),
    "a second one": ({"retries": 3, "attempt": 2}, KEY_ERROR, What.RETRY, 16.0, KEY_ERROR),
    "the last retry": ({"retries": 2, "attempt": 2}, KEY_ERROR, What.RETRY, 16.0, KEY_ERROR),
    "no retry left": ({"retries": 2, "attempt": 3}, KEY_ERROR, What.FAILED, 0.0, KEY_ERROR),
    "the call said more": ({"retries": 0, "said_retries": 1}, KEY_ERROR, What.RETRY, 8.0, KEY_ERROR),
    "the call said none": ({"retries": 5, "said_retries": 0}, KEY_ERROR, What.FAILED, 0.0, KEY_ERROR),
    "deaths are no attempts": ({"retries": 1, "deaths": 2}, KEY_ERROR, What.RETRY, 8.0, KEY_ERROR),
    "retry on this": ({"retries": 1, "retry_on": (LookupError,)}, KEY_ERROR, What.RETRY, 8.0, KEY_ERROR),
    "not on that": ({"retries": 1, "retry_on": (OSError,)}, KEY_ERROR, What.FAILED, 0.0, KEY_ERROR),
    "an exit": ({"retries": 9}, SystemExit(1), What.FAILED, 0.0, SystemExit),
    "an interrupt": ({"retries": 9}, KeyboardInterrupt(), What.FAILED, 0.0, KeyboardInterrupt),
    "arguments that cannot be read": ({"retries": 9}, SerializationError("no"), What.FAILED, 0.0, SerializationError),
    "a job upstream has failed": ({"retries": 9}, DependencyFailed("no"), What.FAILED, 0.0, DependencyFailed),
    "so it has, whatever retry_on": (
        {"retries": 9, "retry_on": (DependencyFailed,)},
        DependencyFailed("no"),
        What.FAILED,
        0.0,
        DependencyFailed,
    ),
    "awaits a job that was not run": (
        {"retries": 1, "started": True},
        DependencyFailed("no"),
        What.RETRY,
        8.0,
        DependencyFailed,
    ),
    "another Python": ({"retries": 9}, OtherPython((3, 13)), What.PARK, 0.0, OtherPython),
    "asks to be run again": ({"retries": 1}, Retry(), What.RETRY, 8.0, Retry),
    "at a time": ({"retries": 1}, Retry(delay=3.5), What.RETRY, 3.5, Retry),
    "at once": ({"retries": 1}, Retry(delay=0), What.RETRY, 0.0, Retry),
    "whatever retry_on": ({"retries": 1, "retry_on": (OSError,)}, Retry(), What.RETRY, 8.0, Retry),
    "asks once too often": ({"retries": 1, "attempt": 2}, Retry(), What.FAILED, 0.0, JobError),
    "for a reason": ({}, caused(Retry(), KEY_ERROR), What.FAILED, 0.0, KEY_ERROR),
    "its limit": ({}, JobTimeout("late"), What.FAILED, 0.0, JobTimeout),
    "its limit, and a retry": ({"retries": 1}, JobTimeout("late"), What.RETRY, 8.0, JobTimeout),
    "its limit, no retry for that": (
        {"retries": 1, "retry_on": (OSError,)},
        JobTimeout("late"),
        What.FAILED,
        0.0,
        JobTimeout,
    ),
    "an error after a cancel": ({"cancelled": True, "retries": 9}, KEY_ERROR, What.CANCELLED, 0.0, JobCancelled),
    "cancelled": ({"cancelled": True}, asyncio.CancelledError(), What.CANCELLED, 0.0, JobCancelled),
    "cancelled, in a thread": ({"cancelled": True}, Interrupted(), What.CANCELLED, 0.0, JobCancelled),
    "cancelled at a stop": (
        {"cancelled": True, "stopped": True},
        asyncio.CancelledError(),
        What.CANCELLED,
        0.0,
        JobCancelled,
    ),
    "stopped": ({"stopped": True, "retries": 9}, asyncio.CancelledError(), What.RELEASE, 0.0, None),
    "stopped, in a thread": ({"stopped": True}, Interrupted(), What.RELEASE, 0.0, None),
    "an error at a stop": ({"stopped": True}, KEY_ERROR, What.FAILED, 0.0, KEY_ERROR),
    "cancels itself": ({}, asyncio.CancelledError(), What.FAILED, 0.0, JobCancelled),
    "cancels itself, with a retry": ({"retries": 1}, asyncio.CancelledError(), What.RETRY, 8.0, JobCancelled),
}


@pytest.mark.parametrize(("made", "error", "what", "delay", "ends"), VERDICTS.values(), ids=VERDICTS)
def test_the_verdict_on_a_run(
    made: dict[str, Any], error: BaseException | None, what: What, delay: float, ends: Any
) -> None:
    verdict = judge(run_of(**made), error)
    assert (verdict.what, verdict.delay) == (what, delay)
    if isinstance(ends, type):
        assert type(verdict.error) is ends
    else:
        assert verdict.error is ends
    assert verdict.timed_out is isinstance(verdict.error, JobTimeout)


def test_the_status_that_goes_with_a_verdict() -> None:
    assert judge(run_of(), None).what.status is Status.SUCCESS
    assert judge(run_of(), KEY_ERROR).what.status is Status.FAILED
    assert judge(run_of(cancelled=True), KEY_ERROR).what.status is Status.CANCELLED


def test_a_job_for_another_python_says_what_it_needs() -> None:
    error = OtherPython((3, 13))
    assert judge(run_of(), error).need == error.need == "python:3.13"


def test_a_retry_that_was_not_left_says_so() -> None:
    verdict = judge(run_of(retries=2, attempt=3), Retry("the bank is closed"))
    assert str(verdict.error) == (
        'Job "id-1" (shop:sell) asked to be run again (the bank is closed), and no retry was left after 3 runs.'
    )


def test_too_many_deaths_are_the_end() -> None:
    verdict = convict(run_of(deaths=3, reason="signal 11 (SIGSEGV) in f (shop.py:1)", retries=9))
    assert verdict.what is What.FAILED and isinstance(verdict.error, WorkerLost)
    assert str(verdict.error) == (
        'Job "id-1" (shop:sell) was given up: 3 processes died while they ran it, the last one by '
        "signal 11 (SIGSEGV) in f (shop.py:1). The job is kept as a dead letter: aiotask dead show id-1"
    )
    assert verdict.error.args == (str(verdict.error),) and verdict.error.signal is None


@pytest.mark.parametrize("serializer", ["cloudpickle", "json"])
def test_the_last_death_is_in_the_text_and_in_attributes_that_travel(serializer: str) -> None:
    known = Obituary(11, 0, 48_000_000, '  File "shop.py", line 1 in f', "oh\nno")
    run = run_of(deaths=3, reason="signal 11 (SIGSEGV) in f (shop.py:1)")
    run.delivery = msgspec.structs.replace(
        run.delivery, meta=msgspec.structs.replace(run.delivery.meta, obituary=known)
    )
    made = serializer_named(serializer)
    error = convict(run).error
    assert error is not None
    body = made.dump_error(error)
    assert body is not None
    came = made.load_error(body)
    assert isinstance(came, WorkerLost) and str(came) == str(error)
    assert "signal 11 (SIGSEGV) in f (shop.py:1). It held 48 MB of memory at most. The job is kept" in str(came)
    assert (
        'Its last stack, innermost frame first:\n  File "shop.py", line 1 in f\nIts last lines of stderr:\n  oh\n  no'
        in str(came)
    )
    assert (came.signal, came.exit_code, came.peak_memory, came.stderr) == (11, None, 48_000_000, "oh\nno")
    assert came.stack == known.stack


def test_the_next_run_counts_one_more_keeps_the_deaths_and_says_how_this_one_ended() -> None:
    meta = next_meta(run_of(attempt=2, deaths=1, reason="signal 9"), ValueError("not yet\nsecond line"))

    assert msgspec.structs.replace(meta, trail=()) == Meta(3, 1, "signal 9")
    assert [(run.how, run.error) for run in meta.trail] == [("retried", "ValueError: not yet")]


@pytest.mark.parametrize(
    ("task", "said", "limit"),
    [(None, None, None), (5.0, None, 5.0), (5.0, 2.0, 2.0), (None, 2.0, 2.0), (5.0, 0.0, None), (0.0, None, None)],
)
def test_the_time_limit_of_a_run(task: float | None, said: float | None, limit: float | None) -> None:
    assert run_of(timeout=task, said_timeout=said).timeout == limit


# ---- resolve and call


SECRET = ("a secret of thirty-two characters",)


def delivered(task: str = "shop:sell", *, id: str = "id-1", under: str = "id-1", sealed_for: str = "job") -> Delivery:
    job = Job(WIRE_VERSION, id, task, "default", serializer_named("cloudpickle").dump_call(((), {}), nothing))
    return Delivery("q:default:5", "1-0", under, Sealer(SECRET, sealed_for).seal(encode_job(job)), Meta())


def registry_of(function: Any) -> Registry:
    registry = Registry()
    registry.add(Definition("shop:sell", function, False, function))
    return registry


@pytest.mark.parametrize(
    ("delivery", "error"),
    [
        (delivered("shop:buy"), UnknownTask),
        (delivered(under="id-2"), SealError),
        (delivered(sealed_for="outcome"), SealError),
        (Delivery("q:default:5", "1-0", "id-1", b"garbage", Meta()), SealError),
    ],
    ids=["unknown", "under another id", "no job", "garbage"],
)
def test_what_is_no_job_of_ours_is_never_run(delivery: Delivery, error: type[Exception]) -> None:
    with pytest.raises(error):
        resolve(delivery, registry_of(nothing), Sealer(SECRET, "job"), "host.1")


def run_here(function: Any) -> Run:
    run = resolve(delivered(), registry_of(function), Sealer(SECRET, "job"), "host.1")

    class Unwatched:
        def watch(self, run: Run) -> Any:
            return self

        def __enter__(self) -> None: ...

        def __exit__(self, *_: object) -> None: ...

    call_sync(run, serializer_named("cloudpickle"), NoBoard(), Unwatched())  # type: ignore[arg-type]
    return run


def test_a_value_that_cannot_travel_is_the_fault_of_the_task() -> None:
    run = run_here(lambda: (n for n in ()))
    assert isinstance(run.error, SerializationError) and run.value is None
    assert "returned a generator that cannot be serialized" in str(run.error)


def test_a_traceback_begins_in_the_task_itself() -> None:
    def fails() -> None:
        raise KEY_ERROR

    run = run_here(fails)
    assert run.error is KEY_ERROR
    frames = [line for line in run.traceback.splitlines() if line.startswith("  File")]
    assert len(frames) == 1 and frames[0].endswith("in fails")


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise ValueError


@pytest.mark.parametrize(
    ("error", "travels", "message"),
    [
        (KeyError("k"), True, "'k'"),
        (SystemExit(3), False, "3"),
        (StopIteration(1), False, "1"),
        (StopAsyncIteration(), False, ""),
        (Unspeakable(), True, "(its __str__ raised ValueError)"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_an_error_on_its_way_to_the_caller(error: BaseException, travels: bool, message: str) -> None:
    info = error_info(error, "trace", serializer_named("cloudpickle"))
    assert info.message == message
    assert (info.body is not None) is travels


# ---- prefetch


def fed(
    *,
    syncs: bool = True,
    asyncs: bool = True,
    sync: float | None = None,
    coroutine: float | None = None,
    shares: tuple[int, int] = (0, 0),
) -> Prefetch:
    """A prefetch after 200 jobs of each kind that took so long, with a claim's recent mix."""
    prefetch = Prefetch(syncs=syncs, asyncs=asyncs, max_in_flight=100)
    for _ in range(200):
        if sync is not None:
            prefetch.measure(False, sync)
        if coroutine is not None:
            prefetch.measure(True, coroutine)
    for _ in range(100):
        for kind, times in zip((False, True), shares, strict=True):
            for _ in range(times):
                prefetch.claimed(kind)
    return prefetch


def asked(prefetch: Prefetch, **lanes: Any) -> int:
    """How many jobs a claim asks for now."""
    room, full_of_async = prefetch.room(**lanes)
    prefetch.adapt(room, full_of_async)
    return room


IDLE = {"running": 0, "ready": 0, "waiting": 0, "free": 1, "stuck": False, "full": False}

ROOMS: dict[str, tuple[dict[str, Any], dict[str, Any], int]] = {
    "sync jobs of 1 s: the one that runs": ({"asyncs": False, "sync": 1.0}, IDLE, 1),
    "and none while it runs": ({"asyncs": False, "sync": 1.0}, IDLE | {"free": 0}, 0),
    "sync jobs of 10 ms: 50 ms ahead": ({"asyncs": False, "sync": 0.01}, IDLE | {"free": 0}, 5),
    "what waits counts": ({"asyncs": False, "sync": 0.01}, IDLE | {"free": 0, "waiting": 2}, 3),
    "and half of it is enough for now": ({"asyncs": False, "sync": 0.01}, IDLE | {"free": 0, "waiting": 3}, 0),
    "not so of short jobs": ({"asyncs": False, "sync": 0.0005}, IDLE | {"free": 0, "waiting": 60}, 39),
    "never below nothing": ({"asyncs": False, "sync": 0.01}, IDLE | {"free": 0, "waiting": 30}, 0),
    "no more than a batch": ({"asyncs": False, "sync": 0.0}, IDLE, BATCH_JOBS),
    "four threads": ({"asyncs": False, "sync": 1.0}, IDLE | {"free": 4}, 4),
    "nothing for threads that are stuck": ({"asyncs": False, "sync": 0.001}, IDLE | {"free": 0, "stuck": True}, 0),
    "async jobs of 1 s: all places": ({"syncs": False, "coroutine": 1.0}, IDLE, 100),
    "the places that are free": ({"syncs": False, "coroutine": 1.0}, IDLE | {"running": 60, "ready": 10}, 30),
    "none free": ({"syncs": False, "coroutine": 1.0}, IDLE | {"running": 100}, 0),
    "async jobs that take nothing: a batch": ({"syncs": False, "coroutine": 0.0}, IDLE, BATCH_JOBS),
    "half and half": ({"sync": 0.01, "coroutine": 1.0, "shares": (1, 1)}, IDLE | {"free": 0}, 10),
    "one kind is full, the other gets a small probe": (
        {"sync": 0.01, "coroutine": 1.0, "shares": (1, 1)},
        IDLE | {"free": 0, "stuck": True},
        1,
    ),
    "both are full": ({"sync": 1.0, "coroutine": 1.0, "shares": (1, 1)}, IDLE | {"free": 0, "running": 100}, 0),
}


@pytest.mark.parametrize(("measured", "state", "room"), ROOMS.values(), ids=ROOMS)
def test_how_much_is_claimed(measured: dict[str, Any], state: dict[str, Any], room: int) -> None:
    assert asked(fed(**measured), **state) == pytest.approx(room, abs=1 if len(measured) == 3 else 0)


def test_who_had_to_give_back_waits_longer_each_time_until_a_thread_is_free() -> None:
    prefetch = fed(sync=1.0, coroutine=1.0)
    assert prefetch.pause == 0
    prefetch.back_off()
    assert 0 < prefetch.pause <= 0.02
    for _ in range(8):
        prefetch.back_off()
    assert 0.02 < prefetch.pause <= 0.5
    assert asked(prefetch, **IDLE | {"free": 0, "stuck": True}) == 0
    prefetch.resume()
    assert prefetch.pause == 0


def test_probes_grow_while_they_bring_what_there_is_room_for() -> None:
    prefetch = fed(sync=1.0, coroutine=1.0)
    full_of_sync = IDLE | {"free": 0, "stuck": True}
    probes = []
    for _ in range(6):
        probes.append(asked(prefetch, **full_of_sync))
        prefetch.claimed(True)
    assert probes == [1, 2, 4, 8, 16, 32]
    # More of what every thread is busy with: a peer could have run it.
    prefetch.claimed(False)
    assert prefetch.pause > 0 and asked(prefetch, **full_of_sync) == 0
