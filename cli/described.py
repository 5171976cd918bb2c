"""What is said of a job without loading what it carries, for people and programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from .output import ago, call_text, console, plain

if TYPE_CHECKING:
    from aiotask.inspector import DeadLetter

    from .connection import Connection

__all__ = ["coloured", "described_letter", "opened_job", "opened_outcome", "show_one"]


def described_letter(connection: Connection, letter: DeadLetter) -> dict[str, Any]:
    """All that can be said of a dead letter."""
    found = {"app": connection.app.name, "id": letter.id, "status": "FAILED", "dead_at": letter.at}
    return found | opened_job(connection, letter.job) | opened_outcome(connection, letter.outcome)


def opened_job(connection: Connection, sealed: bytes) -> dict[str, Any]:
    """What an envelope says, or why it cannot be read here."""
    from aiotask.errors import SealError
    from aiotask.job import decode_job
    from aiotask.wire.plaintext import plain_text
    from aiotask.wire.seal import Sealer

    try:
        job = decode_job(Sealer(connection.app.secrets, "job").open(sealed))
    except SealError as error:
        return {"sealed": str(error)}
    return {
        "task": job.task,
        "queue": job.queue,
        "priority": job.priority,
        "sent_at": job.sent_at,
        "retries": job.retries,
        "timeout": job.timeout,
        "result_ttl": job.result_ttl,
        "arguments": json.loads(plain_text(job.body)),
    }


def opened_outcome(connection: Connection, sealed: bytes) -> dict[str, Any]:
    """The same of an outcome."""
    from aiotask.errors import SealError
    from aiotask.outcome import decode_outcome
    from aiotask.wire.plaintext import plain_text
    from aiotask.wire.seal import Sealer

    try:
        outcome = decode_outcome(Sealer(connection.app.secrets, "outcome").open(sealed))
    except SealError as error:
        return {"outcome": str(error)}
    found: dict[str, Any] = {
        "task": outcome.task,
        "status": outcome.status.value,
        "attempt": outcome.attempt,
        "worker": outcome.worker,
        "started_at": outcome.started_at or None,
        "finished_at": outcome.finished_at or None,
    }
    if outcome.value is not None:
        found["value"] = json.loads(plain_text(outcome.value))
    if outcome.error is not None:
        found["error"] = f"{outcome.error.type.removeprefix('builtins.')}: {outcome.error.message}"
        found["traceback"] = outcome.error.traceback
    return found


# ---- for people

_COLOURS = {"RUNNING": "green", "SUCCESS": "green", "FAILED": "red", "PARKED": "yellow", "RETRYING": "yellow"}


def coloured(status: str) -> str:
    """A status for a terminal."""
    colour = _COLOURS.get(status)
    return f"[{colour}]{status}[/{colour}]" if colour else status


def show_one(job: dict[str, Any]) -> None:
    """One job line by line, its traceback last."""
    from aiotask.log.events import in_words

    terminal = console()
    for key, value in job.items():
        if key == "traceback" or value is None or value == "":
            continue
        if key.endswith("_at"):
            shown = f"{_moment(value)} ({ago(value)})"
        elif key in ("timeout", "result_ttl"):
            shown = in_words(value)
        elif key == "status":
            shown = coloured(value)
        elif key == "arguments":
            shown = plain(call_text(value), 500)
        else:
            shown = plain(value, 500) if len(lines := str(value).splitlines()) < 2 else _indented(lines)
        terminal.print(f"{key.removesuffix('_at'):<12} {shown}", soft_wrap=True)
    if job.get("started_at") and job.get("finished_at"):
        terminal.print(f"{'took':<12} {in_words(max(job['finished_at'] - job['started_at'], 0))}")
    if job.get("traceback"):
        terminal.print()
        for line in job["traceback"].splitlines():
            terminal.print(plain(line, 1000), soft_wrap=True)


def _indented(lines: list[str]) -> str:
    return "\n".join([plain(lines[0], 1000), *(f"{'':<12} {plain(line, 1000)}" for line in lines[1:])])


def _moment(at: float) -> str:
    import datetime

    return datetime.datetime.fromtimestamp(at).astimezone().isoformat(sep=" ", timespec="milliseconds")
