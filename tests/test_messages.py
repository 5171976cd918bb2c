"""The messages between supervisor, workers and keeper: what is written is read, whole, in pieces and amid noise."""

from __future__ import annotations

import json
import logging
import os
from typing import get_args

import pytest

from aiotask.daemon.app_facts import AppFacts
from aiotask.daemon.board import SharedBoard, unpack_ring
from aiotask.daemon.messages import (
    Booted,
    DeclaredDead,
    Done,
    Drain,
    DumpStacks,
    HostAnswer,
    HostRequest,
    InService,
    JobState,
    Keeping,
    Leave,
    LoadFailed,
    LoopBroke,
    LostApp,
    Message,
    OnlyKeeper,
    Oversized,
    ProcessState,
    ReportSuspended,
    Retire,
    Snapshot,
    SnapshotRequest,
    Steered,
    SuspendedJob,
    SuspendedJobs,
    ThreadState,
    WantsReplacement,
    WorkerDeath,
    encode,
    read_messages,
    send_message,
)
from aiotask.job import Obituary
from aiotask.worker.stacks import Frame

FRAMES = [Frame("/srv/shop/tasks.py", 12, "render"), Frame("/srv/caf\udce9.py", 3, "main")]
SHOP = AppFacts(
    name="shop",
    address="redis://:secret@db/0",
    url="redis://:***@db/0",
    secrets=["one", "two"],
    embedded=True,
    tasks=["shop.tasks:render"],
    queues=["default", "größer"],
    needs=["task:shop.tasks:render", "python:3.12"],
    result_db="/srv/history.db",
    result_db_age=float("inf"),
    result_db_size=2**40,
)
DEATH = WorkerDeath(
    incarnation="host.3",
    reason="signal 11 (SIGSEGV)",
    blame=("a", "b"),
    waited=("c",),
    recent=bytes(range(256)),
    overdue={"a": -1.0},
    exceeded={"a": ("memory", "took 2 GB")},
    obituary=Obituary(11, 0, 123_456_789, "a stack\nof lines", "\x1b[31mlast words\udc80"),
)
PROCESSES = [
    ProcessState("supervisor", 7, threads=[ThreadState("other", FRAMES)]),
    ProcessState("worker-1", 8, ["host.1"], 0.0, [], [JobState("a", "shop.tasks:render", 1.5, True, FRAMES)]),
]
MESSAGES: list[Message] = [
    Booted([SHOP]),
    LoadFailed("SyntaxError: no", False),
    InService(app="shop", server="valkey 8.1", durability="none", pending=3, warnings=["it forgets"]),
    Oversized(2**33),
    WantsReplacement(2**31, 2**30),
    Done(["the task poll (shop/tasks.py:3)"]),
    LoopBroke("KeyboardInterrupt"),
    SuspendedJobs([SuspendedJob("a", FRAMES)]),
    DeclaredDead(),
    Keeping(),
    SnapshotRequest("1"),
    Drain(),
    ReportSuspended(),
    Steered(),
    HostRequest("3", "0123", "drain", "ada", 1.5),
    HostAnswer("3", True, "It takes no new jobs."),
    DumpStacks(),
    DEATH,
    OnlyKeeper(),
    Leave([DEATH, DEATH]),
    Retire([LostApp("shop", "redis://db/0", True)], []),
    Snapshot("1", PROCESSES),
]


def test_every_message_has_an_example_here() -> None:
    assert {type(message) for message in MESSAGES} == set(get_args(Message))
    assert len(MESSAGES) == len(get_args(Message))


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_what_is_written_is_read(message: Message) -> None:
    line = encode(message)
    assert line.count(b"\n") == 1 and line.endswith(b"\n")
    (read,) = read_messages(bytearray(), line)
    assert read == message and type(read) is type(message)


def test_a_stream_may_come_in_pieces_of_any_size() -> None:
    stream = b"".join(map(encode, MESSAGES))
    for size in (1, 7, 1000):
        buffer = bytearray()
        pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
        assert [message for piece in pieces for message in read_messages(buffer, piece)] == MESSAGES
        assert not buffer


NOISE = {
    "a message of a later release": b'{"type": "Promote", "rank": 1}',
    "another shape of a known message": b'{"type": "Oversized", "size": "large"}',
    "a message without what it needs": b'{"type": "Oversized"}',
    "no type": b'{"size": 1}',
    "no object": b"[1, 2]",
    "a print of user code": b"hello, world",
    "no text": b"\xff\xfe\x00",
    "an empty line": b"",
    "as deep as the stack": b"[" * 100_000,
}


@pytest.mark.parametrize("noise", NOISE.values(), ids=NOISE)
def test_what_is_no_message_is_left_out_and_the_next_one_is_read(
    noise: bytes, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("aiotask"), "propagate", True)
    caplog.set_level(logging.DEBUG)
    assert read_messages(bytearray(), encode(Drain()) + noise + b"\n" + encode(Keeping())) == [Drain(), Keeping()]
    (record,) = caplog.records
    assert record.levelno == logging.DEBUG and "was ignored" in record.getMessage()


def test_the_log_keeps_the_secrets_of_a_message_that_is_not_understood(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("aiotask"), "propagate", True)
    caplog.set_level(logging.DEBUG)
    facts = json.loads(encode(Booted([SHOP])))
    facts["apps"][0]["tasks"] = None
    assert read_messages(bytearray(), json.dumps(facts).encode() + b"\n") == []
    assert "was ignored" in caplog.text and "secret" not in caplog.text


def test_a_later_release_may_say_more() -> None:
    fields = {**json.loads(encode(Oversized(5))), "since": 1.5}
    assert read_messages(bytearray(), json.dumps(fields).encode() + b"\n") == [Oversized(5)]


def test_the_jobs_that_a_worker_has_started_travel_with_its_death() -> None:
    board = SharedBoard(1)
    board.start(0, "first", 0.0, -1.0)
    death = WorkerDeath(incarnation="host.1", reason="exit code 1", recent=board.ring(), obituary=Obituary())
    (read,) = read_messages(bytearray(), encode(death))
    assert isinstance(read, WorkerDeath)
    assert unpack_ring(read.recent) == {hash("first")}


def test_a_reader_that_is_gone_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    send_message(writing, Keeping())
    os.close(writing)
