"""A module that sends or waits at its top level, while a worker imports it."""

from __future__ import annotations

from pathlib import Path

import pytest

from .crossed import crossed
from .helpers import wait_until
from .workers import Workers

HEAD = """
import asyncio, threading, time
import aiotask
from aiotask import App
app = App("unguarded")
@app.task
def add(a): return a + 1
"""
WAITS = {
    "get": "print(add.apply_async(1).get())",
    "get with a timeout": "print(add.apply_async(1).get(timeout=600))",
    "blocking.sent": "add.apply_async(1).blocking.sent()",
    "blocking.status": "add.apply_async(1).blocking.status()",
    "asyncio.run": "async def main(): return await add.apply_async(1)\nprint(asyncio.run(main()))",
    "gather": "async def main(): return await aiotask.gather([add.apply_async(1)])\nprint(asyncio.run(main()))",
    "function": "def total(): return add.apply_async(1).get()\nprint(total())",
}


@pytest.mark.parametrize(("wait", "options"), crossed(list(WAITS), {"": (), "preload": ("--preload",)}))
def test_a_worker_ends_with_the_place_and_the_fix_where_its_module_waits(
    workers: Workers, tmp_path: Path, wait: str, options: tuple[str, ...]
) -> None:
    (tmp_path / "unguarded.py").write_text(HEAD + WAITS[wait])
    line = (HEAD + WAITS[wait]).count("\n") + 1

    supervisor = workers.start("unguarded", app_dir=tmp_path, options=options, wait=False)

    assert supervisor.wait() == 3
    assert f"unguarded.py:{line}: the module waits for a job" in supervisor.log
    assert 'if __name__ == "__main__":' in supervisor.log


def test_a_send_at_import_is_sent_and_warned_of(workers: Workers, tmp_path: Path) -> None:
    (tmp_path / "unguarded.py").write_text(HEAD + "add.apply_async(1)\nadd.apply_async(2)")

    supervisor = workers.start("unguarded", app_dir=tmp_path)

    wait_until(lambda: "unguarded.py:8: the module sends a job" in supervisor.log, description="the warning is logged")
    assert supervisor.log.count("unguarded.py:8") == 1
    assert supervisor.stop() == 0


def test_a_thread_of_a_module_may_wait_while_a_worker_imports_it(workers: Workers, tmp_path: Path) -> None:
    (tmp_path / "unguarded.py").write_text(
        HEAD + "def late(): print('got', add.apply_async(1).get(timeout=60), flush=True)\n"
        "threading.Thread(target=late, daemon=True).start()\ntime.sleep(0.5)\n"
    )

    supervisor = workers.start("unguarded", app_dir=tmp_path)

    wait_until(lambda: "got 2" in supervisor.log, description="the thread has its value")
    assert supervisor.stop() == 0


def test_a_slow_import_says_where_it_stands(workers: Workers, tmp_path: Path) -> None:
    (tmp_path / "unguarded.py").write_text(
        HEAD + "import os\ndef connect():\n    while not os.path.exists('go'): time.sleep(0.05)\nconnect()\n"
    )

    supervisor = workers.start("unguarded", app_dir=tmp_path, wait=False)
    wait_until(lambda: "Importing unguarded has taken 5 s so far" in supervisor.log, description="it is said")
    (tmp_path / "go").touch()
    supervisor.wait_for_banner()

    assert "unguarded.py:10 in connect, called from " in supervisor.log
    assert supervisor.stop() == 0
