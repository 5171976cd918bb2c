"""Jobs and addresses that these tests send, and what they ask of them."""

from __future__ import annotations

import time
from typing import Any

from typer.testing import CliRunner

from aiotask import App
from aiotask.broker import Push
from aiotask.job import WIRE_VERSION, Job, encode_job, ids
from aiotask.results.result import AsyncResult
from aiotask.wire.seal import Sealer
from aiotask_cli.main import app as command_line

#: No server listens at this port, and only this machine could run one there.
NOWHERE = "redis://127.0.0.1:1"
#: An address that RFC 5737 reserves for documentation: no test may send anything to it.
AFAR = "redis://user:hunter2@192.0.2.1:6379/0"


def add(a: int, b: int = 1) -> int:
    return a + b


async def push_by_hand(
    app: App, body: bytes, *, task: str, seal: Any = None, version: int = WIRE_VERSION
) -> AsyncResult[Any]:
    """A handle on a job that no client of aiotask would send."""
    session = app.client.session()
    job = Job(version, ids.next(), task, "default", body, 5, time.time(), session.address)
    sealed = (seal or Sealer(app.secrets, "job").seal)(encode_job(job))
    await session.broker.push(f"by-hand-{job.id}", 1, [Push(job.id, "default", 5, sealed)])
    return app.result(job.id)


def output_of(*arguments: str) -> str:
    return CliRunner().invoke(command_line, arguments, prog_name="aiotask").output


async def has_status(result: AsyncResult[Any], status: str) -> bool:
    return await result.status() == status
