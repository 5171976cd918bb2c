"""Searches through unfinished jobs: bounded, with a word on how far they have looked, and with the place to go on."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from aiotask.contrib.web import Settings
from aiotask.inspector import JobFilter
from aiotask.ops.connection import Place
from aiotask.ops.jobs import search

from ..server import PrivateServer
from ..web.site import read, site
from .command import invoke
from .shop import Shop

JOBS = 12_000


@pytest.fixture
async def crowded(own_server: PrivateServer, shop: Shop) -> Shop:
    """Many jobs in front of the one that is looked for."""
    async with shop.app:
        for n in range(JOBS):
            shop.render.apply_async(n)
        sent = shop.app.named("shop:rare", queue="tiles").apply_async(text="for ada@example.org")
        await sent.sent()
        shop.rare = sent.id  # type: ignore[attr-defined]
    return shop


@pytest.mark.parametrize(
    "wanted", [JobFilter(task="shop:rare"), JobFilter(text="ada@example.org")], ids=["task", "text"]
)
async def test_a_search_goes_on_where_it_ended(crowded: Shop, wanted: JobFilter) -> None:
    place, after, looked, rounds, found = Place(crowded.app.name, crowded.app.url), "", 0, 0, list[dict[str, Any]]()
    while True:
        part = await search(place, wanted, after, 20, most=5_000)
        found, after, looked, rounds = found + part.jobs, part.after, looked + part.looked, rounds + 1
        assert part.looked < 6_000
        if not after:
            break

    assert [job["id"] for job in found] == [crowded.rare]  # type: ignore[attr-defined]
    assert rounds == 3 and looked == JOBS + 4
    # Its whole id is found at once, and so is nothing where there is none.
    exact = await search(place, JobFilter(prefix=crowded.rare), "", 20, most=1)  # type: ignore[attr-defined]
    assert (len(exact.jobs), exact.after, exact.looked) == (1, "", 1)
    short = await search(place, wanted, "", 20, seconds=0.0)
    assert short.after and 0 < short.looked < JOBS


async def test_the_dashboard_and_the_command_say_how_far_they_have_looked(crowded: Shop) -> None:
    place, rare = Place(crowded.app.name, crowded.app.url), crowded.rare  # type: ignore[attr-defined]
    async with site(place, settings=Settings(result_db="/nowhere/history.db")) as client:
        # What was sent last is found first; from the oldest on, it is found after some pages.
        assert f"/jobs/{rare}" in read((await client.get("/jobs?q=ada%40example.org")).text).links()
        page, pages = "/jobs?q=ada%40example.org&order=oldest", 0
        while pages < 50:
            text = (await client.get(page)).text
            shown, pages = read(text), pages + 1
            if f"/jobs/{rare}" in shown.links():
                break
            assert f"of {JOBS + 4:,} unfinished jobs; the next page goes on." in shown.text
            [page] = [link for link in shown.links() if "after=" in link]
            assert "looked=" in page and "q=ada%40example.org" in page
        assert 1 < pages < 50
    arguments = ("jobs", "--text", "ada@example.org", "--name", crowded.app.name, "--url", crowded.app.url)
    [only] = json.loads(await _said(*arguments, "--json"))
    assert only["id"] == rare
    assert rare in await _said(*arguments)


async def _said(*arguments: str) -> str:
    return str((await asyncio.to_thread(invoke, *arguments)).output)


async def test_lists_say_in_which_order_they_are(own_server: PrivateServer, shop: Shop) -> None:
    async with shop.app:
        ids = []
        for n in range(3):
            sent = shop.render.apply_async(n, text="new")
            await sent.sent()
            ids.append(sent.id)
    place = ("--name", shop.app.name, "--url", own_server.url)

    async def listed(*arguments: str) -> list[str]:
        found = [job["id"] for job in json.loads(await _said("jobs", *arguments, *place, "--json"))]
        return [id for id in found if id in ids]

    assert await listed() == await listed("--text", "new", "--order", "oldest") == ids
    assert await listed("--order", "newest") == await listed("--text", "new") == ids[::-1]
    [_, last] = json.loads(await _said("jobs", "--text", "new", "--limit", "2", *place, "--json"))
    assert await listed("--text", "new", "--after", last["after"]) == ids[:1]

    async with site(Place(shop.app.name, own_server.url)) as client:
        for query, said, other in (
            ("", "Order: as they are claimed, then by due time; ended ones latest first.", "Newest first"),
            ("order=newest", "Order: newest first, then by due time", "Oldest first"),
            ("status=pending&q=new", "Order: newest first.", "Oldest first"),
            ("status=scheduled", "Order: by due time.", ""),
            ("status=failed", "Order: those that ended last first.", ""),
        ):
            text = read((await client.get(f"/jobs?{query}")).text).text
            assert said in text and (not other or other in text), query
            assert other or ("Newest first" not in text and "Oldest first" not in text)
        assert (await client.get("/jobs?order=up")).status_code == 400
