"""``python -m benchmarks.watch.viewers BASE NUMBER``: browsers that look at pages of a dashboard, until this is ended.

Each looks every 2 s, as the script of the page does; and ``/metrics`` is scraped every 5 s.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

import httpx

__all__ = ["PAGES"]

PAGES = ("/", "/jobs", "/queues", "/running")
#: Seconds between two looks of a browser, and of the scraper.
_POLL, _SCRAPE = 2.0, 5.0


async def _browse(client: httpx.AsyncClient, number: int, of: int) -> None:
    etags: dict[str, str] = {}
    # Browsers were opened at different moments.
    await asyncio.sleep(_POLL * number / of)
    page = PAGES[number % len(PAGES)]
    while True:
        headers = {"x-part": "main", "accept": "text/html"}
        if page in etags:
            headers["if-none-match"] = etags[page]
        with contextlib.suppress(httpx.TransportError):
            answer = await client.get(page, headers=headers)
            etags[page] = answer.headers.get("etag", "")
        await asyncio.sleep(_POLL)


async def _scrape(client: httpx.AsyncClient) -> None:
    while True:
        with contextlib.suppress(httpx.TransportError):
            await client.get("/metrics")
        await asyncio.sleep(_SCRAPE)


async def _look(base: str, number: int) -> None:
    async with httpx.AsyncClient(base_url=base, timeout=30.0) as client:
        await asyncio.gather(_scrape(client), *(_browse(client, each, number) for each in range(number)))


if __name__ == "__main__":
    asyncio.run(_look(sys.argv[1], int(sys.argv[2])))
