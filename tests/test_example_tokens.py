"""The example of server-sent events: a browser gets every token once, also over a broken connection."""

from __future__ import annotations

import asyncio
import importlib
import json
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from .helpers import wait_until
from .workers import ROOT, Workers, running_workers

pytest.importorskip("fastapi")


@pytest.fixture(autouse=True)
def _logs(worker_logs: None) -> None:
    """What the workers said is shown with every failure."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Workers]:
    with (
        running_workers(tmp_path_factory.mktemp("tokens"), redis_url) as workers,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("AIOTASK_URL", redis_url)
        patch.syspath_prepend(str(ROOT))
        workers.start("examples.tokens.tasks", concurrency=1, env={"TOKENS_PACE": "0.01"})
        yield workers


def fresh_site() -> ModuleType:
    """The site as another process has it: with an app, connections and a client of its own."""
    for name in [name for name in sys.modules if name.startswith("examples.tokens")]:
        del sys.modules[name]
    return importlib.import_module("examples.tokens.site")


@asynccontextmanager
async def serving() -> AsyncIterator[Any]:
    module = fresh_site()
    async with module.lifespan(module.site):
        yield module.site


async def request(site: Any, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Any:
    """Yield the status, then the parts of the response; closing it is a client that hangs up."""
    sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    gone = asyncio.Event()
    asked = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if asked:
            return asked.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    named = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": path}
    scope |= {"raw_path": path.encode(), "query_string": b"", "headers": named, "scheme": "http", "server": ("x", 80)}
    answering = asyncio.create_task(site(scope, receive, sent.put))
    try:
        while True:
            message = await asyncio.wait_for(sent.get(), 30)
            yield message["status"] if message["type"] == "http.response.start" else message.get("body", b"").decode()
            if message["type"] == "http.response.body" and not message.get("more_body"):
                return
    finally:
        gone.set()
        await answering


async def ask(site: Any, question: str) -> str:
    body = json.dumps({"question": question}).encode()
    parts = [part async for part in request(site, "POST", "/answers", body, {"content-type": "application/json"})]
    assert parts[0] == 202
    return str(json.loads("".join(parts[1:]))["id"])


async def events(site: Any, id: str, after: str = "", most: int = 1_000) -> tuple[list[tuple[int, str]], bool]:
    """Numbers and tokens of a response, and whether it said that this was all; hangs up after ``most`` of them."""
    found: list[tuple[int, str]] = []
    answer = request(site, "GET", f"/answers/{id}", headers={"last-event-id": after} if after else {})
    assert await anext(answer) == 200
    try:
        async for part in answer:
            for event in part.split("\n\n"):
                fields = dict(line.split(": ", 1) for line in event.splitlines())
                if fields.get("event") == "end":
                    assert json.loads(fields["data"]) == "end"
                    return found, True
                if fields:
                    found.append((int(fields["id"]), json.loads(fields["data"])))
                if len(found) == most:
                    return found, False
    finally:
        await answer.aclose()
    return found, False


async def test_a_browser_shows_tokens_as_they_come(service: Workers) -> None:
    async with serving() as site:
        parts = [part async for part in request(site, "GET", "/")]
        assert parts[0] == 200 and "EventSource" in "".join(parts[1:])
        found, is_all = await events(site, await ask(site, "How?"))

    assert is_all
    assert "".join(token for _, token in found) == "You have asked: How? That is a good question. "
    assert [number for number, _ in found] == list(range(1, len(found) + 1))


@contextmanager
def site_process(folder: Path, name: str) -> Iterator[tuple[subprocess.Popen[bytes], Any]]:
    """A web process of the site, and a browser that is connected to it."""
    httpx = pytest.importorskip("httpx")
    socket, log = folder / name, folder / f"{name}.log"
    command = [sys.executable, "-m", "uvicorn", "examples.tokens.site:site", "--uds", str(socket)]
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        wait_until(lambda: "Uvicorn running" in log.read_text(), description=f"{socket} is served")
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(socket)), base_url="http://x", timeout=30) as browser:
            yield process, browser
    finally:
        process.kill()
        process.wait()


def read_events(browser: Any, id: str, after: int, most: int) -> tuple[list[tuple[int, str]], bool]:
    """As ``events``, over a connection."""
    found: list[tuple[int, str]] = []
    fields: dict[str, str] = {}
    with browser.stream("GET", f"/answers/{id}", headers={"last-event-id": str(after)}) as response:
        assert response.status_code == 200
        for line in response.iter_lines():
            if line:
                fields |= [line.split(": ", 1)]
                continue
            if fields.get("event") == "end":
                return found, True
            found.append((int(fields["id"]), json.loads(fields["data"])))
            fields = {}
            if len(found) == most:
                break
    return found, False


def test_t19_a_browser_goes_on_at_another_process_of_the_site(service: Workers) -> None:
    pytest.importorskip("uvicorn")
    question = " ".join(f"word{number}" for number in range(100))
    # The path of a socket has 104 bytes at most.
    with (
        tempfile.TemporaryDirectory(prefix="at-", dir="/tmp") as folder,
        site_process(Path(folder), "one") as (process, browser),
        site_process(Path(folder), "other") as (_, other),
    ):
        id = browser.post("/answers", json={"question": question}).json()["id"]
        found, is_all = read_events(browser, id, 0, most=5)
        process.kill()
        for most in (20, 1_000):
            assert not is_all
            more, is_all = read_events(other, id, found[-1][0], most)
            found += more

    assert is_all
    assert [number for number, _ in found] == list(range(1, len(found) + 1))
    assert "".join(token for _, token in found) == f"You have asked: {question} That is a good question. "


async def test_t19_a_position_that_is_no_number_is_refused(service: Workers) -> None:
    async with serving() as site:
        id = await ask(site, "How?")
        parts = [part async for part in request(site, "GET", f"/answers/{id}", headers={"last-event-id": "12-0"})]
        assert parts[0] == 400
        await events(site, id)


def test_the_example_says_how_it_is_run() -> None:
    text = (ROOT / "examples" / "tokens" / "site.py").read_text()
    assert "aiotask worker examples.tokens.tasks" in text and "uvicorn examples.tokens.site:site" in text
    assert Path(ROOT / "examples" / "tokens" / "tasks.py").is_file()
