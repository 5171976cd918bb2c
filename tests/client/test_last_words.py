"""Jobs that are sent right before a loop, a process or an interpreter ends are not lost."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from .sums import make_app, pending_jobs, run_script


@pytest.mark.trap("last words")
def test_a_loop_that_ends_right_after_a_send_loses_nothing(redis_url: str, app_name: str) -> None:
    app = make_app(redis_url, app_name)

    async def main() -> None:
        for n in range(500):
            app.tasks["add"].apply_async(n)

    asyncio.run(main())

    assert pending_jobs(redis_url, app_name) == 500


@pytest.mark.parametrize(
    "body",
    [
        "for n in range(700): add.apply_async(n)",
        "async def main():\n    for n in range(700): add.apply_async(n)\nasyncio.run(main())",
        "async def main():\n    for n in range(700): add.apply_async(n)\n"
        "loop = asyncio.new_event_loop(); loop.run_until_complete(main()); loop.close()",
        "def send():\n    for n in range(700): add.apply_async(n)\n"
        "t = threading.Thread(target=send); t.start(); t.join()",
        "for n in range(700): add.apply_async(n)\nsys.exit(3)",
        "import uvloop\nasync def main():\n    for n in range(700): add.apply_async(n)\nuvloop.run(main())",
    ],
    ids=["no loop", "asyncio.run", "closed loop", "thread", "sys.exit", "uvloop"],
)
@pytest.mark.trap("last words")
def test_an_interpreter_that_exits_right_after_sends_loses_nothing(
    tmp_path: Path, redis_url: str, app_name: str, body: str
) -> None:
    done = run_script(tmp_path, redis_url, app_name, body)

    if "loop.close()" not in body:  # asyncio itself complains of what was under way in a loop closed like that
        assert done.stderr == ""
    assert pending_jobs(redis_url, app_name) == 700


@pytest.mark.trap("descriptors")
def test_a_thousand_loops_leave_no_descriptor_and_no_warning(tmp_path: Path, redis_url: str, app_name: str) -> None:
    done = run_script(
        tmp_path,
        redis_url,
        app_name,
        """
        async def main():
            await add.apply_async(1).sent()
        for _ in range(20): asyncio.run(main())
        before = len(os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd") else os.listdir("/dev/fd"))
        for _ in range(1000): asyncio.run(main())
        after = len(os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd") else os.listdir("/dev/fd"))
        print(after - before, len(app.client._sessions))
        """,
    )

    assert done.stderr == ""
    assert done.stdout.split() == ["0", "0"]


@pytest.mark.trap("descriptors")
def test_loops_that_are_closed_without_farewell_leave_no_descriptor(
    tmp_path: Path, redis_url: str, app_name: str
) -> None:
    done = run_script(
        tmp_path,
        redis_url,
        app_name,
        """
        async def main():
            await add.apply_async(1).sent()
        def once():
            loop = asyncio.new_event_loop()
            loop.run_until_complete(main())
            loop.close()
        import warnings
        with warnings.catch_warnings():
            # asyncio itself complains of the generator that nobody shut down.
            warnings.simplefilter("ignore", ResourceWarning)
            for _ in range(5): once()
            folder = "/proc/self/fd" if os.path.exists("/proc/self/fd") else "/dev/fd"
            count = lambda: len(os.listdir(folder))
            before = count()
            for _ in range(100): once()
            print(count() - before)
        """,
    )

    assert done.stdout.split() == ["0"], done.stderr


def test_a_later_loop_sends_what_a_closed_one_left_behind(tmp_path: Path, redis_url: str, app_name: str) -> None:
    done = run_script(
        tmp_path,
        redis_url,
        app_name,
        """
        async def main():
            add.apply_async(1)
        loop = asyncio.new_event_loop(); loop.run_until_complete(main()); loop.close()
        asyncio.run(app.flush())
        os._exit(0)
        """,
    )

    assert done.returncode == 0, done.stderr
    assert pending_jobs(redis_url, app_name) == 1


def test_a_forked_child_has_an_id_and_a_send_buffer_of_its_own(tmp_path: Path, redis_url: str, app_name: str) -> None:
    done = run_script(
        tmp_path,
        redis_url,
        app_name,
        """
        import warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        async def main():
            await add.apply_async(0).sent()
            add.apply_async(1)              # still in the send buffer of the parent
            pid = os.fork()
            if pid == 0:
                return "child"
            os.waitpid(pid, 0)
            return "parent"
        who = asyncio.run(main())
        if who == "child":
            asyncio.run(app.flush())
            add.apply_async(2)
        """,
    )

    assert done.returncode == 0, done.stderr
    assert pending_jobs(redis_url, app_name) == 3


def test_a_send_that_failed_and_nobody_awaits_is_logged(tmp_path: Path, app_name: str) -> None:
    done = run_script(
        tmp_path,
        f"unix://{tmp_path}/missing.sock",
        app_name,
        """
        async def main():
            add.apply_async(1)
            await asyncio.sleep(0)
        import aiotask.client.session; aiotask.client.session.FLUSH_TIMEOUT = 0.2
        asyncio.run(main())
        """,
    )

    assert "1 job not sent" in done.stderr
