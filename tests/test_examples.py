"""The examples run as their docstrings say: scripts as scripts, sites through the test clients of their frameworks."""

from __future__ import annotations

import ast
import importlib
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from .helpers import wait_until, wait_until_async
from .workers import ROOT, Workers, running_workers

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
TEXT = "To be, or not to be: that is the question. Be!"
WORDS = [["be", 3], ["to", 2], ["or", 1]]
SERVED = (
    *("readme", "words", "orders_json", "web_django", "heartbeat", "database", "cron", "tenants"),
    *("calc", "crawler", "embeddings", "order", "sums", "thumbnails", "wordcount", "debounce", "tracing"),
)


@pytest.fixture(autouse=True)
def _logs(worker_logs: None) -> None:
    """What the workers said is shown with every failure."""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Workers]:
    """Workers for every example, and this process on the same server."""
    folder = tmp_path_factory.mktemp("examples")
    with running_workers(folder, redis_url) as workers, pytest.MonkeyPatch.context() as patch:
        for variable in [name for name in os.environ if name.startswith("AIOTASK_")]:
            patch.delenv(variable)
        patch.setenv("AIOTASK_URL", redis_url)
        patch.setenv("DJANGO_DATABASE", str(folder / "shop.sqlite3"))
        patch.syspath_prepend(str(ROOT))
        patch.setenv("HEARTBEATS", str(folder / "heartbeats"))
        patch.setenv("SPANS", str(folder / "spans"))
        patch.setenv("REPORTS", str(folder / "reports"))
        patch.setenv("ORDERS_DATABASE", str(folder / "orders.sqlite3"))
        history = folder / "history.db"
        patch.setenv("AIOTASK_RESULT_DB", str(history))
        script("examples.web_django", "init")
        modules = [f"examples.{name}" for name in SERVED]
        workers.start(*modules, concurrency=2, env={"AIOTASK_RESULT_DB": str(history)})
        yield workers


