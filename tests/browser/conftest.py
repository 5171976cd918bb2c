"""A browser, and a dashboard that it reaches over HTTP, with real workers behind it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiotask import App

from ..server import PrivateServer
from ..workers import ROOT, Supervisor, Workers
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
    """An app with workers, and its dashboard as users start it."""

    def __init__(self, app: App, base: str, supervisor: Supervisor, web: subprocess.Popen[bytes]) -> None:
        self.app = app
        self.base = base
        self.supervisor = supervisor
        self.web = web


@pytest.fixture
def service(own_server: PrivateServer, app_name: str, workers: Workers, tmp_path: Path) -> Iterator[Service]:
    env = {"AIOTASK_URL": own_server.url, "TEST_APP": app_name, "AIOTASK_RESULT_DB": str(tmp_path / "history.db")}
    supervisor = workers.start("tests.browser.shop", concurrency=1, env=env, app_dir=ROOT)
    with serving(app_name, env) as (base, web):
        yield Service(App(app_name, url=own_server.url), base, supervisor, web)
