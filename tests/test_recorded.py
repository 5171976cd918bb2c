"""What the release before wrote is read as it was meant: envelopes, outcomes, counters, control messages, frames."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode
from pathlib import Path
from typing import Any

import msgspec
import pytest

from aiotask import App, Task
from aiotask.broker import Notice, Push
from aiotask.brokers.redis.codec import decode_meta, frames
from aiotask.job import Job, Meta, Obituary, decode_job, encode_job
from aiotask.outcome import decode_outcome
from aiotask.results.result import AsyncResult
from aiotask.signature import Signature
from aiotask.wire.control import Control
from aiotask.wire.error_info import error_of
from aiotask.wire.seal import Sealer
from aiotask.wire.serializer import serializer_named

from .helpers import wait_until_async
from .recorded import shop

RECORDED: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "recorded/release_before.json").read_text())
PICKLE = serializer_named("cloudpickle")
#: Fields of an envelope as they were: the array ended with ``due_at``.
FIELDS_BEFORE = 12


def job_named(name: str) -> Job:
    return decode_job(Sealer(["recorded"], "job").open(b64decode(RECORDED["jobs"][name]["sealed"])))


CALLS = {
    "plain": ((1,), {}),
    "options": (("me",), {"body": {"a": [1, b"x", None]}}),
    "keyed": ((7,), {}),
    "delayed": ((1,), {"y": 3}),
    "by_name": ((1, 2), {}),
    "failed": (("plain",), {}),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_is_read(name: str) -> None:
    job = job_named(name)

    assert PICKLE.load_call(job.body, None) == CALLS[name]
    assert (job.id, job.queue, job.priority) == tuple(
        RECORDED["jobs"][name][key] for key in ("id", "queue", "priority")
    )
    assert job.more is None


def test_options_of_a_call_are_read() -> None:
    job = job_named("options")

    assert (job.version, job.id, job.task) == (1, "chosen", "tests.recorded.shop:send_mail")
    assert (job.queue, job.priority, job.retries, job.timeout, job.result_ttl) == ("fast", 0, 1, 9.0, 60.0)
    assert job_named("delayed").due_at == pytest.approx(job_named("delayed").sent_at + 3600)


def test_a_task_and_a_signature_that_travel_are_read() -> None:
    (task,), _ = PICKLE.load_call(job_named("task").body, None)
    (signature,), _ = PICKLE.load_call(job_named("signature").body, None)

    assert isinstance(task, Task) and task.definition is shop.add.definition
    assert isinstance(signature, Signature)
    assert (signature.task, signature.args) == ("tests.recorded.shop:add", (4, 5))


def test_a_call_as_json_is_read() -> None:
    serializer = serializer_named("json")

    assert serializer.load_call(job_named("json_plain").body, None) == ((1,), {})


def test_a_plain_job_is_as_it_was_but_for_one_byte() -> None:
    for name in RECORDED["jobs"]:
        before = Sealer(["recorded"], "job").open(b64decode(RECORDED["jobs"][name]["sealed"]))
        now = encode_job(decode_job(before))

        assert msgspec.msgpack.decode(now) == [*msgspec.msgpack.decode(before), None]
        assert (before[0], now[0]) == (0x90 + FIELDS_BEFORE, 0x90 + FIELDS_BEFORE + 1)
        assert len(now) == len(before) + 1


VALUES = {"plain": 3, "options": "me: {'a': [1, b'x', None]}", "keyed": 9, "by_name": 3}


@pytest.mark.parametrize("name", VALUES)
def test_an_outcome_is_read(name: str) -> None:
    recorded = RECORDED["outcomes"][name]
    outcome = decode_outcome(Sealer(["recorded"], "outcome").open(b64decode(recorded["sealed"])))

    assert (outcome.id, outcome.status, outcome.attempt) == (recorded["id"], "SUCCESS", 1)
    assert outcome.value is not None and PICKLE.load_value(outcome.value, None) == VALUES[name]
    assert outcome.finished_at >= outcome.started_at > 1e9


def error_named(name: str) -> Exception:
    outcome = decode_outcome(Sealer(["recorded"], "outcome").open(b64decode(RECORDED["outcomes"][name]["sealed"])))
    return error_of(outcome, PICKLE)


def test_errors_are_read() -> None:
    plain = error_named("failed")
    assert isinstance(plain, shop.ShopError) and (plain.args, plain.code) == ((7, "seven"), 7)
    group = error_named("failed_group")
    assert isinstance(group, ExceptionGroup)
    assert [repr(each) for each in group.exceptions] == ["ShopError(1, 'one')", "KeyError('k')"]
    after = error_named("failed_cause")
    assert isinstance(after, ValueError) and isinstance(after.__cause__, shop.ShopError)
    assert "Remote traceback" in after.__notes__[0]


METAS = {
    "first": Meta(),
    "third": Meta(3),
    "dead": Meta(2, 1, "SIGKILL", Obituary(9, 0, 12_000_000, "stack", "stderr")),
    "replayed": Meta(1, 0, "", None, 1_700_000_000_000),
}


@pytest.mark.parametrize("name", METAS)
def test_counters_are_read(name: str) -> None:
    assert decode_meta(b64decode(RECORDED["metas"][name]["bytes"])) == METAS[name]
    assert decode_meta(b64decode(RECORDED["metas"][name]["full"])) == METAS[name]


def test_control_messages_and_frames_are_read() -> None:
    control = Control(["recorded"], "recorded")
    ask = control.open_ask(b64decode(RECORDED["control"]["ask"]))
    answer = control.open_answer(b64decode(RECORDED["control"]["answer"]))

    assert (ask.id, ask.reply) == ("q-1", "client.1")
    assert (answer.host, answer.note, answer.processes[0]["name"]) == ("host-1", "note", "worker-1")
    assert frames(b64decode(RECORDED["frames"]["outcome"])) == [Notice("id-1", b"outcome")]
    assert frames(b64decode(RECORDED["frames"]["look"])) == [Notice("id-2")]


async def test_recorded_jobs_run(redis_url: str) -> None:
    """Put into a queue as they were, and run by a worker of this release."""
    app = App("recorded", url=redis_url, secret="recorded")
    for task in (shop.add, shop.send_mail, shop.call, shop.fail):
        app.register_task(task.func, name=task.name)
    names = ("plain", "options", "by_name", "failed")
    jobs = {name: RECORDED["jobs"][name] for name in names}
    async with app, app.worker(queues=["default", "fast"]):
        broker = app.client.session().broker
        pushes = [Push(job["id"], job["queue"], job["priority"], b64decode(job["sealed"])) for job in jobs.values()]
        await broker.push("recorded.1", 1, pushes, None, [])
        found: dict[str, AsyncResult[Any]] = {name: app.result(job["id"]) for name, job in jobs.items()}

        async def have_ended() -> bool:
            return all([await result.status() in ("SUCCESS", "FAILED") for result in found.values()])

        await wait_until_async(have_ended, description="the recorded jobs have ended")
        ended = await asyncio.gather(*(result.wait(30) for result in found.values()), return_exceptions=True)
        for result in found.values():
            await result.forget()
    assert ended[:3] == [3, "me: {'a': [1, b'x', None]}", 3]
    assert isinstance(ended[3], shop.ShopError)
