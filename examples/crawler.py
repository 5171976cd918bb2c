"""Follow links whose number is not known beforehand: a task that returns calls.

Run its jobs, and send some::

    aiotask worker examples.crawler --concurrency 2
    python -m examples.crawler

The pages stand in a table, so that the example needs no network.
"""

from __future__ import annotations

import asyncio

from aiotask import App, group

app = App("crawler")

LINKS = {
    "/": ["/docs", "/blog"],
    "/docs": ["/docs/tasks", "/docs/workers"],
    "/blog": ["/blog/1", "/blog/2", "/blog/3"],
    "/blog/2": ["/blog/2/comments"],
}


@app.task(retries=3)
async def links(url: str) -> list[str]:
    """The links on a page."""
    return LINKS.get(url, [])


@app.task
def crawl(url: str) -> list[str]:
    """Every page that can be reached from this one. The job ends when the calls that it returns have ended."""
    return links.s(url).then(follow, url).cast


@app.task
def follow(found: list[str], url: str) -> list[str]:
    return join.s(url, group(crawl.s(link) for link in found).cast).cast


@app.task
def join(url: str, below: list[list[str]]) -> list[str]:
    return [url, *(page for pages in below for page in pages)]


async def main() -> None:
    for page in await crawl.apply_async("/"):
        print(page)


if __name__ == "__main__":
    asyncio.run(main())