def script(*arguments: str) -> str:
    """What `python -m …` prints, in the clone."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, f"{arguments} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert not done.stderr
    return done.stdout


# ---- scripts


def test_the_quick_start_draws_its_picture_and_gets_its_exception(fleet: Workers) -> None:
    lines = script("examples.readme").splitlines()

    assert len(lines) == 25
    # The set is symmetric about the real axis.
    assert lines[:24] == lines[23::-1]
    assert "@" in lines[11]
    assert lines[24] == "ValueError: row 99 is not in a picture of 24 rows"


def test_a_script_without_a_loop_counts_the_words_of_files(fleet: Workers, tmp_path: Path) -> None:
    one, other = tmp_path / "one.txt", tmp_path / "other.txt"
    one.write_text(TEXT)
    other.write_text("salt leek salt")

    printed = script("examples.plain_script", str(one), str(other))

    assert printed.splitlines() == [f"{one} be=3 to=2 or=1", f"{other} salt=2 leek=1"]


def test_models_travel_as_json(fleet: Workers) -> None:
    assert script("examples.orders_json") == "Ada owes 4.25, due on 2026-02-13\n"


def test_c4_a_middleware_beats_while_sync_and_async_jobs_run(fleet: Workers) -> None:
    assert script("examples.heartbeat").splitlines() == ["compute: beat while it ran", "wait: beat while it ran"]


def test_a_trace_goes_over_a_request_its_job_and_the_jobs_of_the_job(fleet: Workers) -> None:
    task = "examples.tracing"
    assert script("examples.tracing").splitlines() == [
        *("2.00 euros", "POST /orders", f"  send {task}:order", f"    process {task}:order"),
        "      look up the customer",
        *[f"      send {task}:price", f"        process {task}:price"] * 2,
    ]


def test_schedules_of_tasks_and_of_run_time(fleet: Workers) -> None:
    assert script("examples.cron").splitlines() == [
        *("report of customer 7", "['report-7']", "measured, though no program has called it"),
    ]


def test_of_a_burst_of_calls_one_runs(fleet: Workers) -> None:
    printed = script("examples.debounce").splitlines()
    assert printed == ["10 calls, 2 jobs", "indexed letter: Dear Ada,", "indexed diary: Rain."]


def test_tenants_share_a_limit(fleet: Workers) -> None:
    assert script("examples.tenants") == "Counter({'large': 20, 'busy': 2, 'small': 2})\n"


def test_a_transaction_of_a_failed_job_is_rolled_back(fleet: Workers) -> None:
    assert script("examples.database").splitlines() == ["refused: an order of 0 pieces", "1 more"]


def test_the_test_of_the_database_example_passes_with_another_database() -> None:
    code = "import asyncio, examples.database as it; asyncio.run(it.test_an_order_that_is_refused_is_not_stored())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "AIOTASK_URL": "memory://", "ORDERS_DATABASE": "/nowhere/it.is"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def test_a_table_of_ones_own_is_a_queue_without_a_server(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "examples.rows"],
        cwd=ROOT,
        env={**os.environ, "AIOTASK_URL": "redis://127.0.0.1:1/0", "PHOTOS_DATABASE": str(tmp_path / "photos.db")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        *("1 row has run", "5 rows have run", "11 rows have run", "test 2 {'foo': 'bar'}"),
        "broken ValueError: this photo cannot be read {'problem': 'this photo cannot be read'}",
    ]


# ---- calls that depend on calls


def test_a_calculation_is_three_jobs_with_rows_in_the_history(fleet: Workers) -> None:
    said, status, *rows = script("examples.calc").splitlines()

    assert said == "(1 + 2) * (3 + 4) = 21"
    assert status == "SUCCESS 21"
    assert rows[0] == "examples.calc:mul took the values of 2 jobs; its own is 21"
    assert sorted(rows[1:]) == [f"examples.calc:add took the values of 0 jobs; its own is {value}" for value in (3, 7)]


def test_jobs_groups_and_chains_report_what_becomes_of_them(fleet: Workers) -> None:
    (supervisor,) = fleet.all

    assert script("examples.sums").splitlines() == ["9 SUCCESS", "[4, 5, 6]", "12"]
    # One job, a group of three and a chain of three; the reports follow the outcomes.
    wait_until(lambda: supervisor.log.count("ended as SUCCESS") >= 7, description="every job has reported its end")
    assert supervisor.log.count("processing") == 7


def test_pictures_are_scaled_and_joined(fleet: Workers) -> None:
    assert script("examples.thumbnails") == "48 x 8\n"


def test_texts_are_embedded_in_lists(fleet: Workers) -> None:
    texts, *alike, refused = script("examples.embeddings").splitlines()

    count = re.fullmatch(r"300 texts, up to (\d+) in one call", texts)
    assert count and 1 < int(count[1]) <= 64
    assert alike[:2] == [
        "'the leek is green' is most like 'the leeks are green'",
        "'the leeks are green' is most like 'the leek is green'",
    ]
    assert len(alike) == 6
    assert refused == "refused: a text without words"


def test_the_words_of_many_files_are_counted(fleet: Workers) -> None:
    counted: Counter[str] = Counter()
    for file in Path(json.__file__).parent.parent.glob("*.py"):
        counted.update(re.findall(r"[a-z]{4,}", file.read_text(encoding="utf-8", errors="replace").lower()))

    lines = [line.split() for line in script("examples.wordcount").splitlines()]

    assert [(word, int(number.replace(",", ""))) for word, number in lines] == counted.most_common(3)


def test_a_crawler_follows_links_that_it_did_not_know(fleet: Workers) -> None:
    assert script("examples.crawler").splitlines() == [
        *("/", "/docs", "/docs/tasks", "/docs/workers"),
        *("/blog", "/blog/1", "/blog/2", "/blog/2/comments", "/blog/3"),
    ]


def test_an_order_that_fails_gives_back_what_it_has_reserved(fleet: Workers) -> None:
    (supervisor,) = fleet.all

    assert script("examples.order").splitlines() == [
        "a kettle reserved, paid, shipped",
        "examples.order:charge failed: the card was declined",
    ]
    told = "a gold watch is given back: the card was declined"
    wait_until(lambda: told in supervisor.log, description="the reservation is given back")
    assert "a kettle is given back" not in supervisor.log


# ---- sites


@pytest.fixture(scope="module")
def starlette_site(fleet: Workers) -> ModuleType:
    return importlib.import_module("examples.web_starlette")


@pytest.fixture(scope="module")
def django_site(fleet: Workers) -> ModuleType:
    return importlib.import_module("examples.web_django")


async def test_a13_a_starlette_handler_awaits_sends_and_looks(starlette_site: ModuleType) -> None:
    import httpx

    transport = httpx.ASGITransport(app=starlette_site.site)
    async with (
        starlette_site.lifespan(starlette_site.site),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as browser,
    ):
        now = await browser.get("/now", params={"text": TEXT})
        assert (now.status_code, now.json()) == (200, {"words": WORDS})

        sent = await browser.post("/jobs", content=TEXT)
        assert sent.status_code == 202
        place = f"/jobs/{sent.json()['id']}"

        async def done() -> bool:
            return bool((await browser.get(place)).json()["status"] == "SUCCESS")

        await wait_until_async(done, description="the job has ended")
        assert (await browser.get(place)).json() == {"status": "SUCCESS", "words": WORDS}
        assert (await browser.get("/jobs/never-sent")).status_code == 404


async def test_a13_an_async_django_view_awaits_and_looks(django_site: ModuleType) -> None:
    from django.test import AsyncClient

    browser = AsyncClient(headers={"host": "localhost"})

    now = await browser.get("/now", {"text": TEXT})
    assert (now.status_code, now.json()) == (200, {"words": WORDS})
    sent = await browser.get("/send", {"text": TEXT})
    place = f"/status/{sent.json()['id']}"

    async def done() -> bool:
        # Until the relay has sent it, the job is not known.
        return (await browser.get(place)).json().get("status") == "SUCCESS"

    await wait_until_async(done, description="the job has ended")
    waited = await browser.get(f"/wait/{sent.json()['id']}")
    assert waited.json() == {"words": WORDS}
    assert (await browser.get("/status/never-sent")).status_code == 404


def test_a13_a_django_site_under_wsgi_has_a_new_loop_for_every_request(django_site: ModuleType) -> None:
    from django.test import Client

    browser = Client(headers={"host": "localhost"})

    for _ in range(5):
        assert browser.get("/now", {"text": TEXT}).json() == {"words": WORDS}
    sent = browser.get("/send", {"text": TEXT}).json()
    id = sent["id"]
    wait_until(lambda: browser.get(f"/wait/{id}").status_code == 200, description="the relay has sent it")
    assert browser.get(f"/wait/{id}").json() == {"words": WORDS}
    assert browser.get(f"/texts/{sent['text']}").json() == {"words": WORDS}
    wait_until(lambda: browser.get(f"/status/{id}").json() == {"status": "SUCCESS"}, description="it has ended")
    assert browser.get("/wait/never-sent").status_code == 404


def test_the_django_file_is_its_own_manage(fleet: Workers) -> None:
    assert "no issues" in script("examples.web_django", "check")


# ---- what they say


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_says_how_it_is_run_by_modules_that_are_there(path: Path) -> None:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    modules = re.findall(r"(?:worker|-m|uvicorn|--app) (examples\.\w+)", text)

    assert text
    assert modules or path.stem == "readme"
    for module in modules:
        assert (ROOT / f"{module.replace('.', '/')}.py").is_file(), module
