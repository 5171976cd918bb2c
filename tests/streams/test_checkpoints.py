"""Checkpoints: the next run of a job goes on where the last one has stopped."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from aiotask import App, Status, current_job
from aiotask.brokers import connect, streams_of
from aiotask.errors import SealError, SerializationError
from aiotask.wire.checkpoints import dump_state, load_state, open_checkpoint, seal_checkpoint
from aiotask.wire.seal import Sealer
from aiotask.wire.serializer import serializer_named

from ..helpers import wait_until_async
from .saving import Position, steps_of

#: The checkpoint that the broker has of a job.
Kept = Callable[[str], Awaitable[bytes | None]]


@pytest.fixture
def kept(app: App) -> Kept:
    async def read(id: str) -> bytes | None:
        broker = connect(app.url, app.name)
        [found] = await streams_of(broker).checkpoints([id])
        await broker.close()
        return found

    return read


# ---- runs


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("name", ["saves", "saves_sync", "saves_thread"])
async def test_a_retry_begins_behind_the_last_checkpoint(task: Any, name: str, tmp_path: Path, kept: Kept) -> None:
    result = task(name).apply_async(str(tmp_path), 7)
    assert await result == "done"

    assert steps_of(tmp_path) == ["begin", *map(str, range(1, 8)), "again", "8", "9", "10"]
    assert await kept(result.id) is None


@pytest.mark.usefixtures("worker")
async def test_a_job_that_is_not_run_again_leaves_nothing(task: Any, tmp_path: Path, kept: Kept) -> None:
    result = task("saves").apply_async(str(tmp_path))
    assert await result == "done"

    assert steps_of(tmp_path) == ["begin", *map(str, range(1, 11))]
    assert await kept(result.id) is None


async def test_a_job_that_its_worker_gives_back_goes_on_in_another(app: App, task: Any, tmp_path: Path) -> None:
    async with app.worker() as first:
        result = task("waits").apply_async(str(tmp_path))
        await wait_until_async(lambda: "7" in steps_of(tmp_path), description="the job waits")
        for worker in first._workers:
            worker.abort()
            worker.stop()
        await first.finished()
    (tmp_path / "on").touch()
    async with app.worker():
        assert await result == "done"
    await app.client.close()

    assert steps_of(tmp_path) == ["begin", *map(str, range(1, 8)), "again", "8", "9", "10"]


@pytest.mark.usefixtures("worker")
async def test_a_dead_letter_that_is_replayed_begins_anew(app: App, task: Any, tmp_path: Path, kept: Kept) -> None:
    result = task("fails_for_good").apply_async(str(tmp_path))
    with pytest.raises(ValueError, match="not yet"):
        await result
    assert steps_of(tmp_path) == ["begin", "1", "again", "2"]
    assert await kept(result.id) is None
    (tmp_path / "on").touch()
    broker = connect(app.url, app.name)
    await broker.replay([result.id])
    await broker.close()

    again = app.result(result.id)
    assert await again == "done"
    assert steps_of(tmp_path)[4:] == ["begin", "1"]


@pytest.mark.usefixtures("worker")
async def test_a_job_that_returns_a_call_leaves_nothing(task: Any, tmp_path: Path, kept: Kept) -> None:
    result = task("grows").apply_async(str(tmp_path))
    assert await result is None
    assert await kept(result.id) is None


# ---- states


@pytest.mark.usefixtures("worker")
async def test_a_state_is_any_value_that_the_serializer_writes(task: Any) -> None:
    assert await task("saves_position").apply_async() == "3 ['a', 'b']"
    assert await task("saves_this").apply_async("list") == [1, 2]
    assert await task("saves_this").apply_async("none") is None


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(
    ("name", "args", "said"),
    [
        ("saves_this", ["large"], r"checkpoint has 300,\d+ bytes, and 256,000 at most are kept"),
        ("reads_other_type", [], r"its last checkpoint is list, not dict\[str, int\]"),
    ],
)
async def test_what_cannot_be_kept_or_read_fails_the_job(task: Any, name: str, args: list[Any], said: str) -> None:
    result = task(name).apply_async(*args)
    with pytest.raises(SerializationError, match=said):
        await result
    assert await result.status() is Status.FAILED


def function() -> None: ...


@pytest.mark.parametrize("name", ["cloudpickle", "json"])
def test_what_cannot_be_serialized_is_named(name: str) -> None:
    serializer = serializer_named(name)
    with pytest.raises(SerializationError, match='Task "shop": its checkpoint, a lock, cannot be serialized'):
        dump_state(serializer, "shop", function, threading.Lock())


@pytest.mark.parametrize("name", ["cloudpickle", "json"])
@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ({"step": 7}, dict[str, int]),
        (3, float),
        (Position(3, ["a"]), Position),
        ([1, None], list[int | None]),
        ((1, "a"), tuple[int, str]),
    ],
)
def test_a_state_comes_back_as_its_type(name: str, state: object, kind: Any) -> None:
    serializer = serializer_named(name)
    assert load_state(serializer, "shop", function, dump_state(serializer, "shop", function, state), kind) == state


@pytest.mark.parametrize("name", ["cloudpickle", "json"])
def test_a_state_of_another_type_is_refused(name: str) -> None:
    serializer = serializer_named(name)
    body = dump_state(serializer, "shop", function, {"step": 7})
    assert load_state(serializer, "shop", function, body, None) == {"step": 7}
    with pytest.raises(SerializationError, match=r'Task "shop": its last checkpoint .* Another release of the task'):
        load_state(serializer, "shop", function, body, list[int])


def test_a_checkpoint_belongs_to_its_job_and_task() -> None:
    sealer = Sealer(["test"], "checkpoint")
    sealed = seal_checkpoint(sealer, "job", "shop:task", b"state")
    assert open_checkpoint(sealer, "job", "shop:task", sealed) == b"state"
    for id, task in (("another", "shop:task"), ("job", "shop:other")):
        with pytest.raises(SealError, match="arrived for job"):
            open_checkpoint(sealer, id, task, sealed)
    for kind in ("progress", "job"):
        with pytest.raises(SealError):
            open_checkpoint(Sealer(["test"], kind), "job", "shop:task", sealed)


# ---- elsewhere


def test_outside_a_job_nothing_is_saved() -> None:
    current_job().checkpoint({"step": 1})
    assert current_job().last_checkpoint(dict[str, int]) is None
