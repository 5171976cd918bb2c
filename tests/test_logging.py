"""What a worker logs of runs that failed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from aiotask import JobTimeout, WorkerLost

from .helpers import wait_until
from .logged import Shop, objects
from .workers import Workers

TASKS = """
    @app.task
    def fails(n=0):
        try:
            find()
        except KeyError as error:
            raise ValueError(f"no picture {n}") from error

    def find():
        raise KeyError("the root cause")

    @app.task(ignore_result=True)
    async def unheard():
        raise OSError("the result of this job is not awaited")

    @app.task(retries=1, backoff=lambda failures: 0.05, retry_on=(ConnectionError,))
    def flaky():
        raise ConnectionError("down")

    @app.task(retries=1)
    def again():
        if current_job().attempt == 1:
            raise Retry(0.01)

    @app.task(timeout=0.2)
    def endless():
        while True:
            time.sleep(0.01)

    @app.task
    def crashes():
        log.warning("the last words")
        os.kill(os.getpid(), signal.SIGSEGV)

    @app.task
    def echo(value):
        return value
"""


@pytest.fixture
def shop(workers: Workers, tmp_path: Path, app_name: str) -> Shop:
    return Shop(workers, tmp_path, app_name, TASKS)


async def test_a_failed_run_has_its_traceback_with_all_causes_in_the_log(shop: Shop) -> None:
    worker = shop.start()
    result = shop.call("fails")
    with pytest.raises(ValueError, match="no picture 0"):
        await result

    assert worker.stop() == 0
    line, below = worker.log.partition(f"× shop:fails {result.id}")[2].split("\n", 1)  # noqa: RUF001
    assert line.endswith("ValueError: no picture 0")
    assert below.startswith("Traceback (most recent call last):\n  File ")
    assert below.index("in find") < below.index("KeyError: 'the root cause'") < below.rindex("in fails")
    assert "direct cause of the following exception" in below
    assert "/aiotask/worker/" not in below


async def test_a_json_log_has_the_traceback_and_the_class_of_the_error(shop: Shop) -> None:
    worker = shop.start("--log-json")
    with pytest.raises(ValueError):
        await shop.call("fails")
    await shop.call("unheard").sent()
    wait_until(lambda: "the result of this job is not awaited" in worker.log, description="the second one has failed")

    assert worker.stop() == 0
    failed, unheard = (line for line in objects(worker.log) if line.get("event") == "failed")
    assert failed["error_type"] == "ValueError"
    assert "the root cause" in failed["traceback"]
    assert failed["traceback"].endswith("ValueError: no picture 0")
    assert unheard["error_type"] == "OSError"
    assert "in unheard" in unheard["traceback"]


async def test_retries_time_limits_and_the_last_failure_have_tracebacks(shop: Shop) -> None:
    worker = shop.start("--log-json")
    with pytest.raises(ConnectionError):
        await shop.call("flaky")
    with pytest.raises(JobTimeout):
        await shop.call("endless")
    await shop.call("again")

    assert worker.stop() == 0
    by_event = {(line["event"], line["task"]): line for line in objects(worker.log) if "task" in line}
    assert "in flaky" in by_event["retrying", "shop:flaky"]["traceback"]
    assert "in flaky" in by_event["failed", "shop:flaky"]["traceback"]
    assert "in endless" in by_event["timeout", "shop:endless"]["traceback"]
    # The task asked for that one itself.
    assert "traceback" not in by_event["retrying", "shop:again"]


async def test_a_job_that_kills_processes_leaves_its_stack_and_its_last_log_lines(shop: Shop) -> None:
    worker = shop.start()
    with pytest.raises(WorkerLost) as caught:
        await shop.call("crashes")

    assert "the last words" in caught.value.stderr
    assert worker.stop() == 0
    below = worker.log.partition("† shop:crashes")[2].splitlines()[1:]
    assert below[0] == "Its last stack, innermost frame first:"
    assert "in crashes" in below[1]
    # As a suspect it has stderr for itself, and what it logs stands in the log all the same.
    assert worker.log.count("· shop:crashes") >= 3


@pytest.mark.parametrize(
    ("options", "env"),
    [(("--no-log-tracebacks",), {}), ((), {"AIOTASK_LOG_TRACEBACKS": "0"})],
    ids=["flag", "variable"],
)
async def test_tracebacks_can_be_left_out(shop: Shop, options: tuple[str, ...], env: dict[str, str]) -> None:
    worker = shop.start(*options, env=env)
    with pytest.raises(ValueError):
        await shop.call("fails")

    assert worker.stop() == 0
    assert "ValueError: no picture 0" in worker.log
    assert "Traceback" not in worker.log and "root cause" not in worker.log


async def test_a_burst_of_one_failure_writes_its_traceback_once_and_counts_the_rest(shop: Shop) -> None:
    worker = shop.start()
    results = [shop.call("fails", n) for n in range(60)]
    for result in results:
        with pytest.raises(ValueError):
            await result
    with pytest.raises(OSError):
        await shop.call("unheard").sent()
        wait_until(lambda: "in unheard" in worker.log, description="another failure is shown")
        raise OSError

    assert worker.stop() == 0
    log = worker.log
    assert log.count("KeyError: 'the root cause'") == 1
    (shown,) = set(re.findall(r"traceback as of job (\S+)$", log, re.MULTILINE))
    assert log.index(f"× shop:fails {shown}") < log.index("the root cause")  # noqa: RUF001
    assert f"59 tracebacks of ValueError like that of job {shown} were left out" in log


async def test_handlers_of_the_app_get_the_error_itself(workers: Workers, tmp_path: Path, app_name: str) -> None:
    shop = Shop(
        workers,
        tmp_path,
        app_name,
        """
        class Tracker(logging.Handler):
            def emit(self, record):
                if record.exc_info:
                    kind, error, trace = record.exc_info
                    with open("errors", "a") as file:
                        print(kind.__name__, error, trace is not None, record.task, record.job_id, file=file)

        logging.getLogger("aiotask").addHandler(Tracker())

        @app.task
        def fails():
            raise ValueError("boom")
        """,
    )
    worker = shop.start()
    result = shop.call("fails")
    with pytest.raises(ValueError):
        await result

    assert worker.stop() == 0
    assert (tmp_path / "errors").read_text() == f"ValueError boom True shop:fails {result.id}\n"
    assert "in fails" in worker.log


async def test_a_handler_of_the_app_that_fails_harms_no_job(workers: Workers, tmp_path: Path, app_name: str) -> None:
    shop = Shop(
        workers,
        tmp_path,
        app_name,
        """
        class Broken(logging.Handler):
            def handle(self, record):
                raise RuntimeError("no connection to the tracker")

        logging.getLogger("aiotask").addHandler(Broken())

        @app.task
        def echo(value):
            return value
        """,
    )
    worker = shop.start()

    assert [await shop.call("echo", n) for n in range(3)] == [0, 1, 2]
    assert worker.stop() == 0
    assert worker.log.count("■ shop:echo") == 3
