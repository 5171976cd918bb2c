"""The failures of the overview lead to jobs that are there, whether or not they have left dead letters."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from aiotask import App
from aiotask.contrib.web import Settings
from aiotask.ops.connection import Place
from aiotask_cli.top.overview import error_lines

from ..helpers import wait_until_async
from .site import read, site


async def test_an_error_without_letters_leads_to_the_failed_jobs(redis_url: str, app_name: str, tmp_path: Path) -> None:
    app, history = App(app_name, url=redis_url), tmp_path / "history.db"

    @app.task(name="shop:price")
    async def price(order: str) -> None:
        raise RuntimeError(f"no price for {order}")

    @app.task(name="shop:pay", retries=1, backoff=lambda failures: 0.01)
    async def pay(order: str) -> None:
        raise LookupError(f"no card for {order}")

    settings = Settings(result_db=str(history))
    async with app, app.worker(result_db=str(history)), site(Place(app_name, redis_url), None, settings) as client:
        for task in (price, pay):
            with pytest.raises((RuntimeError, LookupError)):
                await task.apply_async("ada").wait(timeout=60)

        async def links() -> dict[str, str]:
            found = read((await client.get("/")).text).links()
            ours = [link for link in found if "task=shop%3Ap" in link and "Error" in link]
            return {parse_qs(urlsplit(link).query)["task"][0]: link for link in ours}

        async def are_told() -> bool:
            return len(await links()) == 2

        await wait_until_async(are_told, description="both errors are told")
        found = await links()
        assert urlsplit(found["shop:pay"]).path == "/dead"
        assert urlsplit(found["shop:price"]).path == "/jobs"

        async def leads_there(link: str) -> bool:
            return "ada" not in link and "data-row" in (await client.get(link)).text

        for link in found.values():
            await wait_until_async(lambda link=link: leads_there(link), description=link)  # type: ignore[misc]


def test_top_leads_there_too() -> None:
    group = {"error": "RuntimeError", "task": "shop:price", "number": 2, "line": (), "latest": 1.0, "message": ""}
    with_letters, without = (error_lines([{**group, "letters": has}], 120)[1].row for has in (True, False))

    assert with_letters is not None and with_letters.to is not None and with_letters.to.view == "dead"
    assert without is not None and without.to is not None and without.to.view == "jobs"
    assert without.to.given == {"status": "failed", "q": "RuntimeError", "task": "shop:price"}
