"""Pages of the history: whole and without gaps, and searches that end after some time."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from aiotask import ResultDB
from aiotask.errors import ConfigError
from aiotask.history import pages
from aiotask.history.pages import HistoryPage
from aiotask.history.recorder import Recorder

from ..history import START, finished


async def all_pages(db: ResultDB, limit: int, **wanted: object) -> list[HistoryPage]:
    found = [await db.page(limit=limit, **wanted)]  # type: ignore[arg-type]
    while found[-1].after:
        found.append(await db.page(limit=limit, after=found[-1].after, **wanted))  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize("limit", [1, 7, 25, 30, 100])
async def test_pages_have_each_job_once(many: ResultDB, limit: int) -> None:
    for wanted in ({}, {"status": "FAILED"}, {"queue": "mail"}, {"task": "shop.tasks:mail", "status": "FAILED"}):
        found = [record.id for page in await all_pages(many, limit, **wanted) for record in page.records]
        assert found == [record.id for record in await many.search(**wanted, limit=None)]  # type: ignore[arg-type]
        assert len(found) == len(set(found)) > 0
    last = (await all_pages(many, limit))[-1]
    assert last.records, "a page that is promised has something on it"


async def test_jobs_that_ended_at_the_same_time_are_told_apart(db: ResultDB, recorder: Recorder) -> None:
    recorder.record([finished(f"job-{n}", finished_at=START) for n in range(10)])

    found = [record.id for page in await all_pages(db, 3) for record in page.records]

    assert sorted(found) == [f"job-{n}" for n in range(10)]


async def test_a_page_goes_on_behind_a_job_that_is_gone(many: ResultDB, path: Path) -> None:
    first = await many.page(limit=10)
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM jobs WHERE id IN (?, ?)", [first.records[-1].id, "089"])
    connection.close()

    second = await many.page(limit=2, after=first.after)

    assert [record.id for record in second.records] == ["088", "087"]


async def test_rows_without_a_time_come_last(many: ResultDB, path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE jobs SET finished_at = NULL WHERE id IN ('003', '004')")
        connection.execute("UPDATE jobs SET finished_at = 'soon' WHERE id = '005'")
    connection.close()

    for limit in (1, 40, 1000):
        for wanted in ({}, {"queue": "mail"}):
            found = [record.id for page in await all_pages(many, limit, **wanted) for record in page.records]
            assert len(found) == len(set(found)) == (20 if wanted else 100)
            assert found[-1:] == ["005"] if wanted else found[-3:] == ["005", "004", "003"]


async def test_text_is_found_in_arguments_result_and_error(db: ResultDB, recorder: Recorder) -> None:
    recorder.record([finished("a", args=("Ada 100%",)), finished("b", args=("ada_1000",)), finished("c", value="x")])

    async def ids(text: str) -> list[str]:
        return sorted(record.id for record in (await db.page(text=text)).records)

    assert await ids("ADA") == ["a", "b"]
    assert (await ids("100%"), await ids("ada_"), await ids("!")) == (["a"], ["b"], [])
    assert await db.count(text="ada") == 2


async def test_a_search_ends_after_its_time_and_says_where_it_goes_on(
    many: ResultDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "_LOOK", 9)

    found: list[str] = []
    page = await many.page(queue="mail", limit=50, seconds=0.0)
    looked = 0
    while page.is_cut:
        assert page.after and page.until is not None and page.until <= START + 100
        found += [record.id for record in page.records]
        looked += 1
        page = await many.page(queue="mail", limit=50, seconds=0.0, after=page.after)
    found += [record.id for record in page.records]

    assert looked > 5
    assert found == [record.id for record in await many.search(queue="mail", limit=None)]


async def test_a_count_ends_at_a_number_or_a_time(many: ResultDB) -> None:
    assert await many.count_some(10.0, 30) == 30
    assert await many.count_some(10.0, 1000) == 100
    assert await many.count_some(10.0, 1000, queue="mail") == 20
    # Many rows are needed for a count that takes long.
    assert await many.count_some(-1.0, 1000) in (None, 100)


@pytest.mark.parametrize("after", ["x", "[1]", "[1,2,3]", '["soon","a","b"]', "{}"])
async def test_a_place_that_no_page_gave_is_refused(many: ResultDB, after: str) -> None:
    with pytest.raises(ConfigError, match="is no place in the history"):
        await many.page(after=after)
