"""A result that was made before a fork, in the child."""

from __future__ import annotations

from pathlib import Path

import pytest

from .senders import pending, run_program, serving

FORK = """
def in_child(call, parent_sends):
    context = multiprocessing.get_context("fork")
    def child(result):
        print(outcome(lambda: call(result)), flush=True)
    async def main():
        result = add.apply_async(1)
        process = context.Process(target=child, args=(result,))
        process.start()
        if parent_sends:
            await result.sent()
            await asyncio.to_thread(process.join)
        else:
            process.join()      # the loop is blocked
            os._exit(0)
    asyncio.run(main())
async def awaited(result): return await result
async def gathered(result):
    import aiotask
    return (await aiotask.gather([result]))[0]
def after_sent(result, ask):
    result.blocking.sent()
    return ask()
"""
CALLS = {
    "get": ("result.get(timeout=30)", {"3"}),
    "await": ("asyncio.run(awaited(result))", {"3"}),
    "gather": ("asyncio.run(gathered(result))", {"3"}),
    "sent": ("result.blocking.sent()", {"None"}),
    "status": ("after_sent(result, result.blocking.status)", {"PENDING", "RUNNING", "SUCCESS"}),
    "cancel": ("after_sent(result, result.blocking.cancel)", {"cancelled", "asked", "finished"}),
}


@pytest.mark.parametrize("call", CALLS)
def test_the_child_reaches_the_job_that_its_parent_sends(
    tmp_path: Path, redis_url: str, app_name: str, call: str
) -> None:
    code, expected = CALLS[call]

    with serving(redis_url, app_name):
        done = run_program(tmp_path, redis_url, app_name, f"{FORK}\nin_child(lambda result: {code}, True)\n")

    assert done.stdout.strip() in expected, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("result.get()", "JobLost"),
        ("asyncio.run(awaited(result))", "JobLost"),
        ("result.blocking.sent()", "JobLost"),
        ("result.blocking.status()", "ResultExpired"),
        ("result.blocking.cancel()", "ResultExpired"),
    ],
)
def test_the_child_is_told_of_the_fork_where_its_parent_never_sends(
    tmp_path: Path, redis_url: str, app_name: str, call: str, error: str
) -> None:
    done = run_program(tmp_path, redis_url, app_name, f"{FORK}\nin_child(lambda result: {call}, False)\n")

    assert done.stdout.startswith(f"{error}: "), done.stdout + done.stderr
    assert "forked" in done.stdout
    assert pending(redis_url, app_name) == 0


def test_a_child_of_the_memory_broker_is_told_at_once(tmp_path: Path, app_name: str) -> None:
    done = run_program(
        tmp_path, "memory://", app_name, f"{FORK}\nin_child(lambda result: result.get(timeout=25), True)\n"
    )

    assert "was forked" in done.stdout, done.stdout + done.stderr
