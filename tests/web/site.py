"""A dashboard over ASGI, and an app whose jobs are of every kind."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx
import msgspec

from aiotask import App, Limit, current_job
from aiotask.brokers import connect
from aiotask.contrib.web import ACTS, READS, Settings, Visitor, dashboard
from aiotask.contrib.web.access import Access
from aiotask.ops.actions import Actions
from aiotask.ops.connection import Place
from aiotask.parts.pausing import pause_named
from aiotask.values.metrics import Slot, bucket_of, slot_of

from ..helpers import wait_until_async

__all__ = ["OWN", "Populated", "Reader", "as_visitor", "deploy", "populate", "read", "site", "walk"]

#: What a browser sends with a form of this site.
OWN = {"sec-fetch-site": "same-origin"}
HTML = {"accept": "text/html"}


def as_visitor(role: str, name: str = "ada") -> Access:
    """Everybody is this visitor."""
    may = {"act": ACTS, "read": READS}.get(role)
    return lambda scope: None if may is None else Visitor(name, may, "10.0.0.7")


@asynccontextmanager
async def site(
    place: Place | App, access: Access | None = None, settings: Settings | None = None, **more: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a dashboard; it follows no redirect."""
    made = dashboard(place, access=access or as_visitor("act"), settings=settings)
    transport = httpx.ASGITransport(made, raise_app_exceptions=False, client=("10.0.0.7", 4711))
    headers = {**HTML, **OWN, **more.pop("headers", {})}
    try:
        async with httpx.AsyncClient(
            transport=transport, base_url="http://localhost:8787", headers=headers, timeout=30.0, **more
        ) as client:
            yield client
    finally:
        await made.close()


async def deploy(app: App, task: str, release: str) -> None:
    """Let the last ten minutes have two releases, in each of which a task has run 30 times, as a keeper tells it."""
    broker: Any = connect(app.url, app.name)
    await broker.renew("deployed", 1)
    runs = {Slot.SUCCEEDED: 30, slot_of(bucket_of(0.5)): 30}
    for seconds, name in ((600, "v1"), (300, release)):
        key = f"{broker.prefix}m:{int((time.time() - seconds) // 60)}"
        for place, numbers in {"r": {name: 12}, f"t:{task}": runs}.items():
            await broker.wire.call("HSET", key, place, msgspec.msgpack.encode(numbers))
    await broker.close()


# ---- an app


@dataclass
class Populated:
    """An app, where it is, and ids of its jobs by what they are."""

    app: App
    place: Place
    settings: Settings
    ids: dict[str, str] = field(default_factory=dict)
    gate: asyncio.Event = field(default_factory=asyncio.Event)


@asynccontextmanager
async def populate(url: str, name: str, history: Path) -> AsyncIterator[Populated]:
    app = App(name, url=url)
    made = Populated(app, Place(name, url), Settings(result_db=str(history)))

    @app.task(name="shop:add", queue="sums")
    async def add(left: int, right: int) -> int:
        return left + right

    @app.task(name="shop:fail", retries=1, backoff=lambda failures: 0.01)
    async def fail(order: str) -> None:
        raise ValueError(f"no leek for {order}")

    @app.task(name="shop:hold", limit=Limit("stripe", by="tenant", max_running_each=1))
    async def hold(tenant: str) -> None:
        app.inspector()
        current_job().progress(3, 10, "pages")
        current_job().checkpoint({"page": 3})
        await made.gate.wait()

    @app.task(name="shop:login")
    async def login(user: str, *, password: str) -> str:
        return user

    @app.task(name="shop:report", cron="0 3 * * *")
    async def report() -> None: ...

    ids = made.ids
    async with app, app.worker(result_db=str(history), queues=["default", "sums"]):
        for task, arguments in ((add, (1, 2)), (fail, ("ada",))):
            ids[task.name] = (sent := task.apply_async(*arguments)).id
            with contextlib.suppress(ValueError):
                await sent.wait(timeout=30)
        ids["login"] = (sent := login.apply_async("ada", password="hunter22")).id
        await sent.wait(timeout=30)
        running = hold.apply_async("acme")
        ids["running"] = running.id
        await wait_until_async(lambda: _has(running, "RUNNING"), description="it runs")
        ids["line"] = (await _sent(hold.apply_async("acme"))).id
        ids["graph"] = (await _sent(add.s(app.s("shop:later").cast, 1).apply_async())).id
        ids["scheduled"] = (await _sent(add.options(delay=3600.0).apply_async(3, 4))).id
        ids["parked"] = (await _sent(app.named("shop:unknown", queue="sums").apply_async())).id
        await wait_until_async(lambda: _has(app.result(ids["parked"]), "PARKED"), description="it is parked")
        await app.schedules.set("every-hour", add.s(5, 6), every=3600.0)
        other = app.register_task(add.func, name="shop:mail", queue="mail")
        ids["pending"] = (await _sent(other.apply_async(7, 8))).id
        await Actions(made.place, Visitor("ada", ACTS, "10.0.0.7")).pause(pause_named(queue="mail", why="it moves"))
        await wait_until_async(lambda: _recorded(history), description="the history has what has ended")
        try:
            yield made
        finally:
            made.gate.set()


