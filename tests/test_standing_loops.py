"""Jobs handed over in an event loop that does not send them: it stands still, was closed bare, or is blocked."""

from __future__ import annotations

from pathlib import Path

import pytest

from .crossed import crossed
from .senders import ran, run_program, serving

START = """
async def start(n):
    return add.apply_async(n)
loops = []
def standing(n):
    loops.append(asyncio.new_event_loop())
    return loops[-1].run_until_complete(start(n))
def closed(n):
    result = standing(n)
    loops[-1].close()
    return result
def stopped(n):
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    result = asyncio.run_coroutine_threadsafe(start(n), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    return result
go_on = threading.Event()
def blocked(n):
    made = []
    async def main():
        made.append(add.apply_async(n))
        there.set()
        go_on.wait()
        await made[0]
    there = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    there.wait()
    loops.append(thread)
    return made[0]
async def flushed(result):
    await app.flush()
    return await result.wait(timeout=20)
async def looked_up(result):
    return await add.result(result.id).wait(timeout=20)
"""
OPERATIONS = {
    "get": "print(result.get(timeout=20))",
    "await": "print(asyncio.run(result.wait(timeout=20)))",
    "sent": "result.blocking.sent(timeout=20); print(result.get(timeout=20))",
    "status": "assert result.blocking.status() != 'none'; print(result.get(timeout=20))",
    "cancel": "print(3 if result.blocking.cancel() in ('cancelled', 'asked', 'finished') else 'not cancelled')",
    "flush": "print(asyncio.run(flushed(result)))",
}


@pytest.mark.parametrize(("kind", "operation"), crossed(["standing", "closed", "stopped", "blocked"], list(OPERATIONS)))
def test_a_job_of_a_loop_that_does_not_send_is_sent_once_a_caller_asks_for_it(
    tmp_path: Path, redis_url: str, app_name: str, kind: str, operation: str
) -> None:
    with serving(redis_url, app_name) as arguments:
        done = run_program(
            tmp_path,
            redis_url,
            app_name,
            f"{START}\nresult = {kind}(1)\n{OPERATIONS[operation]}\ngo_on.set()\n",
        )

    assert done.stdout.split() == ["3"], done.stderr
    assert arguments == [1] or operation == "cancel"


@pytest.mark.parametrize("kind", ["standing", "closed", "stopped"])
def test_a_handle_by_id_finds_a_job_that_its_loop_has_not_sent(
    tmp_path: Path, redis_url: str, app_name: str, kind: str
) -> None:
    with serving(redis_url, app_name):
        done = run_program(
            tmp_path, redis_url, app_name, f"{START}\nresult = {kind}(1)\nprint(asyncio.run(looked_up(result)))\n"
        )

    assert done.stdout.split() == ["3"], done.stderr


def test_a_loop_that_goes_on_after_another_one_has_sent_its_jobs_sends_none_of_them_twice(
    tmp_path: Path, redis_url: str, app_name: str
) -> None:
    done = run_program(
        tmp_path,
        redis_url,
        app_name,
        """
        loop = asyncio.new_event_loop()
        async def start(first):
            results = [add.apply_async(n) for n in range(first, first + 400)]
            await asyncio.sleep(0)      # a batch is on its way
            return results[-1]
        for turn in range(30):
            last = loop.run_until_complete(start(turn * 400))
            if turn % 3 == 0: last.blocking.sent(timeout=20)
            if turn % 3 == 1: asyncio.run(app.flush())
        async def end():
            await app.flush()
        loop.run_until_complete(end())
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
        """,
    )

    assert done.returncode == 0, done.stderr
    assert ran(redis_url, app_name) == list(range(30 * 400))


def test_flush_returns_though_another_loop_is_blocked(tmp_path: Path, redis_url: str, app_name: str) -> None:
    done = run_program(
        tmp_path,
        redis_url,
        app_name,
        f"""{START}
for n in range(3): blocked(n)
asyncio.run(app.flush())
print("flushed", flush=True)
os._exit(0)     # without any last words
""",
    )

    assert done.stdout.split() == ["flushed"], done.stderr
    assert ran(redis_url, app_name) == [0, 1, 2]
