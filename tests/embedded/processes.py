"""Processes that start, use and kill embedded servers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from aiotask.embedded import server as embedded
from aiotask.embedded.state_directory import StateDirectory

from ..helpers import wait_until

ENSURE = """
import json
from aiotask.embedded.server import ensure
server = ensure()
print(json.dumps({"pid": server.pid, "started": server.started, "secret": server.secret}))
"""


@contextmanager
def client(server: embedded.EmbeddedServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.url, decode_responses=True) as connection:
        yield connection


def python(code: str, **changed: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(embedded.__file__).parents[2]), **changed},
    )


def kill(server: embedded.EmbeddedServer) -> None:
    os.kill(server.pid, signal.SIGKILL)
    wait_until(lambda: not StateDirectory.locate(server.directory).alive(), description="the killed server is gone")


def redis_path(server: embedded.EmbeddedServer) -> str:
    with client(server) as connection:
        path: str = connection.connection_pool.connection_kwargs["path"]
    return path
