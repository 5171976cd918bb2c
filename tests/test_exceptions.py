"""The exception that a task raised is the one that its caller catches: the same class, text, arguments, attributes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from aiotask import App, JobCancelled, JobError, JobTimeout, RemoteError, ResultTimeout, SerializationError

from . import raisable
from .acceptance.stage import Stage, staged
from .raisable import OURS, SENT, UNSENT, describe
from .workers import running_workers


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Stage]:
    """An app of this module, with one process that all tests share."""
    directory: Path = tmp_path_factory.mktemp("raising")
    with (
        running_workers(directory / "workers", redis_url) as workers,
        staged("raising", workers, directory / "ledger") as stage,
    ):
        stage.start(1)
        yield stage


@pytest.fixture(autouse=True)
def _logs(worker_logs: None) -> None:
    """What the workers said is shown with every failure."""


def arrived(error: BaseException) -> tuple[type, str, dict[str, str]]:
    """All that can be told of an exception, without the note on its remote traceback."""
    return type(error), str(error), describe(error)


# ---- raised


@pytest.mark.parametrize("kind", SENT)
async def test_an_exception_arrives_as_what_it_was(kind: str, stage: Stage) -> None:
    expected = arrived(SENT[kind]())
    async with stage.app:
        for task in (stage.fail, stage.afail):
            result = task.apply_async(kind)
            for _ in range(2):
                with pytest.raises(BaseException) as caught:
                    await result.wait(30)
                assert arrived(caught.value) == expected
                assert "Remote traceback" in caught.value.__notes__[-1]


@pytest.mark.parametrize("kind", OURS)
def test_an_exception_arrives_in_code_without_an_event_loop(kind: str, stage: Stage) -> None:
    expected = arrived(SENT[kind]())
    with pytest.raises(BaseException) as caught:
        stage.fail.apply_async(kind).get(30)
    assert arrived(caught.value) == expected


async def test_private_slots_arrive_and_methods_work(stage: Stage) -> None:
    async with stage.app:
        with pytest.raises(raisable.Slotted) as caught:
            await stage.fail.apply_async("slots")
    assert caught.value.hidden() == 8


async def test_a_constructor_runs_once_in_the_worker_and_never_at_the_caller(stage: Stage) -> None:
    before = len(raisable.MADE)
    async with stage.app:
        result = stage.count.apply_async("once")
        for _ in range(3):
            with pytest.raises(raisable.Counted):
                await result
        assert await stage.counted.apply_async() == ["once"]
    assert len(raisable.MADE) == before


async def test_state_methods_of_its_own_are_used(stage: Stage) -> None:
    async with stage.app:
        with pytest.raises(raisable.OwnState) as caught:
            await stage.own_state.apply_async()
    assert (caught.value.code, caught.value.lock.locked()) == (7, False)


# ---- values and arguments


@pytest.mark.parametrize("kind", SENT)
async def test_an_exception_is_a_value_and_an_argument_like_others(kind: str, stage: Stage) -> None:
    error = SENT[kind]()
    expected = arrived(error)
    async with stage.app:
        values = await stage.give.apply_async(kind)
        taken = await stage.take.apply_async(error, more=[SENT[kind]()])
    assert [arrived(each) for each in (values["it"], *values["again"], *values["other"])] == [expected] * 3
    assert taken == [(expected[0].__qualname__, *expected[1:])] * 2
    # One object stays one object.
    assert values["it"] is values["again"][0] is not values["other"][0]


# ---- such as cannot be sent


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("holds a lock", 'its attribute "lock" (lock) cannot be serialized: TypeError: cannot pickle'),
        ("changes itself", 'its text "<text>" comes back as "<<text>>"'),
        ("becomes another", "it comes back as builtins.ValueError"),
        ("lock in args", 'its attribute "args" (tuple) cannot be serialized: TypeError: cannot pickle'),
    ],
)
async def test_what_cannot_be_sent_says_why_and_how_to_mend_it(kind: str, why: str, stage: Stage) -> None:
    error = UNSENT[kind]()
    async with stage.app:
        with pytest.raises(RemoteError) as caught:
            await stage.fail_unsent.apply_async(kind)
    name = f"{type(error).__module__}.{type(error).__qualname__}"
    said = str(caught.value)
    assert caught.value.type == name
    assert said.startswith(f"{name}: ") and f"It came as RemoteError because {why}" in said and "a __reduce__" in said


async def test_one_member_of_a_group_that_cannot_be_sent_leaves_the_others_as_they_are(stage: Stage) -> None:
    seen: dict[str, list[BaseException]] = {}
    async with stage.app:
        try:
            await stage.several.apply_async()
        except* KeyError as group:
            seen["keys"] = list(group.exceptions)
        except* RemoteError as group:
            seen["remote"] = list(group.exceptions)
            assert group.message == "several"
        except* raisable.Frozen as group:
            seen["frozen"] = list(group.exceptions[0].exceptions)  # type: ignore[attr-defined]
    assert [str(error) for error in seen["keys"]] == ["'k'"]
    assert [error.code for error in seen["frozen"]] == [2]  # type: ignore[attr-defined]
    locked, below = seen["remote"]
    assert isinstance(locked, RemoteError) and locked.type == "tests.raisable.HoldsALock"
    assert "locked" in str(locked) and "because its attribute" in str(locked)
    assert isinstance(below, ExceptionGroup) and below.message == "below"


# ---- causes


async def test_causes_come_along(stage: Stage) -> None:
    async with stage.app:
        errors = {}
        for kind in ("cause", "context", "unsent cause", "none", "group"):
            with pytest.raises(Exception) as caught:
                await stage.chain.apply_async(kind)
            errors[kind] = caught.value
    cause = errors["cause"].__cause__
    assert isinstance(cause, raisable.MakesItsText) and (str(cause), cause.code) == ("cannot open second (code 2)", 2)
    assert isinstance(cause.__cause__, KeyError) and errors["cause"].__suppress_context__
    context = errors["context"].__context__
    assert isinstance(context, raisable.MakesItsText) and errors["context"].__cause__ is None
    assert not errors["context"].__suppress_context__
    unsent = errors["unsent cause"].__cause__
    assert type(errors["unsent cause"]) is raisable.Frozen
    assert isinstance(unsent, RemoteError) and unsent.type == "tests.raisable.HoldsALock"
    assert errors["none"].__suppress_context__ and errors["none"].__cause__ is None
    member, other = errors["group"].exceptions  # type: ignore[attr-defined]
    assert isinstance(member.__cause__, raisable.MakesItsText) and other.__cause__ is None


# ---- errors about other jobs


async def test_an_error_about_the_tasks_own_wait_is_told_from_the_callers(stage: Stage) -> None:
    async with stage.app:
        result = stage.awaits.apply_async("wait")
        with pytest.raises(RemoteError, match=r"^.*The task raised ResultTimeout: Job ") as caught:
            await result.wait(30)
        assert await result.status() == "FAILED"
    error = caught.value
    assert error.type == "aiotask.errors.ResultTimeout"
    assert error.job_id not in ("", result.id) and error.job_id in str(error)
    assert isinstance(error.__cause__, ResultTimeout) and error.__cause__.job_id == error.job_id


@pytest.mark.parametrize(("kind", "expected"), [("limit", JobTimeout), ("cancel", JobCancelled)])
async def test_the_end_of_another_job_comes_as_itself_with_that_jobs_id(
    kind: str, expected: type[JobError], stage: Stage
) -> None:
    async with stage.app:
        result = stage.awaits.apply_async(kind)
        with pytest.raises(expected) as caught:
            await result.wait(30)
        assert await result.status() == "FAILED"
    assert caught.value.job_id not in ("", result.id) and caught.value.job_id in str(caught.value)


async def test_the_own_wait_and_the_own_limit_name_the_job(stage: Stage) -> None:
    async with stage.app:
        result = stage.nap.apply_async(60)
        with pytest.raises(ResultTimeout) as waited:
            await result.wait(0.01)
        await result.cancel()
        late = stage.late.apply_async()
        with pytest.raises(JobTimeout) as limited:
            await late
    assert (waited.value.job_id, limited.value.job_id) == (result.id, late.id)


# ---- objects of aiotask


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("handle", "returned an AsyncResult that cannot be serialized with cloudpickle. Return result.id, or await"),
        ("list", "returned a list that cannot be serialized with cloudpickle: it holds an AsyncResult. Return result"),
        ("closure", "returned a function that cannot be serialized with cloudpickle: it holds an AsyncResult. Return"),
        ("app", "returned a tuple that cannot be serialized with cloudpickle: it holds an App. Import it in the"),
        ("generator", "returned a generator that cannot be serialized with cloudpickle. Convert it to a list"),
    ],
)
async def test_an_object_of_aiotask_is_named_with_what_to_return_instead(kind: str, said: str, stage: Stage) -> None:
    async with stage.app:
        with pytest.raises(SerializationError) as caught:
            await stage.returns.apply_async(kind)
    assert said in str(caught.value)


# ---- in blocks and threads


@pytest.mark.parametrize("kind", ["frozen", "closed", "frozen slots", "guarded", "own note", "touchy", "false"])
async def test_an_exception_that_lets_nothing_be_set_leaves_the_block_of_a_worker(kind: str, app_name: str) -> None:
    app = App(app_name, url="memory://")

    @app.task
    def fail() -> None:
        raise SENT[kind]()

    expected = arrived(SENT[kind]())
    with pytest.raises(BaseException) as caught:
        async with app.inspector(), app.worker():
            await fail.apply_async()
    assert arrived(caught.value) == expected


# ---- the soft limit


@pytest.mark.parametrize("catches", ["raises on", "returns"])
async def test_a_sync_task_sees_interrupted_at_its_limit_and_tidies_up(
    catches: str, stage: Stage, tmp_path: Path
) -> None:
    async with stage.app:
        with pytest.raises(JobTimeout, match=r"ran longer than its limit of 0\.1 s"):
            await stage.tidies_up.apply_async(str(tmp_path / "seen"), catches)
    assert (tmp_path / "seen").read_text() == "Interrupted finally"
