"""A dashboard that serves over HTTP, started as users start it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import httpx

from ..helpers import wait_until
from ..workers import ROOT

__all__ = ["serving"]


@contextmanager
def serving(name: str, env: Mapping[str, str]) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The address of a dashboard of this app, and its process, which ends with the block."""
    with socket.socket() as test:
        test.bind(("127.0.0.1", 0))
        port = test.getsockname()[1]
    web = subprocess.Popen(
        [sys.executable, "-m", "aiotask_cli", "web", "--port", str(port), "--name", name],
        env={**os.environ, **env},
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
    )
    base = f"http://127.0.0.1:{port}"

    def there() -> bool:
        try:
            return httpx.get(f"{base}/healthz").status_code == 200
        except httpx.HTTPError:
            return False

    try:
        wait_until(there, description="the dashboard is there")
        yield base, web
    finally:
        web.terminate()
        web.wait(20)
