"""Code that does not load, and apps that are loaded once for all processes."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from aiotask import App

from ..helpers import wait_until
from ..workers import Workers
from .seen import live_workers
from .source import Source, all_run

BROKEN = {
    "it raises": ("raise RuntimeError('no such luck')", r'Module "versioned" raised RuntimeError .*no such luck'),
    "it ends": ("raise SystemExit(0)", r'Module "versioned" raised SystemExit'),
    "it dies": ("os._exit(0)", "it ended by exit code 0 while it was imported"),
    "it crashes": ("os.abort()", r"it ended by signal 6 \(SIGABRT\)"),
}


@pytest.mark.parametrize(("code", "reason"), BROKEN.values(), ids=BROKEN)
def test_code_that_never_loaded_stops_everything_with_one_reason(
    source: Source, workers: Workers, code: str, reason: str
) -> None:
    source.write("1", more=code)
    supervisor = source.start(workers, 4, wait=False)
    assert supervisor.wait() == 3
    assert supervisor.log.count("The app could not be loaded.") == 1
    assert re.search(reason, supervisor.log)
    assert supervisor.session() == []


def test_a_stop_does_not_wait_for_code_that_is_being_loaded(source: Source, workers: Workers) -> None:
    loading = source.directory / "loading"
    source.write("1", more=f"open({str(loading)!r}, 'w').close()\ntime.sleep(600)")
    supervisor = source.start(workers, 2, "--grace", "600", wait=False)
    wait_until(loading.exists, description="it is being loaded")
    assert supervisor.stop() == 0
    assert supervisor.session() == []


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise RuntimeError('no such luck')", "no such luck"),
        (
            "import threading\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()",
            "The app started a thread while it was imported",
        ),
    ],
    ids=["it raises", "it starts a thread"],
)
def test_an_app_that_cannot_be_preloaded(source: Source, workers: Workers, code: str, reason: str) -> None:
    source.write("1", more=code)
    supervisor = source.start(workers, 2, "--preload", wait=False)
    assert supervisor.wait() == 3
    assert reason in supervisor.log


async def test_a_preloaded_app_is_loaded_once(source: Source, app: App, workers: Workers, tmp_path: Path) -> None:
    seen = tmp_path / "loaded"
    source.write("1", more=f"open({str(seen)!r}, 'a').write(f'{{os.getpid()}}\\n')")
    supervisor = source.start(workers, 2, "--preload")
    await live_workers(app, 2)
    await all_run(app, "1")
    assert seen.read_text() == f"{supervisor.pid}\n"
    supervisor.signal(signal.SIGHUP)
    said = "with the same code, since the app was preloaded"
    wait_until(lambda: said in supervisor.log, description="it says what that means")
    assert supervisor.stop() == 0


async def test_a_module_that_breaks_later_is_tried_again_until_it_loads(
    source: Source, app: App, workers: Workers
) -> None:
    supervisor = source.start(workers, 1)
    (old,) = await live_workers(app, 1)
    source.write("2", more="raise RuntimeError('for a while')")
    os.kill(old, signal.SIGKILL)
    wait_until(lambda: supervisor.log.count("could not load the app; trying again") >= 2, description="it tries")
    source.write("3")
    await all_run(app, "3")
