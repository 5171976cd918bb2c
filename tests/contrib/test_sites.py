"""The sites among the examples, as their docstrings say, on SQLite and PostgreSQL: commands, workers, requests."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from ..helpers import wait_until
from ..workers import ROOT
from .project import Project

FLASK = ("-m", "flask", "--app", "examples.web_flask")
#: A browser of the FastAPI site, without a server in between; it prints what the database holds at the end.
BROWSER = """
import asyncio, json, sys
import httpx
from sqlalchemy import select
from examples.web_fastapi import Entry, Text, lifespan, sessions, site

async def main():
    transport = httpx.ASGITransport(site)
    async with lifespan(site), httpx.AsyncClient(transport=transport, base_url="http://localhost") as browser:
        for text, name in (("to be or not to be", "Ada"), ("be", "Alan"), ("", "nobody")):
            sent = await browser.post("/texts", json={"text": text}, params={"name": name})
            print(sent.status_code, file=sys.stderr)
        async with asyncio.timeout(60):
            while len(await said()) < 4 or {row["status"] for row in await texts(browser)} != {"SUCCESS"}:
                await asyncio.sleep(0.1)
        print(json.dumps({"said": sorted(await said()), "texts": await texts(browser),
                          "missing": (await browser.get("/texts/3")).status_code}))

async def said():
    async with sessions() as session:
        return list(await session.scalars(select(Entry.said)))

async def texts(browser):
    return [(await browser.get(f"/texts/{id}")).json() for id in (1, 2)]

asyncio.run(main())
"""


@pytest.fixture
def at_root(project: Project) -> Project:
    """A project whose commands run in the clone, where the examples are."""
    project.folder = ROOT
    return project


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextlib.contextmanager
def flask_site(project: Project) -> Iterator[str]:
    """The site of Flask behind its own server; the URL."""
    port = free_port()
    with subprocess.Popen(
        [sys.executable, *FLASK, "run", "--port", str(port)],
        cwd=project.folder,
        env=project.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            wait_until(lambda: answers(port), description="the site answers", timeout=60)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5):
        return True
    return False


def ask(url: str, **form: str) -> Any:
    data = urlencode(form).encode() if form else None
    with urllib.request.urlopen(url, data, timeout=60) as answer:
        return json.loads(answer.read())


@pytest.mark.timeout(240)
def test_d9_a_request_to_flask_commits_a_row_and_a_job_and_both_run(at_root: Project, database_url: str) -> None:
    at_root.env["STEPS_URL"] = database_url
    at_root.call(*FLASK, "init")
    supervisor = at_root.serve(*FLASK, "aiotask", "run", "-c", "2")

    with flask_site(at_root) as site:
        assert ask(f"{site}/tasks", operation="hop")["id"]
        assert ask(f"{site}/tasks", operation="fly")["id"]
        assert ask(f"{site}/tasks", operation="jump", undo="1")["id"] is None
        done = {"receipts": 2, "tasks": [["fly", "FAILED"], ["hop", "SUCCESS"], ["skip", "SUCCESS"]]}
        wait_until(lambda: ordered(ask(f"{site}/tasks")) == done, description="row, further row and jobs", timeout=60)

    assert supervisor.stop() == 0
    # The banner names the database, and not the function that leads to it.
    assert re.search(r"\n  database .* at (sqlite|postgresql)\S*://", supervisor.log)
    assert "I hopped!" in supervisor.log
    assert "I skipped!" in supervisor.log
    assert "I jumped!" not in supervisor.log
    assert "I found a ValueError!" in supervisor.log


def ordered(answer: Any) -> Any:
    return {**answer, "tasks": sorted(answer["tasks"])}


@pytest.mark.timeout(240)
def test_d9_a_request_to_fastapi_commits_a_row_and_a_job_with_its_async_session(
    at_root: Project, database_url: str
) -> None:
    at_root.env["TEXTS_URL"] = database_url.replace("sqlite:", "sqlite+aiosqlite:").replace("+psycopg", "+asyncpg")
    at_root.call("-m", "examples.web_fastapi")
    supervisor = at_root.serve("-m", "aiotask", "worker", "examples.web_fastapi", "-c", "2")

    *statuses, found = at_root.call("-c", BROWSER).splitlines()

    assert statuses == ["202", "202", "422"]
    assert json.loads(found) == {
        "said": ["1 words", "6 words", "thank you, Ada", "thank you, Alan"],
        "texts": [{"status": "SUCCESS", "words": 6}, {"status": "SUCCESS", "words": 1}],
        "missing": 404,
    }
    assert supervisor.stop() == 0
