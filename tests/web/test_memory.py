"""The dashboard of an app whose jobs are in the memory of this process: every page, and every action."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from aiotask import App
from aiotask.contrib.web import dashboard
from aiotask.contrib.web.pages import PAGES
from aiotask.ops.visitors import Verb

from ..helpers import wait_until_async
from .site import Populated, as_visitor, populate, read, site, walk


@pytest.fixture
async def remembered(app_name: str, tmp_path: Path) -> AsyncIterator[Populated]:
    async with populate(f"memory://{app_name}", app_name, tmp_path / "history.db") as made:
        yield made


async def text_of(client: httpx.AsyncClient, path: str) -> str:
    answer = await client.get(path)
    assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text[:2000]}"
    return read(answer.text).text


async def test_every_page_shows_what_is_there(remembered: Populated) -> None:
    ids = remembered.ids
    expected = {
        "/": ["Queue mail has been paused for", "shop:hold", "Ended", "ValueError"],
        "/queues": ["mail", "paused", "by ada"],
        "/queues/mail": ["shop:mail", "100 %"],
        "/jobs": ["shop:hold", "SCHEDULED", "PARKED", "WAITING", "SUCCESS", "FAILED"],
        f"/jobs/{ids['shop:add']}": ["SUCCESS", "Result", "3", "Timeline"],
        f"/jobs/{ids['shop:fail']}": ["ValueError: no leek for ada", "Traceback"],
        f"/jobs/{ids['line']}": ["come before it", "acme"],
        f"/jobs/{ids['graph']}": ["WAITING", "Needs the values of"],
        f"/jobs/{ids['login']}": ["password=•••"],
        "/running": ["shop:hold", ids["running"]],
        "/dead": ["ValueError", ids["shop:fail"]],
        f"/dead/{ids['shop:fail']}": ["Why it was given up", "no leek for ada"],
        "/tasks": ["shop:add", "shop:login"],
        "/tasks/shop:add": ["Run p95", "SUCCESS"],
        "/workers": ["in flight"],
        "/schedules": ["every-hour", "every 1 h"],
        "/schedules/every-hour": ["Next runs"],
        "/limits": ["stripe"],
        "/limits/stripe": ["acme", ids["running"]],
        "/graphs": [ids["graph"]],
        f"/graphs/{ids['graph']}": ["shop:later", "WAITING"],
        "/history": ["shop:add", ids["shop:fail"]],
        "/audit": ["pause", 'queue "mail"'],
        "/bulk?verb=cancel&queue=mail": ["1 match"],
    }
    async with site(remembered.app, settings=remembered.settings) as client:
        for path, words in expected.items():
            text = await text_of(client, path)
            for word in words:
                assert word in text, f"{path} does not say {word!r}: {text}"
        found = await walk(client)
        numbers = [
            await client.get(path) for path in ("/metrics", "/series.json", f"/jobs/{ids['login']}/arguments.txt")
        ]
    assert [each.status_code for each in numbers] == [200, 200, 200]
    assert {path.partition("?")[0] for path in found} >= {path for path in PAGES if "{" not in path} - {
        "/find",
        "/metrics",
        "/series.json",
    }
    assert {status for status in found.values()} <= {200, 303, 404}, found


async def test_every_action_does_what_it_says_or_says_why_not(remembered: Populated) -> None:
    app, ids = remembered.app, remembered.ids
    [host] = {worker.host async for worker in _workers(app)}
    acts: list[tuple[Verb, dict[str, str], str]] = [
        (Verb.PAUSE, {"on": "queue", "name": "sums", "why": "x"}, "Paused: queue"),
        (Verb.RESUME, {"on": "queue", "name": "sums"}, "Resumed: queue"),
        (Verb.PAUSE, {"on": "task", "name": "shop:login"}, "Paused: task"),
        (Verb.RESUME, {"on": "task", "name": "shop:login"}, "Resumed: task"),
        (Verb.PAUSE, {"on": "all"}, "Paused: everything"),
        (Verb.RESUME, {"on": "all"}, "Resumed: everything"),
        (Verb.RUN_NOW, {"on": "job", "id": ids["scheduled"]}, "1 job"),
        (Verb.RESEND, {"on": "job", "id": ids["shop:add"]}, "1 job"),
        (Verb.MOVE, {"on": "job", "id": ids["pending"], "to": "elsewhere"}, "1 job"),
        (Verb.CANCEL, {"on": "job", "id": ids["pending"]}, "1 job"),
        (Verb.PURGE, {"on": "queue", "name": "mail", "typed": "mail"}, "mail"),
        (Verb.REPLAY, {"on": "letter", "id": ids["shop:fail"]}, "1 dead letter"),
        (Verb.PAUSE, {"on": "schedule", "name": "every-hour"}, "every-hour"),
        (Verb.RESUME, {"on": "schedule", "name": "every-hour"}, "every-hour"),
        (Verb.RUN_NOW, {"on": "schedule", "name": "every-hour"}, "Sent as job"),
        (Verb.REMOVE, {"on": "schedule", "name": "every-hour", "typed": "every-hour"}, "every-hour"),
        (Verb.SET_LIMIT, {"on": "limit", "name": "stripe", "max_running_each": "3"}, "stripe"),
        (Verb.RESET_LIMIT, {"on": "limit", "name": "stripe"}, "stripe"),
        (Verb.DRAIN, {"on": "host", "name": host}, "no new jobs"),
        (Verb.RESUME, {"on": "host", "name": host}, "takes jobs again"),
        (Verb.RECYCLE, {"on": "host", "name": host}, ""),
        (Verb.CANCEL, {"on": "graph", "id": ids["graph"]}, ""),
        (Verb.STACKS, {"on": "all"}, ""),
    ]
    async with site(remembered.app, settings=remembered.settings) as client:
        for verb, form, words in acts:
            answer = await client.post(f"/do/{verb}", data={**form, "back": "/"}, follow_redirects=True)
            said = read(answer.text).text
            assert answer.status_code == 200, f"{verb} {form}: {answer.status_code} {said[:2000]}"
            assert words in said, f"{verb} {form} does not say {words!r}: {said[:600]}"

        async def is_dead_again() -> bool:
            return ids["shop:fail"] in (await client.get("/dead")).text

        await wait_until_async(is_dead_again, description="what was replayed has failed again")
        gone = await client.post(
            "/do/discard", data={"on": "letter", "id": ids["shop:fail"], "typed": "delete"}, follow_redirects=True
        )
        assert "Deleted: 1 dead letter" in read(gone.text).text
        tried = {verb for verb, _, _ in acts} | {Verb.DISCARD}
    assert tried == set(Verb), set(Verb) - tried


async def _workers(app: Any) -> AsyncIterator[Any]:
    async with app.inspector() as inspector:
        for worker in await inspector.workers():
            yield worker


async def test_an_app_without_anything_has_empty_pages(app_name: str) -> None:
    async with site(App(app_name, url=f"memory://{app_name}")) as client:
        for path in PAGES:
            if "{" not in path:
                answer = await client.get(f"{path}?verb=cancel" if path == "/bulk" else path)
                assert answer.status_code in (200, 303), f"{path}: {answer.status_code} {answer.text[:1000]}"


async def test_it_is_mounted_in_an_application_that_runs_the_worker(app_name: str) -> None:
    from starlette.applications import Starlette
    from starlette.routing import Mount

    app = App(app_name, url=f"memory://{app_name}")
    task = app.register_task(len, name="shop:len")
    outer = Starlette(routes=[Mount("/admin/jobs", dashboard(app, access=as_visitor("act")))])
    transport = httpx.ASGITransport(outer, raise_app_exceptions=False)
    async with app, app.worker(), httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        assert await task.apply_async("leek") == 4
        found = await walk(client, start="/admin/jobs/")
        assert len(found) > 15 and set(found.values()) <= {200, 303}, found
        assert all(path.startswith("/admin/jobs") for path in found)
