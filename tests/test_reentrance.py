"""A send inside a send: from a signal handler, from a finalizer that the collector calls, from a logging handler."""

from __future__ import annotations

from pathlib import Path

import pytest

from aiotask.broker import Push
from aiotask.client.send_buffer import SendBuffer

from .senders import ran, run_program, serving

SIGNALS = """
inside = []
busy = False
def handler(*_):
    global busy
    if not busy:
        busy = True
        try: inside.append(add.apply_async(-1))
        finally: busy = False
def prepare():
    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.0005)
def finish():
    signal.setitimer(signal.ITIMER_REAL, 0)
"""
FINALIZERS = """
import random
inside = []
class Resource:
    def __init__(self): self.me = self
    def __del__(self): inside.append(add.apply_async(-1))
def prepare():
    gc.set_threshold(5)
def finish():
    gc.set_threshold(700)
    gc.collect()
"""
NO_LOOP = """
add.apply_async(0).blocking.sent(timeout=20)
prepare()
for n in range(1, 4000):
    if n % 20 == 0: "Resource" in globals() and Resource(); gc.set_threshold(n % 40 + 2)
    add.apply_async(n)
finish()
print(len(inside))
"""
IN_A_LOOP = """
async def main():
    await add.apply_async(0).sent()
    prepare()
    for n in range(1, 4000):
        if n % 20 == 0: "Resource" in globals() and Resource(); gc.set_threshold(n % 40 + 2)
        add.apply_async(n)
        if n % 100 == 0: await asyncio.sleep(0)
    finish()
asyncio.run(main())
print(len(inside))
"""


@pytest.mark.parametrize("inner", [SIGNALS, FINALIZERS], ids=["signal handler", "finalizer"])
@pytest.mark.parametrize("outer", [NO_LOOP, IN_A_LOOP], ids=["no loop", "in a loop"])
def test_every_job_is_sent_once_where_sends_interrupt_sends(
    tmp_path: Path, redis_url: str, app_name: str, inner: str, outer: str
) -> None:
    done = run_program(tmp_path, redis_url, app_name, inner + outer)

    assert done.returncode == 0, done.stderr
    inside = int(done.stdout)
    assert inside > 20
    assert ran(redis_url, app_name) == [-1] * inside + list(range(4000))


def test_a_signal_handler_may_wait_for_a_result_in_the_middle_of_a_send(
    tmp_path: Path, redis_url: str, app_name: str
) -> None:
    with serving(redis_url, app_name):
        done = run_program(
            tmp_path,
            redis_url,
            app_name,
            """
            got = []
            def handler(*_):
                got.append(add.apply_async(1).get(timeout=20))
                if len(got) < 20: signal.setitimer(signal.ITIMER_REAL, 0.001)
            signal.signal(signal.SIGALRM, handler)
            signal.setitimer(signal.ITIMER_REAL, 0.001)
            n = 0
            while len(got) < 20:
                add.apply_async(n); n += 1
            print(set(got))
            """,
        )

    assert done.stdout.split() == ["{3}"], done.stderr


def test_a_finalizer_sends_while_a_memory_worker_moves_jobs(tmp_path: Path, app_name: str) -> None:
    done = run_program(
        tmp_path,
        "memory://",
        app_name,
        FINALIZERS
        + """
async def main():
    async with app.worker():
        prepare()
        for n in range(300):
            Resource()
            assert await add.apply_async(n) == n + 2
        finish()
        assert inside
        assert {await result for result in inside} == {1}
asyncio.run(main())
print("done")
""",
    )

    assert done.stdout.split() == ["done"], done.stderr


def test_a_logging_handler_sends_what_every_logger_says(tmp_path: Path, redis_url: str, app_name: str) -> None:
    done = run_program(
        tmp_path,
        redis_url,
        app_name,
        """
        class Ship(logging.Handler):
            sent = 0
            def emit(self, record):
                if record.name != "asyncio":
                    add.apply_async(Ship.sent); Ship.sent += 1
        logging.basicConfig(level=logging.DEBUG, handlers=[Ship()])
        def talk():
            for n in range(300): logging.getLogger("shop").info("%d", n)
        threads = [threading.Thread(target=talk) for _ in range(4)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        print(Ship.sent)
        """,
    )

    assert done.returncode == 0, done.stderr
    assert len(ran(redis_url, app_name)) == int(done.stdout) >= 1200


def test_a_job_whose_send_was_interrupted_keeps_its_ticket() -> None:
    told: list[tuple[list[str], Exception]] = []
    send_buffer = SendBuffer("client", lambda ids, error: bool(told.append((ids, error))) or True)

    def push(name: str) -> Push:
        return Push(name, "default", 5, b"")

    # As put() does in two steps, with another send and a batch between them.
    first = next(send_buffer._numbers)
    second = send_buffer.put(push("second"))
    assert [each.id for each in send_buffer.next_batch()] == ["second"]
    assert not send_buffer.is_settled(second)
    send_buffer.accept()
    assert send_buffer.is_settled(second)
    assert not send_buffer.is_settled(first)
    send_buffer.waiting[first] = push("first")
    third = send_buffer.put(push("third"))
    assert [each.id for each in send_buffer.next_batch()] == ["first", "third"]
    error = RuntimeError("refused")
    assert not send_buffer.is_settled(first)
    send_buffer.refuse(error)

    assert send_buffer.empty
    assert send_buffer.handed == send_buffer.settled_count == 3
    assert [send_buffer.error_of(ticket) for ticket in (first, second, third)] == [error, None, error]
