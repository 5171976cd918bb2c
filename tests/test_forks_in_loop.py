"""Processes that jobs fork while their worker runs in the event loop of the program."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from .senders import run_program

PROGRAM = """
from concurrent.futures import ThreadPoolExecutor

RUNS = os.path.join(os.path.dirname(__file__), "runs")

def forked(end):
    child = os.fork()
    if child == 0:
        if end == "exit": sys.exit(7)
        if end == "raise": raise ValueError("in the child")
    return child

def exit_code(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

@app.task(name="jobs:forks")
async def forks(place, end):
    if place == "job": child = forked(end)
    elif place == "thread": child = await asyncio.to_thread(forked, end)
    else:
        async def forking():
            await asyncio.sleep(0)
            return forked(end)
        child = await asyncio.create_task(forking())
    return await asyncio.to_thread(exit_code, child) if child else "child"

@app.task(name="jobs:sync_forks")
def sync_forks(end):
    child = forked(end)
    return exit_code(child) if child else "child"

@app.task(name="jobs:notes")
def notes(n):
    with open(RUNS, "a") as file: file.write(f"{n}\\n")

async def main():
    async with app.worker(concurrency=1):
        print(await jobs())
        assert await notes.apply_async(0) is None
        print(open(RUNS).read().split())
"""


@pytest.mark.parametrize(("end", "code"), [("exit", 7), ("raise", 1), ("return", 0)])
@pytest.mark.parametrize("place", ["job", "child task", "thread"])
def test_the_end_of_a_process_that_an_async_job_forks_is_its_own(
    tmp_path: Path, redis_url: str, app_name: str, place: str, end: str, code: int
) -> None:
    jobs = f"def jobs(): return forks.apply_async({place!r}, {end!r})\nasyncio.run(main())\n"

    done = run_program(tmp_path, redis_url, app_name, PROGRAM + jobs)

    assert done.stdout.splitlines() == [str(code), "['0']"], done.stdout + done.stderr


@pytest.mark.parametrize(("end", "code"), [("exit", 7), ("raise", 1), ("return", 0)])
def test_a_process_that_a_sync_job_forks_runs_none_of_the_jobs_behind_it(
    tmp_path: Path, redis_url: str, app_name: str, end: str, code: int
) -> None:
    jobs = f"""
async def jobs():
    first, *others = [sync_forks.apply_async({end!r}), *(notes.apply_async(n) for n in range(1, 6))]
    for other in others: await other
    return await first
asyncio.run(main())
"""

    done = run_program(tmp_path, redis_url, app_name, PROGRAM + jobs)

    said, ran = done.stdout.splitlines()
    # Threads run them, in any order.
    assert (said, sorted(ast.literal_eval(ran))) == (str(code), list("012345")), done.stdout + done.stderr


def test_a_process_that_the_program_forks_itself_goes_on(tmp_path: Path, redis_url: str, app_name: str) -> None:
    jobs = """
async def jobs():
    child = os.fork()
    if child == 0:
        inner()
        os._exit(5)
    return await asyncio.to_thread(exit_code, child)
def inner(): return 1
asyncio.run(main())
"""

    done = run_program(tmp_path, redis_url, app_name, PROGRAM + jobs)

    assert done.stdout.splitlines() == ["5", "['0']"], done.stdout + done.stderr
