"""The app behind the pictures of the dashboard: a shop that uses every feature, in which some things go wrong."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator

from aiotask import App, Limit, current_job, exponential

app = App("bakery")
_chance = random.Random()


@app.task(name="bakery.photos:resize", queue="photos", timeout=60)
def resize(photo: str, *, sizes: list[int]) -> dict[int, str]:
    return {size: hashlib.pbkdf2_hmac("sha256", photo.encode(), b"", 100 * size).hex()[:12] for size in sizes}


@app.task(
    name="bakery.payments:capture",
    retries=2,
    backoff=exponential(base=1.0),
    limit=Limit("card-terminal", by="branch", max_running_each=2, max_running=6),
)
async def capture(order: int, *, branch: str, card_token: str) -> str:
    await asyncio.sleep(_chance.uniform(0.05, 0.25))
    if order % 11 == 0:
        raise ConnectionError("payments.internal:443 refused the connection")
    return f"captured-{order}"


@app.task(name="bakery.orders:import_row", queue="imports", batch=32, batch_wait=0.2)
async def import_row(rows: list[dict[str, str]]) -> list[int | Exception]:
    await asyncio.sleep(0.05)
    return [len(row) if row.get("total") else ValueError(f"order {row['id']} has no total") for row in rows]


@app.task(name="bakery.mail:send", queue="mail", expires=3600)
async def send(to: str, subject: str) -> None:
    await asyncio.sleep(0.01)


@app.task(name="bakery.web:notify", queue="webhooks", rate="8/s")
async def notify(url: str, payload: dict[str, object]) -> int:
    await asyncio.sleep(0.02)
    return 200


@app.task(name="bakery.accounts:sign_in")
async def sign_in(user: str, *, password: str) -> str:
    return user


@app.task(name="bakery.reports:monthly", queue="reports", timeout=900)
def monthly(month: str) -> int:
    job = current_job()
    for page in range(job.last_checkpoint(int) or 0, 240):
        until = time.process_time() + 0.2
        while time.process_time() < until:
            hashlib.sha256(month.encode() * 1000).digest()
        job.progress(page + 1, 240, f"page {page + 1} of the report of {month}")
        job.checkpoint(page + 1)
        time.sleep(1.5)
    return 240


@app.task(name="bakery.reports:pull_branches", queue="reports")
async def pull_branches(names: list[str]) -> int:
    return len(await asyncio.gather(*(pull_branch.apply_async(name) for name in names)))


@app.task(name="bakery.reports:pull_branch", queue="reports")
async def pull_branch(name: str) -> str:
    await asyncio.sleep(600)
    return name


@app.task(name="bakery.exports:write_csv", queue="exports")
async def write_csv(rows: int) -> None:
    """It blocks its event loop, as a call that should have been awaited does."""
    time.sleep(rows)  # noqa: ASYNC251


@app.task(name="bakery.photos:decode", queue="photos-of-customers")
def decode(photo: str) -> None:
    """A fault in an extension: it says something on stderr and kills the process."""
    print(f"decoder: bad Huffman table at byte 0x1f40 of {photo}", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGSEGV)


@app.task(
    name="bakery.integrations.suppliers.catalogues.incremental:reconcile_prices_with_the_catalogue_of_a_supplier",
    queue="integrations-with-suppliers-that-run-over-night",
)
async def reconcile(supplier: str, since: str) -> int:
    await asyncio.sleep(0.3)
    return len(supplier)


@app.task(name="bakery.recipes:weigh", queue="recipes")
async def weigh(ingredient: str) -> float:
    await asyncio.sleep(0.2)
    return len(ingredient) / 10


@app.task(name="bakery.recipes:price", queue="recipes")
async def price(grams: float, per_kilo: float = 2.4) -> float:
    return round(grams * per_kilo, 2)


@app.task(name="bakery.recipes:total", queue="recipes")
def total(prices: list[float], recipe: str) -> dict[str, float]:
    return {recipe: sum(prices)}


@app.task(name="bakery.recipes:publish", queue="recipes")
async def publish(recipe: dict[str, float]) -> None:
    raise LookupError(f"there is no page for {', '.join(recipe)}")


@app.task(name="bakery.search:words", queue="search")
async def words(page: str) -> AsyncIterator[str]:
    for number in range(200):
        current_job().progress(number, 200, page)
        yield f"{page}-{number}"
        await asyncio.sleep(2)


@app.task(name="bakery.stock:count", every=15.0, queue="recipes")
async def count() -> int:
    return 7


@app.task(name="bakery.stock:order", cron="30 3 * * *", timezone="Europe/Berlin", queue="recipes")
async def order() -> None: ...
