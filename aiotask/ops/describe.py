"""Jobs, outcomes, dead letters, queues, workers and servers as values that JSON can hold.

Arguments and return values are shown as plain text: nothing that a job carries is unpickled.
"""

from __future__ import annotations

import json
from typing import Any

from msgspec import to_builtins
from msgspec.structs import asdict

from ..embedded.server import EmbeddedServer
from ..errors import SealError
from ..history.resultdb import JobRecord
from ..inspector import DeadLetter, JobInfo, QueueInfo, WorkerInfo
from ..job import Attempt, Job, More, decode_job
from ..outcome import decode_outcome
from ..tasks.limits import key_words
from ..values.flow import unpack_ids
from ..values.hidden import Hidden
from ..wire.plaintext import plain_text
from ..wire.seal import Sealer
from .connection import Connection

__all__ = [
    "MOST_DEPS",
    "describe_embedded",
    "describe_job",
    "describe_letter",
    "describe_outcome",
    "describe_queue",
    "describe_record",
    "describe_sealed",
    "describe_worker",
    "read_json",
]


#: Ids of jobs upstream of one job that are shown at most.
MOST_DEPS = 1000


# ---- what is on the server


def describe_job(connection: Connection, info: JobInfo) -> dict[str, Any]:
    """A job on the server: where it stands, its envelope, and its outcome if it has ended."""
    job: dict[str, Any] = {
        "app": connection.name,
        "id": info.id,
        "status": info.status.value,
        "attempt": info.meta.attempt,
    }
    if info.meta.deaths:
        job |= {"deaths": info.meta.deaths, "last_death": info.meta.reason}
    if info.meta.trail:
        job["trail"] = _trail_of(info.meta.trail)
    if info.sealed is not None:
        job |= describe_sealed(connection, info.sealed)
    if info.need:
        job["needs"] = info.need
    if info.ahead is not None:
        job["ahead"] = info.ahead
    for key, value in (("due_at", info.due_at), ("worker", info.worker)):
        if value:
            job[key] = value
    if info.outcome is not None:
        job |= describe_outcome(connection, info.outcome)
    return job


def describe_letter(connection: Connection, letter: DeadLetter) -> dict[str, Any]:
    """A dead letter: when it was added, its job and its outcome."""
    found = {"app": connection.name, "id": letter.id, "status": "FAILED", "dead_at": letter.at}
    return found | describe_sealed(connection, letter.job) | describe_outcome(connection, letter.outcome)


def describe_sealed(connection: Connection, sealed: bytes) -> dict[str, Any]:
    """The envelope of a job, or the reason why it cannot be opened here."""
    try:
        job = decode_job(Sealer(connection.secrets, "job").open(sealed))
    except SealError as error:
        return {"sealed": str(error)}
    which = {"task": job.task, "queue": job.queue, "priority": job.priority, "sent_at": job.sent_at}
    if connection.app is None:
        # Rows have no arguments, and their other options are those of their class.
        return which
    more = job.more or More()
    described = {
        **which,
        "expires_at": _expires_at(job, more),
        "retries": job.retries,
        "timeout": job.timeout,
        "result_ttl": job.result_ttl,
        "arguments": connection.hidden.call(json.loads(plain_text(job.body)), job.task),
    }
    if more.limit:
        described["limit"] = key_words(more.limit, job.task)
    if more.parent:
        described["parent"] = more.parent
    if trace := _trace_id(more):
        described["trace"] = trace
    if more.flow is not None:
        described |= {"graph": more.flow.graph, "deps": unpack_ids(more.flow.upstream)[:MOST_DEPS]}
    return described


def _trace_id(more: More) -> str:
    """The id of the trace that a job is part of, as its header ``traceparent`` says; empty: it has none."""
    parts = str((more.headers or {}).get("traceparent", "")).split("-")
    return parts[1] if len(parts) >= 4 and len(parts[1]) == 32 else ""


def _expires_at(job: Job, more: More) -> float | None:
    """When a job expires, as far as its envelope tells; of a node that waits for others it does not."""
    if more.expires >= 0:
        return more.expires or None
    waits = more.flow is not None and more.flow.upstream
    return None if waits else job.sent_at - more.expires


def describe_outcome(connection: Connection, sealed: bytes) -> dict[str, Any]:
    """The outcome of a job, or the reason why it cannot be opened here."""
    try:
        outcome = decode_outcome(Sealer(connection.secrets, "outcome").open(sealed))
    except SealError as error:
        return {"outcome": str(error)}
    found: dict[str, Any] = {
        "task": outcome.task,
        "status": outcome.status.value,
        "attempt": outcome.attempt,
        "worker": outcome.worker,
        # Of a row, the moment is not kept.
        "started_at": (outcome.started_at or None) if connection.app is not None else None,
        "finished_at": outcome.finished_at or None,
    }
    if outcome.graph:
        found["graph"] = outcome.graph
    if outcome.value is not None:
        found["value"] = connection.hidden.value(json.loads(plain_text(outcome.value)))
    if outcome.error is not None:
        found["error"] = f"{outcome.error.type.removeprefix('builtins.')}: {outcome.error.message}"
        found["traceback"] = outcome.error.traceback
        if trail := outcome.error.trail:
            found["trail"] = _trail_of(trail)
            if deaths := sum(run.how == "died" for run in trail):
                found["deaths"] = deaths
    return found


def _trail_of(trail: tuple[Attempt, ...]) -> list[list[Any]]:
    return [list(to_builtins(run)) for run in trail]


def describe_queue(queue: QueueInfo) -> dict[str, Any]:
    """The counts of a queue."""
    described = asdict(queue)
    if not described["estimates"]:
        del described["estimates"]
    return described


def describe_worker(worker: WorkerInfo) -> dict[str, Any]:
    """A live worker, with the facts that it registered."""
    return asdict(worker)


# ---- what is in the history file


def describe_record(record: JobRecord, hidden: Hidden) -> dict[str, Any]:
    """A finished job: the columns of the history file without the sealed bytes."""
    row = {name: value for name, value in asdict(record).items() if name not in ("job", "outcome")}
    row |= {name: read_json(row[name]) for name in ("arguments", "result", "trail")}
    return row | {"arguments": hidden.call(row["arguments"], row["task"]), "result": hidden.value(row["result"])}


def read_json(text: str | None) -> Any:
    """The value in a column of JSON; the text itself where an earlier release wrote something else."""
    try:
        return None if text is None else json.loads(text)
    except ValueError:
        return text


# ---- the embedded server


def describe_embedded(server: EmbeddedServer, info: dict[str, str] | None = None) -> dict[str, Any]:
    """The embedded server.

    Args:
        info: what the server says of itself (INFO); with it, uptime (seconds), memory (bytes) and counts are added.
    """
    found = {
        "running": True,
        "started": server.started,
        "url": server.url,
        "pid": server.pid,
        "kind": server.kind,
        "version": server.version,
        "directory": str(server.directory),
    }
    return found if info is None else found | _numbers(info)


def _numbers(info: dict[str, str]) -> dict[str, int]:
    keyspaces = (value for name, value in info.items() if name.startswith("db") and value.startswith("keys="))
    return {
        "uptime": int(info["uptime_in_seconds"]),
        "memory": int(info["used_memory"]),
        "keys": sum(int(value.split(",")[0].removeprefix("keys=")) for value in keyspaces),
        "clients": int(info["connected_clients"]),
        "aof_size": int(info.get("aof_current_size", 0)),
    }
