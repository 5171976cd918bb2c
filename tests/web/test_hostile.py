"""Text of others is inert: ten payloads, each wherever a job, a worker or a visitor can put text, on every page."""

from __future__ import annotations

from pathlib import Path

import pytest

from aiotask import App
from aiotask.contrib.web import ACTS, Settings, Visitor
from aiotask.contrib.web.forms import read_said, safe_path, seal_said
from aiotask.errors import AiotaskError
from aiotask.ops.connection import Place
from aiotask.ops.views.fields import Said
from aiotask.ops.views.words import SHORT, Long, clean

from ..hostile import PAYLOADS, payloads, spoil
from ..server import PrivateServer
from .site import read, site, walk


@pytest.mark.parametrize("payload", payloads(*PAYLOADS))
async def test_payloads_are_inert_on_every_page(
    own_server: PrivateServer, app_name: str, tmp_path: Path, payload: str
) -> None:
    text = PAYLOADS[payload]
    app = App(app_name, url=own_server.url)
    async with app:
        await app.s("shop:render").apply_async().sent()
    ids = await spoil(app, text)
    visitor = Visitor(text[:60], ACTS, text[:60])

    place, settings = Place(app_name, own_server.url), Settings(result_db=str(tmp_path / "none.db"))
    async with site(place, lambda scope: visitor, settings) as client:
        for verb, form in (
            ("pause", {"on": "queue", "name": "tiles", "why": text[:900]}),
            ("cancel", {"on": "job", "id": text[:200]}),
            ("pause", {"on": "task", "name": text[:100]}),
        ):
            answer = await client.post(f"/do/{verb}", data=form)
            assert answer.status_code in (303, 400) and "set-cookie" not in answer.headers
        found = await walk(client)
        assert len(found) > 20
        # The walk ends after a number of pages, so the page of one thing of each kind is read in any case.
        for listing in ("/jobs", "/dead", "/limits", "/queues", "/schedules", "/tasks", "/workers"):
            links = read((await client.get(listing)).text).links()
            one = next((link for link in links if link.startswith(f"{listing}/")), "")
            assert one, f"{listing} links to the page of none"
            answer = await client.get(one)
            assert answer.status_code == 200, one
            read(answer.text)
        for path in ("/", "/jobs", "/dead", "/running", "/workers", "/audit"):
            page = await client.get(path)
            assert page.status_code == 200 and len(page.content) < 300_000, f"{path}: {len(page.content):,} bytes"
        for query in (
            "q",
            "task",
            "queue",
            "prefix",
            "error",
            "since",
            "app",
            "after",
            "verb",
            "said",
            "back",
            "limit",
        ):
            for path in ("/jobs", "/dead", "/history", "/audit", "/tasks", "/bulk", "/find", "/graphs"):
                answer = await client.get(path, params={query: text[:3000], "status": "failed"})
                assert answer.status_code < 500 and "set-cookie" not in answer.headers, f"{path}?{query}"
                if answer.status_code != 303:
                    read(answer.text)
        for id in ids:
            answer = await client.get("/find", params={"q": id[:200]})
            assert answer.status_code == 303 and answer.headers["location"].startswith("/")


def test_text_is_bounded_and_printable() -> None:
    for text in (*PAYLOADS.values(), "half \ud800 a character", "\u200b\u2028\u00ad"):
        shown = clean(text)
        assert len(shown) <= 10 * SHORT and shown.isprintable()
        assert clean(Long(text)).replace("\n", "").isprintable()
    assert clean("leek, ä, 日本") == "leek, ä, 日本"
    assert clean(Long("a\nb")) == "a\nb" and clean("a\nb") == r"a\nb"


@pytest.mark.parametrize(
    "path",
    [
        "//evil.example",
        "https://evil.example",
        "javascript:alert(1)",
        "/\\evil.example",
        "\\\\evil",
        "jobs",
        "",
        "/a\n",
    ],
)
def test_no_form_leads_to_another_site(path: str) -> None:
    assert safe_path(path, "/usual") == "/usual"
    assert safe_path("/jobs?status=failed", "/usual") == "/jobs?status=failed"


def test_nobody_else_puts_words_on_a_page() -> None:
    sealed = seal_said(Said(True, "Cancelled."), ("secret",))
    assert read_said(sealed, ("secret",)) == Said(True, "Cancelled.")
    for wrong in (sealed[:-2], seal_said(Said(True, "Forged."), ("another",)), "x", "", "é"):
        assert read_said(wrong, ("secret",)) is None
    assert issubclass(AiotaskError, Exception)
