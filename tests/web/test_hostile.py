"""Text of others is inert: ten payloads, each wherever a job, a worker or a visitor can put text, on every page."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import pytest

from aiotask import App
from aiotask.broker import Finish, Push
from aiotask.brokers import audit_of, connect
from aiotask.contrib.web import ACTS, Settings, Visitor
from aiotask.contrib.web.forms import read_said, safe_path, seal_said
from aiotask.errors import AiotaskError
from aiotask.job import WIRE_VERSION, Job, More, Status, encode_job
from aiotask.ops.connection import Place
from aiotask.ops.views.fields import Said
from aiotask.ops.views.words import SHORT, Long, clean
from aiotask.outcome import ErrorInfo, Outcome, encode_outcome
from aiotask.wire.seal import Sealer
from aiotask.wire.serializer import serializer_named

from ..server import PrivateServer
from .site import read, site, walk

PAYLOADS = {
    "script": "<script>alert(1)</script>",
    "image": '"><img src=x onerror=alert(1)>',
    "link": "javascript:alert(1)",
    "textarea": "</textarea><svg/onload=alert(1)>",
    "template": "{{7*7}}{% raw %}",
    "literal": "${7*7}`alert(1)`",
    "direction": "\u202egnp.exe\u2066",
    "control": "\x00\x1b[31m\x9b",
    "long": "x" * 1_000_000,
    "header": "%0d%0aSet-Cookie: a=b\r\nSet-Cookie: c=d",
}
#: Characters of a name: the broker keeps longer ones, but a page of 1 MB per name is not what this is about.
_NAME = 150


async def spoil(app: App, text: str) -> list[str]:
    """Put the text wherever the server takes it: task, queue, id, arguments, error, traceback, facts of a worker."""
    name = text[:_NAME]
    broker = connect(app.url, app.name)
    await broker.open()
    jobs, outcomes = Sealer(app.secrets, "job"), Sealer(app.secrets, "outcome")
    body = serializer_named("cloudpickle").dump_call(((text, {text[:99]: [text]}), {name: text}), None)
    ids = [name, f"dead-{name}", f"run-{name}"]
    queue = name.replace("\x00", "0")
    for number, id in enumerate(ids, 1):
        more = More(parent=name, limit=f"{name}:{name}") if number == 1 else None
        job = Job(WIRE_VERSION, id, name, queue, body, time.time(), more=more)
        await broker.push(f"spoiler-{number}", 1, [Push(id, queue, 5, jobs.seal(encode_job(job)), custom=True)])
    facts = {
        "host": name,
        "queues": [queue],
        "tasks": [name],
        "python": name,
        "pid": name,
        "release": name,
        "order": name,
    }
    host = f"host{name}"
    await broker.enlist(f"{host}.1", host, msgspec.msgpack.encode(facts))
    claim = await broker.claim(f"{host}.1", [queue], [], 2)
    for delivery in claim.deliveries[1:]:
        error = ErrorInfo(name, text, text)
        ended = Outcome(WIRE_VERSION, delivery.id, name, Status.FAILED, 1, host, 1.0, 2.0, None, error)
        sealed = outcomes.seal(encode_outcome(ended))
        await broker.finish(f"{host}.1", [Finish(delivery, sealed, Status.FAILED, 600.0, dead=True)])
    await audit_of(broker).note_action(b"forged" + text[:50].encode("utf-8", "replace"))
    await broker.close()
    return ids


@pytest.mark.parametrize("payload", PAYLOADS)
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
