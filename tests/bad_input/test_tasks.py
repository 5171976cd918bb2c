"""Whatever a task raises, returns or does to its process, its caller hears of it and the worker goes on."""

from __future__ import annotations

import re

import pytest

from aiotask import ConfigError, JobCancelled, RemoteError, SerializationError, WorkerLost

from ..acceptance.stage import Stage
from ..helpers import wait_until_async
from ..workers import Supervisor

ENDS: dict[str, tuple[type[BaseException], str]] = {
    "surrogate": (ValueError, "half a pair: \ud800"),
    "no_reduce": (RemoteError, "NoReduce: a reason"),
    "two_arguments": (RemoteError, "TwoArguments: 1 and 2"),
    "holds_a_lock": (RemoteError, "HoldsALock: a reason"),
    "leaves_on_loading": (RemoteError, "LeavesOnLoading: a reason"),
    "exit": (RemoteError, "builtins.SystemExit: 3"),
    "interrupt": (RemoteError, "builtins.KeyboardInterrupt: "),
    "generator_exit": (RemoteError, "builtins.GeneratorExit: "),
    "stop_iteration": (RemoteError, "builtins.StopIteration: 3"),
    "stop_async_iteration": (RemoteError, "builtins.StopAsyncIteration: "),
    "cancelled": (JobCancelled, "cancelled itself: it raised CancelledError"),
    "group": (ExceptionGroup, "several (2 sub-exceptions)"),
}


@pytest.mark.parametrize("kind", ENDS)
async def test_whatever_a_task_raises_ends_the_wait_and_not_the_worker(kind: str, hostile: Stage) -> None:
    async with hostile.app:
        for task in (hostile.fail, hostile.afail):
            # Python itself makes another error of this one when it leaves a coroutine.
            is_changed = kind == "stop_iteration" and task is hostile.afail
            error, message = (RuntimeError, "coroutine raised StopIteration") if is_changed else ENDS[kind]
            with pytest.raises(error) as raised:
                await task.apply_async(kind).wait(30)
            assert message in str(raised.value)
            assert "Remote traceback" in "".join(raised.value.__notes__)


async def test_an_exception_that_has_no_text_arrives_all_the_same(hostile: Stage) -> None:
    assert set(hostile.KINDS) == {*ENDS, "no_text"}
    async with hostile.app:
        for task in (hostile.fail, hostile.afail):
            with pytest.raises(hostile.NoText):
                await task.apply_async("no_text").wait(30)


@pytest.mark.parametrize(("name", "error"), [("fail_in_a_strange_file", KeyError), ("recurse", RecursionError)])
async def test_an_odd_failure_arrives_as_what_it_is(name: str, error: type[Exception], hostile: Stage) -> None:
    async with hostile.app:
        with pytest.raises(error):
            await getattr(hostile, name).apply_async().wait(30)
        assert await hostile.echo.apply_async("goes on").wait(30) == "goes on"


@pytest.mark.parametrize("what", ["lock", "deep", "frame"])
async def test_a_result_that_cannot_travel_names_its_task(what: str, hostile: Stage) -> None:
    async with hostile.app:
        with pytest.raises(
            SerializationError, match=rf'Task ".+:give" returned a {"list" if what == "deep" else what}'
        ):
            await hostile.give.apply_async(what).wait(30)


async def test_odd_results_arrive(hostile: Stage) -> None:
    async with hostile.app:
        with pytest.raises(SerializationError, match=r'Task ".+:agive" returned a lock that cannot be serialized'):
            await hostile.agive.apply_async("lock").wait(30)
        assert await hostile.agive.apply_async("none").wait(30) is None
        assert await hostile.give.apply_async("half").wait(30) == "\ud800"
        assert (await hostile.give.apply_async("itself").wait(30)).name == hostile.give.name
        assert await hostile.echo.apply_async([{1}, {2: [set()]}]).wait(30) == [{1}, {2: [set()]}]


async def test_there_is_nobody_to_ask_in_a_worker(hostile: Stage) -> None:
    async with hostile.app:
        with pytest.raises(EOFError):
            await hostile.ask.apply_async().wait(30)
        assert await hostile.read_all.apply_async().wait(30) == ""


async def test_a_backoff_and_a_retry_that_are_wrong_do_not_leave_anybody_waiting(hostile: Stage) -> None:
    async with hostile.app:
        again, past = hostile.fail_once.apply_async(), hostile.retry_in_the_past.apply_async()
        assert await again.wait(30) == 2
        with pytest.raises(ConfigError, match=re.escape("Retry(delay=-1): give seconds (0 or more)")):
            await past.wait(30)


async def test_a_task_that_ends_its_process_is_given_up_and_the_next_one_runs(
    hostile_worker: tuple[Stage, Supervisor],
) -> None:
    stage, supervisor = hostile_worker
    with stage.active():
        async with stage.app:
            with pytest.raises(ValueError, match="closed file"):
                await stage.close_stdout.apply_async().wait(30)
            assert await stage.echo.apply_async(1).wait(30) == 1
            with pytest.raises(RuntimeError, match=r"cannot call stop\(\) on the event loop in which it runs"):
                await stage.stop_the_loop.apply_async().wait(30)
            with pytest.raises(WorkerLost, match="3 processes died while they ran it, the last one by exit code 7"):
                await stage.die.apply_async(7).wait(60)
            assert await stage.echo.apply_async(1).wait(30) == 1
    await wait_until_async(lambda: len(supervisor.children()) == 2, description="a worker and the keeper are there")
    # Errors go to stderr, which is read by the supervisor first: they may stand behind what was said later.
    await wait_until_async(lambda: supervisor.log.count(" † ") == 1, description="the dead letter is in the log")
