"""A fleet of which one half runs the release before: it shares an app, and every job ends once."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tarfile
from collections import Counter
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

import aiotask
from aiotask import App

from .workers import ROOT, Workers

#: The last commit of the release before this one.
BEFORE = "eb3507f02f5268f4c63db289077702bc0b406d2e"

app = App(os.environ.get("TEST_APP", "fleet"))


@app.task
async def note(path: str, number: int) -> int:
    _append(path, number)
    return number * 2


@app.task
def note_in_line(path: str, number: int) -> int:
    _append(path, number)
    return number * 2


@app.task(retries=2)
async def fail_once(path: str, number: int) -> int:
    first = str(number) not in Path(path).read_text().split()[::2]
    _append(path, number)
    if first:
        raise ValueError(f"run {number} once more")
    return number * 2


#: The release before knows no limits; its workers run the task without one, if they get a job of it.
_limited: dict[str, Any] = {"limit": aiotask.Limit(max_running=2)} if hasattr(aiotask, "Limit") else {}


@app.task(**_limited)
async def note_limited(path: str, number: int) -> int:
    _append(path, number)
    return number * 2


def _append(path: str, number: int) -> None:
    with open(path, "a") as file:  # one write below the size of a page is whole
        file.write(f"{number} {aiotask.__file__}\n")


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the packages of the release before."""
    archive = subprocess.run(["git", "archive", BEFORE, "aiotask", "cli"], cwd=ROOT, capture_output=True, check=False)
    if archive.returncode:
        pytest.skip(f"commit {BEFORE} of the release before is not in this checkout: {archive.stderr.decode()}")
    folder = tmp_path_factory.mktemp("before")
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as tar:
        tar.extractall(folder, filter="data")
    shutil.move(folder / "cli", folder / "aiotask_cli")
    return folder


SEND = """\
import asyncio, sys
from tests.test_mixed_fleet import app, fail_once, note, note_in_line

async def main() -> None:
    path, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    async with app:
        results = [task.apply_async(path, number) for number in range(first, first + count)
                   for task in [(note, note_in_line, fail_once)[number % 3]]]
        print(sum(await asyncio.gather(*results)))

asyncio.run(main())
"""


SEND_SPECIAL = """\
import asyncio, sys
from aiotask import BrokerError
from tests.test_mixed_fleet import app, note, note_in_line, note_limited

async def main() -> None:
    path, count = sys.argv[1], int(sys.argv[2])
    async with app:
        try:
            await note_limited.apply_async(path, -1).sent()
        except BrokerError as error:
            print(error, flush=True)
        plain = [note.apply_async(path, 4 * number) for number in range(count)]
        print(sum(await asyncio.gather(*plain)), flush=True)
        input()
        expiring = [note.options(expires=600.0).apply_async(path, 4 * number + 1) for number in range(count)]
        unique = [note_in_line.options(key=f"key-{number}", unique="unfinished").apply_async(path, 4 * number + 2)
                  for number in range(count)]
        limited = [note_limited.apply_async(path, 4 * number + 3) for number in range(count)]
        print(sum(await asyncio.gather(*expiring, *unique, *limited)), flush=True)

asyncio.run(main())
"""


def test_a_limit_is_refused_beside_the_release_before_and_nothing_else_is(
    before: Path, workers: Workers, app_name: str, tmp_path: Path
) -> None:
    count, path = 100, tmp_path / "ledger"
    path.touch()
    env = {"TEST_APP": app_name, "AIOTASK_URL": workers.url}
    of_before = env | {"PYTHONPATH": f"{before}:{ROOT}"}
    older = workers.start("tests.test_mixed_fleet", concurrency=1, env=of_before, app_dir=tmp_path)
    workers.start("tests.test_mixed_fleet", concurrency=1, env=env, app_dir=ROOT)

    with subprocess.Popen(
        [sys.executable, "-c", SEND_SPECIAL, str(path), str(count)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout is not None and program.stdin is not None
        # Its keeper would set a limited job aside that waits for a retry. Plain jobs can be sent all the same.
        assert "is of an older release" in program.stdout.readline()
        assert program.stdout.readline() == f"{2 * sum(range(0, 4 * count, 4))}\n"
        assert older.stop() == 0
        program.stdin.write("\n")
        program.stdin.flush()
        special = [number for number in range(4 * count) if number % 4]
        assert program.stdout.readline() == f"{2 * sum(special)}\n"
        assert program.wait(60) == 0

    lines = [line.split() for line in path.read_text().splitlines()]
    assert sorted(int(number) for number, _ in lines) == list(range(4 * count))
    assert {file for number, file in lines if int(number) % 4} == {aiotask.__file__}
    assert str(before / "aiotask/__init__.py") in {file for _, file in lines}


def test_workers_and_clients_of_both_releases_share_an_app(
    before: Path, workers: Workers, app_name: str, tmp_path: Path
) -> None:
    count, path = 600, tmp_path / "ledger"
    path.touch()
    env = {"TEST_APP": app_name, "AIOTASK_URL": workers.url}
    of_before = env | {"PYTHONPATH": f"{before}:{ROOT}"}
    there = subprocess.run(
        [sys.executable, "-c", "import aiotask; print(aiotask.__file__)"],
        cwd=tmp_path,
        env=os.environ | of_before,
        capture_output=True,
        text=True,
        check=True,
    )
    assert there.stdout.startswith(str(before))

    workers.start("tests.test_mixed_fleet", concurrency=1, env=env, app_dir=ROOT)
    # Its current directory comes first in the path of a program.
    workers.start("tests.test_mixed_fleet", concurrency=1, env=of_before, app_dir=tmp_path)

    async def send() -> list[tuple[int, str, str]]:
        async def one(env: dict[str, str], first: int) -> tuple[int, str, str]:
            program = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", SEND, str(path), str(first), str(count)),
                cwd=tmp_path,
                env=os.environ | {"PYTHONPATH": str(ROOT)} | env,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            async with asyncio.timeout(120):
                out, err = await program.communicate()
            return program.returncode or 0, out.decode(), err.decode()

        return list(await asyncio.gather(one(env, 0), one(of_before, count)))

    new, old = asyncio.run(send())
    assert new == (0, f"{2 * sum(range(count))}\n", ""), new
    assert old == (0, f"{2 * sum(range(count, 2 * count))}\n", ""), old
    lines = [line.split() for line in path.read_text().splitlines()]
    runs = Counter(int(number) for number, _ in lines)
    assert runs == {number: 2 if number % 3 == 2 else 1 for number in range(2 * count)}
    assert {file for _, file in lines} == {aiotask.__file__, str(before / "aiotask/__init__.py")}
