"""Sends at the end of a program, and in children of it that end in their own ways."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from .senders import ran, run_program, serving

LATE = {
    "exit handler registered before aiotask": (
        "import atexit\natexit.register(lambda: add.apply_async(2))\n",
        "add.apply_async(1).blocking.sent(timeout=20)\n",
    ),
    "exit handler registered before the first send": (
        "",
        "atexit.register(lambda: add.apply_async(2))\nadd.apply_async(1).blocking.sent(timeout=20)\n",
    ),
    "first send in an exit handler": (
        "import atexit\natexit.register(lambda: add.apply_async(2))\n",
        "atexit.register(lambda: add.apply_async(1))\n",
    ),
    "event loop in an exit handler": (
        "import atexit\natexit.register(lambda: asyncio.run(main()))\n",
        "async def main():\n    await add.apply_async(2).sent()\nadd.apply_async(1).blocking.sent(timeout=20)\n",
    ),
    "finalizer of a global": (
        "",
        "class Last:\n    def __del__(self): add.apply_async(2)\nlast = Last()\n"
        "add.apply_async(1).blocking.sent(timeout=20)\n",
    ),
    "thread after the end of the main one": (
        "",
        "def late():\n    threading.main_thread().join()\n    add.apply_async(1).blocking.sent(timeout=20)\n"
        "    add.apply_async(2)\nthreading.Thread(target=late).start()\n",
    ),
}


@pytest.mark.parametrize("case", LATE)
def test_what_is_sent_after_the_end_of_a_program_is_sent_at_once(
    tmp_path: Path, redis_url: str, app_name: str, case: str
) -> None:
    before, after = LATE[case]

    done = run_program(tmp_path, redis_url, app_name, after, before=before)

    assert (done.returncode, done.stderr) == (0, "")
    assert ran(redis_url, app_name) == [1, 2]


def test_unique_jobs_that_are_sent_at_the_end_are_one_job(tmp_path: Path, redis_url: str, app_name: str) -> None:
    send = "[add.options(key='k', unique='unfinished').apply_async(n) for n in (1, 2)]"

    done = run_program(tmp_path, redis_url, app_name, f"atexit.register(lambda: {send})\n")

    assert (done.returncode, done.stderr) == (0, "")
    assert ran(redis_url, app_name) == [1]


def test_a_result_is_awaited_in_an_exit_handler_that_runs_after_all_others(
    tmp_path: Path, redis_url: str, app_name: str
) -> None:
    with serving(redis_url, app_name):
        done = run_program(
            tmp_path,
            redis_url,
            app_name,
            "add.apply_async(1).blocking.sent(timeout=20)\n",
            before="import atexit\natexit.register(lambda: print(add.apply_async(2).get(timeout=20)))\n",
        )

    assert (done.stdout.split(), done.stderr) == (["4"], "")


def test_a_last_send_that_fails_is_logged(tmp_path: Path, app_name: str) -> None:
    done = run_program(
        tmp_path,
        f"unix://{tmp_path}/missing.sock",
        app_name,
        "app.client\n",
        before="import atexit\natexit.register(lambda: add.apply_async(2))\n",
    )

    assert "1 job not sent" in done.stderr
    assert "missing.sock" in done.stderr


# ---- children of multiprocessing, which end by os._exit

POOLS = {
    "Process": """
        children = [context.Process(target=send, args=(n,)) for n in range(4)]
        for child in children: child.start()
        for child in children: child.join()
        assert {child.exitcode for child in children} == {0}
        """,
    "ProcessPoolExecutor": """
        from concurrent.futures import ProcessPoolExecutor
        with ProcessPoolExecutor(2, mp_context=context) as pool: list(pool.map(send, range(4)))
        """,
    "Pool": """
        pool = context.Pool(2)
        pool.map(send, range(4)); pool.close(); pool.join()
        """,
}
#: These end their children by SIGTERM, as soon as the last call has returned.
TERMINATING = {
    "Pool in a block": """
        with context.Pool(2) as pool: pool.map(send, range(4))
        """,
    "Pool.terminate": """
        pool = context.Pool(2)
        pool.map(send, range(4)); pool.terminate(); pool.join()
        """,
}
SENDS = {
    "no loop": "def send(n):\n    add.apply_async(n)\n",
    "loop left open": (
        "async def start(n):\n    add.apply_async(n)\n"
        "def send(n):\n    asyncio.new_event_loop().run_until_complete(start(n))\n"
    ),
    "thread": (
        "def late(n):\n    time.sleep(0.05); add.apply_async(n)\n"
        "def send(n):\n    threading.Thread(target=late, args=(n,)).start()\n"
    ),
}


#: Who sends first, what a call does, who makes the children.
ENDS = [
    *itertools.product(["child", "parent"], ["no loop"], [*POOLS, *TERMINATING]),
    *itertools.product(["child"], ["thread"], POOLS),
    *itertools.product(["parent"], ["loop left open"], POOLS),
]
#: Those that every way to start a child has in the ordinary run.
EVERYWHERE = [("child", "no loop", "Process"), ("child", "no loop", "Pool in a block")]
SAME_END = pytest.mark.full_only("a child ends in the same way as a fork does, of which every case runs")


@pytest.mark.parametrize(
    ("method", "first", "sends", "pool"),
    [
        *(pytest.param("fork", *end) for end in ENDS),
        *(
            pytest.param(method, *end, marks=() if end in EVERYWHERE else SAME_END)
            for method, end in itertools.product(["forkserver", "spawn"], ENDS)
        ),
    ],
)
def test_a_child_of_multiprocessing_sends_what_is_left_when_it_ends(
    tmp_path: Path, redis_url: str, app_name: str, method: str, first: str, sends: str, pool: str
) -> None:
    lines = "\n".join(f"    {line.strip()}" for line in (POOLS | TERMINATING)[pool].splitlines())
    done = run_program(
        tmp_path,
        redis_url,
        app_name,
        f"{SENDS[sends]}\nif __name__ == '__main__':\n    {'add.apply_async(100)' if first == 'parent' else ''}\n"
        f"    import warnings; warnings.simplefilter('ignore', DeprecationWarning)\n"
        f"    context = multiprocessing.get_context({method!r})\n{lines}\n",
    )

    assert done.returncode == 0, done.stderr
    assert ran(redis_url, app_name) == [*range(4), *([100] if first == "parent" else [])]
