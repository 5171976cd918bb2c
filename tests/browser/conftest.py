"""A browser, and a dashboard that it reaches over HTTP, with real workers behind it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from aiotask import App, WorkerLost

from ..helpers import WAIT
from ..workers import ROOT, running_workers
from .chromium import Chromium, find_chromium
from .serving import serving


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    path = find_chromium()
    if path is None:
        pytest.skip("chromium is not installed")
    browser = Chromium(path, tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core."""
    places = (os.environ.get("AIOTASK_TEST_AXE", ""), str(ROOT / "node_modules" / "axe-core" / "axe.min.js"))
    path = next((path for path in places if path and Path(path).exists()), None)
    if path is None:
        pytest.skip("axe-core is not installed: npm install --no-save axe-core@4.14.1")
    return Path(path).read_text()


class Service:
    """An app with workers and jobs of every kind, and its dashboard as users start it.

    Args:
        directory: where two jobs have looked for a file in vain.
        mendable: id of the one that a test mends.
        dead: id of the other.
        died: id of a job with which three processes have died.
        graph: id of the last job of a graph.
    """

    def __init__(
        self,
        app: App,
        base: str,
        web: subprocess.Popen[bytes],
        directory: Path,
        *,
        mendable: str,
        dead: str,
        died: str,
        graph: str,
    ) -> None:
        self.app = app
        self.base = base
        self.web = web
        self.directory = directory
        self.mendable = mendable
        self.dead = dead
        self.died = died
        self.graph = graph


@pytest.fixture(scope="module")
def module_service(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    name, directory = f"test-{uuid4().hex[:12]}", tmp_path_factory.mktemp("browser")
    env = {"AIOTASK_URL": redis_url, "TEST_APP": name, "AIOTASK_RESULT_DB": str(directory / "history.db")}
    with running_workers(directory, redis_url) as workers, serving(name, env) as (base, web):
        workers.start("tests.browser.shop", concurrency=1, env=env, app_dir=ROOT)
        app = App(name, url=redis_url)
        yield Service(app, base, web, directory, **fill(app, directory))


@pytest.fixture
def service(module_service: Service, worker_logs: None) -> Service:
    """Shared by the tests of a file."""
    return module_service


def fill(app: App, directory: Path) -> dict[str, str]:
    """Send jobs of every kind; the ids of some, as ``Service`` has them."""
    for tile in range(30):
        app.s("shop:render", tile).apply_async()
    graph = app.s("shop:add", app.s("shop:render", 1).cast, 2).apply_async()
    died = app.s("shop:decode", "IMG_2041.jpg").apply_async()
    app.named("shop:render").options(delay=3600.0).apply_async(1)
    app.named("shop:unknown").apply_async()
    failed = [
        app.named("shop:read", queue="reading", retries=1).apply_async(str(directory / name)) for name in ("a", "b")
    ]
    for result in failed:
        with pytest.raises(FileNotFoundError):
            result.get(timeout=WAIT)
    with pytest.raises(WorkerLost):
        died.get(timeout=WAIT)
    return {"mendable": failed[0].id, "dead": failed[1].id, "died": died.id, "graph": graph.id}