async def _sent(result: Any) -> Any:
    await result.sent()
    return result


async def _has(result: Any, status: str) -> bool:
    return bool(await result.status() == status)


async def _recorded(history: Path) -> bool:
    from aiotask import ResultDB

    if not history.exists():
        return False
    db = ResultDB(history)
    try:
        return await db.count() >= 3
    finally:
        await db.close()


# ---- a page


class Reader(HTMLParser):
    """What a page has: tags with their attributes, and its text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self._raw = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        self._raw = tag if tag in ("script", "style") else ""

    def handle_endtag(self, tag: str) -> None:
        self._raw = ""

    def handle_data(self, data: str) -> None:
        if self._raw:
            assert not data.strip(), f"an inline <{self._raw}>: {data[:200]}"
        self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.words))

    def links(self) -> list[str]:
        return [attributes["href"] for tag, attributes in self.tags if tag == "a" and "href" in attributes]


#: Elements that a page may have; another one came from somebody's text.
ELEMENTS = set(
    [
        "html",
        "head",
        "meta",
        "title",
        "link",
        "script",
        "body",
        "a",
        "div",
        "nav",
        "img",
        "small",
        "details",
        "summary",
        "b",
        "span",
        "ul",
        "li",
        "form",
        "input",
        "button",
        "label",
        "p",
        "main",
        "header",
        "h1",
        "h2",
        "h3",
        "kbd",
        "dl",
        "dt",
        "dd",
        "section",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "time",
        "select",
        "datalist",
        "option",
        "svg",
        "path",
        "rect",
        "text",
        "line",
        "i",
        "pre",
        "dialog",
        "br",
        "polyline",
    ]
)


def read(text: str) -> Reader:
    """The page, which has nothing that the content security policy forbids, and nothing that is not the dashboard's."""
    page = Reader()
    page.feed(text)
    for tag, attributes in page.tags:
        assert tag in ELEMENTS, f"<{tag} {attributes}>"
        for name, value in attributes.items():
            assert not name.startswith("on") and name != "style" and name != "srcdoc", f"<{tag} {name}={value!r}>"
            if name in ("href", "src", "action", "formaction"):
                parts = urlsplit(value)
                assert not parts.scheme and not parts.netloc, f"<{tag} {name}={value!r}>"
    return page


async def walk(client: httpx.AsyncClient, most: int = 300, start: str = "/") -> dict[str, int]:
    """Every page that links lead to, from the overview on, with its status; every page is read."""
    found: dict[str, int] = {}
    todo = [start]
    while todo and len(found) < most:
        path = todo.pop()
        if path in found:
            continue
        answer = await client.get(path)
        found[path] = answer.status_code
        assert answer.status_code < 500, f"{path}: {answer.status_code}"
        if "html" in answer.headers.get("content-type", ""):
            page = read(answer.text)
            todo += [urljoin(path, link) for link in page.links() if not link.startswith("#")]
        elif answer.is_redirect:
            todo.append(answer.headers["location"])
    return found
