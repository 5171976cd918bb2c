"""``aiotask demo --web``: a service that is at work, and its dashboard, until Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import demo_library as library
from .demo_run import source_files, stdlib

if TYPE_CHECKING:
    from .demo_workers import DemoWorkers

__all__ = ["free_port", "keep_busy", "run_web"]

#: Seconds between two rounds of sending.
_ROUND = 1.0
#: Pending jobs from which on a round sends none.
_MOST_PENDING = 300


def run_web(processes: int, history: Path, url: str | None) -> None:
    """Start workers and the dashboard, and send jobs until this process is interrupted."""
    from aiotask.contrib.web import Local, Settings
    from aiotask.contrib.web.serve import site_for
    from aiotask.ops.connection import Place

    from .demo_workers import demo_workers, run_until_signalled

    port = free_port()
    settings = Settings(result_db=str(history), loopback=True)
    _, app = site_for(Place(library.app.name, url), Local(), settings, "")
    arguments = [library.__name__, "--concurrency", str(processes), "--result-db", str(history)]
    with demo_workers(arguments) as workers:
        run_until_signalled(_serve(app, port, workers))


async def _serve(app: Any, port: int, workers: DemoWorkers) -> None:
    import uvicorn

    config = uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning", proxy_headers=False)
    server = uvicorn.Server(config)
    # Ctrl-C is the demo's: it ends the workers, too.
    serving = asyncio.create_task(server._serve())
    print(f"The dashboard of a service at work: http://127.0.0.1:{port}/  (Ctrl-C ends both)", flush=True)
    try:
        await keep_busy(workers)
    finally:
        server.should_exit = True
        await serving


async def keep_busy(workers: DemoWorkers | None = None, rounds: int | None = None) -> None:
    """Send jobs of every kind, round by round.

    Args:
        workers: checked in each round; None: somebody else runs them.
        rounds: how many; None: for ever.
    """
    files, folders = source_files(), [stdlib(), *(str(Path(stdlib(), name)) for name in ("asyncio", "json", "email"))]
    chance = random.Random(7)
    async with library.app, library.app.inspector() as inspector:
        number = 0
        while rounds is None or number < rounds:
            if workers is not None:
                workers.check()
            # A machine that is busy with other things gets no more than it can do.
            if (await inspector.stats()).pending < _MOST_PENDING:
                _send(number, files, folders, chance)
                await library.app.flush()
            number += 1
            await asyncio.sleep(_ROUND)


def _send(number: int, files: list[str], folders: list[str], chance: random.Random) -> None:
    """One round: some jobs of each kind, and now and then one that fails, one that takes long, and a graph."""
    for path in chance.sample(files, 8):
        library.measure.apply_async(path)
        library.digest.apply_async(path)
    for path in chance.sample(files, 3):
        library.compress.apply_async(path, level=chance.randint(1, 9))
    if number % 3 == 0:
        library.parse.apply_async(chance.choice(files))
        library.sign_in.apply_async("ada", password="not for your eyes")
    if number % 10 == 0:
        library.survey.apply_async(chance.choice(folders))
        library.measure.options(delay=600.0).apply_async(chance.choice(files))
    if number % 30 == 5:
        library.words.apply_async(chance.choice(folders))
    if number % 60 == 7:
        library.index.apply_async(stdlib())
    if number == 12:
        library.crash.apply_async(files[0])


def free_port() -> int:
    """8787, or another port that is free if that is taken."""
    for port in (8787, 0):
        with socket.socket() as test, contextlib.suppress(OSError):
            # A port that was in use a moment ago is free for a server, too.
            test.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            test.bind(("127.0.0.1", port))
            return int(test.getsockname()[1])
    return 8787
