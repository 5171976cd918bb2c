"""Text that should do nothing wherever it is shown, and what puts it wherever a server takes text."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import cast

import msgspec
import pytest

from aiotask import App
from aiotask.broker import Finish, Push
from aiotask.brokers import audit_of, connect, schedules_of
from aiotask.brokers.limits import Limits
from aiotask.brokers.schedules import Declaration
from aiotask.job import WIRE_VERSION, Attempt, Job, More, Status, encode_job
from aiotask.outcome import ErrorInfo, Outcome, encode_outcome
from aiotask.parts.schedules import spec_of
from aiotask.values.limit import LimitSpec
from aiotask.values.schedule import digest
from aiotask.wire.scheduled import Declared, ScheduledCall, Schedules
from aiotask.wire.seal import Sealer
from aiotask.wire.serializer import serializer_named

__all__ = ["ORDINARY", "PAYLOADS", "payloads", "spoil"]

PAYLOADS = {
    "script": "<script>alert(1)</script>",
    "image": '"><img src=x onerror=alert(1)>',
    "link": "javascript:alert(1)",
    "textarea": "</textarea><svg/onload=alert(1)>",
    "template": "{{7*7}}{% raw %}",
    "literal": "${7*7}`alert(1)`",
    "direction": "\u202egnp.exe\u2066",
    "control": "\x00\x1b[31m\x9b",
    "long": "x" * 1_000_000,
    "header": "%0d%0aSet-Cookie: a=b\r\nSet-Cookie: c=d",
}
#: One of each kind for the ordinary run: tags, what a console obeys, what is too long.
ORDINARY = ("image", "control", "long")
_ALIKE = pytest.mark.full_only("this text goes the same way as another one of its kind")


def payloads(*names: str, ordinary: Collection[str] = ORDINARY) -> list[object]:
    """Names of payloads as parameters; those that are not ordinary are for the full run."""
    return [pytest.param(name, marks=() if name in ordinary else _ALIKE) for name in names]


#: Characters of a name: the broker keeps longer ones, but a page of 1 MB per name is not what this is about.
_NAME = 150


async def spoil(app: App, text: str) -> list[str]:
    """Put the text wherever the server takes it: task, queue, id, arguments, headers, limit, error, traceback, earlier
    attempts, facts of a worker, schedule."""
    name = text[:_NAME]
    broker = connect(app.url, app.name)
    await broker.open()
    jobs, outcomes = Sealer(app.secrets, "job"), Sealer(app.secrets, "outcome")
    body = serializer_named("cloudpickle").dump_call(((text, {text[:99]: [text]}), {name: text}), None)
    ids = [name, f"dead-{name}", f"run-{name}"]
    queue = name.replace("\x00", "0")
    for number, id in enumerate(ids, 1):
        # Only 32 characters are taken for the id of a trace.
        headers = {name: text[:999], "traceparent": f"00-{text[:32].ljust(32, '<')}-{name}-01"}
        more = More(parent=name, headers=headers, limit=f"{name}:{name}" if number == 1 else "")
        job = Job(WIRE_VERSION, id, name, queue, body, sent_at=time.time(), more=more)
        await broker.push(f"spoiler-{number}", 1, [Push(id, queue, 5, jobs.seal(encode_job(job)), custom=True)])
    limit = LimitSpec(name.replace(":", "."), max_running=1, task=name)
    await cast("Limits", broker).declare_limits(time.time(), name, [limit])
    every = spec_of({"every": 3600.0}, "it")
    declared = Declared(WIRE_VERSION, app.name, name, every, ScheduledCall(WIRE_VERSION, name, queue, body), name)
    schedule = Declaration(name, Schedules(app.secrets, app.name).seal(declared), digest(every), every.horizon)
    await schedules_of(broker).set_schedules([schedule])
    facts = {
        "host": name,
        "queues": [queue],
        "tasks": [name],
        "python": name,
        "pid": name,
        "release": name,
        "order": name,
    }
    host = f"host{name}"
    await broker.enlist(f"{host}.1", host, msgspec.msgpack.encode(facts))
    # A claim takes jobs of some bytes at most, so one of 1 MB each is all that it takes.
    taken = [await broker.claim(f"{host}.1", [queue], [], 1) for _ in range(2)]
    for delivery in taken[1].deliveries:
        earlier = tuple(Attempt(1.0, name, how, name) for how in ("retried", name))
        error = ErrorInfo(name, text, text, trail=earlier)
        ended = Outcome(WIRE_VERSION, delivery.id, name, Status.FAILED, 1, host, 1.0, 2.0, None, error)
        sealed = outcomes.seal(encode_outcome(ended))
        await broker.finish(f"{host}.1", [Finish(delivery, sealed, Status.FAILED, 600.0, dead=True)])
    await audit_of(broker).note_action(b"forged" + text[:50].encode("utf-8", "replace"))
    await broker.close()
    return ids
