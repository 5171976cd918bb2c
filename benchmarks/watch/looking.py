"""Drain while 20 browsers and Prometheus look on, beside the drain of nobody looking; the time of the first page."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx

from ..drain import drain
from ..figure import Failed, Figure
from ..plan import Plan
from ..tasks import NAME
from .viewers import PAGES

__all__ = ["measure"]

_VIEWERS = 20
#: Of a rate: long enough for several looks of each viewer.
_JOBS = 300_000
_START_TIMEOUT = 120.0


async def measure(plan: Plan) -> list[Figure]:
    plan.bar.expect(plan.reps)
    tasks, jobs = plan.tasks(), plan.scaled(_JOBS, 2_000)
    alone: list[float] = []
    watched: list[float] = []
    async with tasks.app:
        async with plan.fleet(2, tasks) as workers:
            await drain(plan.server, workers, tasks, 2_000)
            with _dashboard(plan.server.url) as base, _viewers(base) as viewers:
                for round in plan.rounds():
                    for looks in (round % 2 == 0, round % 2 == 1):
                        os.kill(viewers.pid, signal.SIGCONT if looks else signal.SIGSTOP)
                        rate = await drain(plan.server, workers, tasks, jobs)
                        (watched if looks else alone).append(rate)
                os.kill(viewers.pid, signal.SIGCONT)
        first, later = await _pages(plan)
    shares = [with_them / without for with_them, without in zip(watched, alone, strict=True)]
    return [
        Figure("looking", f"drain while {_VIEWERS} browsers look on, of that of nobody looking", "", shares, 0.95),
        Figure("looking", "first page of a dashboard that was just started", "ms", first, 300.0, more=False),
        Figure("looking", "a later look at the overview", "ms", later, 50.0, more=False),
    ]


async def _pages(plan: Plan) -> tuple[list[float], list[float]]:
    """Milliseconds of the first page, and of each later look, while many jobs wait."""
    tasks = plan.tasks()
    first, later = [], []
    async with tasks.app:
        for at in range(plan.scaled(_JOBS, 2_000)):
            tasks.async_noop.apply_async(at)
            if at % 5_000 == 4_999:
                await tasks.app.flush()
        await tasks.app.flush()
    for _ in range(plan.reps):
        with _dashboard(plan.server.url) as base, httpx.Client(base_url=base, timeout=30.0) as client:
            first.append(_time_of(client, {}))
            for _ in range(5):
                later.append(_time_of(client, {"x-part": "main"}))
    return first, later


def _time_of(client: httpx.Client, headers: dict[str, str]) -> float:
    began = time.perf_counter()
    answer = client.get(PAGES[0], headers=headers)
    if answer.status_code != 200:
        raise Failed(f"The overview answered {answer.status_code}.")
    return 1_000 * (time.perf_counter() - began)


@contextlib.contextmanager
def _dashboard(url: str) -> Iterator[str]:
    """A dashboard as users start it."""
    with socket.socket() as test:
        test.bind(("127.0.0.1", 0))
        port = test.getsockname()[1]
    command = [sys.executable, "-m", "aiotask_cli", "web", "--port", str(port), "--url", url, "--name", NAME]
    with _process(command):
        base = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + _START_TIMEOUT
        while True:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{base}/healthz").status_code == 200:
                    break
            if time.monotonic() > deadline:
                raise Failed(f"The dashboard did not answer within {_START_TIMEOUT:g} s.")
            time.sleep(0.05)
        yield base


@contextlib.contextmanager
def _viewers(base: str) -> Iterator[subprocess.Popen[bytes]]:
    with _process([sys.executable, "-m", f"{__package__}.viewers", base, str(_VIEWERS)]) as process:
        yield process


@contextlib.contextmanager
def _process(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
