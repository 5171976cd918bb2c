"""A fleet of which one half runs an earlier release: it shares an app, and every job ends once."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

import aiotask
from aiotask import App

from .workers import ROOT, Workers

#: The last commits before graphs, and before limits, unique jobs, schedules, streams, batches and checkpoints.
BEFORE = {
    "before graphs": "eb3507f02f5268f4c63db289077702bc0b406d2e",
    "before limits": "df0dacbdc1ddfaf8e5d899f6bf0e0173888c3022",
}

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


#: Earlier releases know no limits and no streams; their workers run these tasks without, if they get a job of them.
_is_earlier = not hasattr(aiotask, "Limit")
_limited: dict[str, Any] = {} if _is_earlier else {"limit": aiotask.Limit(max_running=2), "retries": 1}


@app.task(**_limited)
async def note_limited(path: str, number: int) -> int:
    _append(path, number)
    return number * 2


@app.task(**_limited)
async def turned_away(path: str, number: int) -> int:
    """The service that it calls answers the first time that there are too many calls."""
    if not _is_earlier and aiotask.current_job().attempt == 1:
        raise aiotask.Retry("429", delay=0.2, limit=True)
    _append(path, number)
    return number * 2


if _is_earlier:

    @app.task
    async def note_stream(path: str, number: int) -> int:
        _append(path, number)
        return number * 2

else:

    @app.task
    async def note_stream(path: str, number: int) -> AsyncIterator[int]:
        _append(path, number)
        yield number * 2


def _append(path: str, number: int) -> None:
    with open(path, "a") as file:  # one write below the size of a page is whole
        file.write(f"{number} {aiotask.__file__}\n")


@pytest.fixture(scope="module", params=list(BEFORE))
def release(request: pytest.FixtureRequest) -> str:
    """Which earlier release the half of the fleet runs."""
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def before(release: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the packages of that release."""
    commit = BEFORE[release]
    archive = subprocess.run(["git", "archive", commit, "aiotask", "cli"], cwd=ROOT, capture_output=True, check=False)
    if archive.returncode:
        pytest.skip(f"commit {commit} of an earlier release is not in this checkout: {archive.stderr.decode()}")
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
from tests.test_mixed_fleet import app, note, note_in_line, note_limited, note_stream, turned_away

async def main() -> None:
    path, count = sys.argv[1], int(sys.argv[2])
    async with app:
        # Sent together: those without a limit are sent.
        limited = note_limited.apply_async(path, -1)
        plain = [note.apply_async(path, 6 * number) for number in range(count)]
        try:
            await limited.sent()
        except BrokerError as error:
            print(error, flush=True)
        print(sum(await asyncio.gather(*plain)), flush=True)
        if sys.argv[3] == "before graphs":
            # That release does not park jobs of a later one.
            input()
        expiring = [note.options(expires=600.0).apply_async(path, 6 * number + 1) for number in range(count)]
        unique = [note_in_line.options(key=f"key-{number}", unique="unfinished").apply_async(path, 6 * number + 2)
                  for number in range(count)]
        streams = [note_stream.apply_async(path, 6 * number + 3) for number in range(count)]
        items = [item for stream in streams for item in await stream]
        print(sum([*await asyncio.gather(*expiring, *unique), *items]), flush=True)
        if sys.argv[3] != "before graphs":
            input()
        limited = [note_limited.apply_async(path, 6 * number + 4) for number in range(count)]
        limited += [turned_away.apply_async(path, 6 * number + 5) for number in range(count)]
        print(sum(await asyncio.gather(*limited)), flush=True)

asyncio.run(main())
"""


def test_an_earlier_release_takes_no_special_job_and_a_limit_is_refused_beside_it(
    before: Path, release: str, workers: Workers, app_name: str, tmp_path: Path
) -> None:
    count, path = 100, tmp_path / "ledger"
    path.touch()
    env = {"TEST_APP": app_name, "AIOTASK_URL": workers.url}
    of_before = env | {"PYTHONPATH": f"{before}:{ROOT}"}

    def total(kind: int) -> int:
        """The sum of what the jobs of one kind return."""
        return 2 * sum(range(kind, 6 * count, 6))

    older = workers.start("tests.test_mixed_fleet", concurrency=1, env=of_before, app_dir=tmp_path)
    workers.start("tests.test_mixed_fleet", concurrency=1, env=env, app_dir=ROOT)

    with subprocess.Popen(
        [sys.executable, "-c", SEND_SPECIAL, str(path), str(count), release],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout is not None and program.stdin is not None
        # Its keeper would set a limited job aside that waits for a retry. Others can be sent all the same.
        assert "is of an older release" in program.stdout.readline()
        assert program.stdout.readline() == f"{total(0)}\n"
        if release != "before graphs":
            assert program.stdout.readline() == f"{total(1) + total(2) + total(3)}\n"
        assert older.stop() == 0
        program.stdin.write("\n")
        program.stdin.flush()
        if release == "before graphs":
            assert program.stdout.readline() == f"{total(1) + total(2) + total(3)}\n"
        assert program.stdout.readline() == f"{total(4) + total(5)}\n"
        assert program.wait(60) == 0

    lines = [line.split() for line in path.read_text().splitlines()]
    assert sorted(int(number) for number, _ in lines) == list(range(6 * count))
    assert {file for number, file in lines if int(number) % 6} == {aiotask.__file__}
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
