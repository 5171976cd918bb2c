"""What the code of jobs logs: handled by the worker, with the job on every record, beside logging of the app's own."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

from aiotask import App

from .logged import Shop, objects
from .workers import Workers

TASKS = """
    @app.task
    def talks():
        log.info("info of mine")
        log.warning("two\\nlines")
        logging.error("of the root logger")
        current_job().logger.info("of the job's logger")

    @app.task
    async def talks_too():
        log.info("in the task")
        await asyncio.to_thread(log.info, "in a thread of asyncio")
        await asyncio.gather(part(1), part(2))

    async def part(number):
        await asyncio.sleep(0)
        log.info("part %d", number)

    @app.task
    def threads():
        def nested():
            log.info("in a thread of a thread")
        def outer():
            log.info("in a thread")
            thread = threading.Thread(target=nested)
            thread.start()
            thread.join()
        thread = threading.Thread(target=outer)
        thread.start()
        thread.join()

    @app.task
    def dies_in_a_thread():
        thread = threading.Thread(target=lambda: 1 / 0, name="rotten")
        thread.start()
        thread.join()
        warnings.warn("that is old")

    @app.task
    def extras():
        log.info("bought", extra={"price": 7, "task": "mine", "job_id": "theirs", "when": float("nan")})

    @app.task
    def wrong():
        log.info("%d pictures", "seven")
        log.info("odd \\x1b[31m \\udc80", extra={"facts": "mine", "colour": 5})
        log.info("x" * 1_000_000)
"""


@pytest.fixture
def shop(workers: Workers, tmp_path: Path, app_name: str) -> Shop:
    return Shop(workers, tmp_path, app_name, TASKS)


async def test_lines_of_a_job_are_shown_with_the_job(shop: Shop) -> None:
    worker = shop.start()
    result = shop.call("talks")
    await result

    assert worker.stop() == 0
    head = rf"^\S+ worker-1 · shop:talks {result.id} "
    for line in (
        "shop.images: info of mine",
        "shop.images: warning: two\n    lines",
        "error: of the root logger",
        "of the job's logger",
    ):
        assert re.search(head + re.escape(line) + "$", worker.log, re.MULTILINE), line


async def test_debug_lines_need_the_level_debug(workers: Workers, tmp_path: Path, app_name: str) -> None:
    shop = Shop(workers, tmp_path, app_name, "@app.task\ndef talks():\n    log.debug('small')\n    log.info('great')\n")
    quiet = shop.start("--log-level", "info")
    await shop.call("talks")
    assert quiet.stop() == 0
    loud = shop.start("--log-level", "debug")
    await shop.call("talks")
    assert loud.stop() == 0

    assert "great" in quiet.log and "small" not in quiet.log
    assert "great" in loud.log and "small" in loud.log


async def test_every_line_of_a_json_log_is_json_and_names_the_job(shop: Shop) -> None:
    worker = shop.start("--log-json")
    for task in ("talks", "threads"):
        await shop.call(task)
    result = shop.call("talks_too")
    await result

    assert worker.stop() == 0
    said = {line["message"]: line for line in objects(worker.log) if line.get("task") and "event" not in line}
    for message in ("info of mine", "two\nlines", "of the root logger", "of the job's logger"):
        assert said[message]["task"] == "shop:talks"
    for message in ("in the task", "in a thread of asyncio", "part 1", "part 2"):
        line = said[message]
        assert (line["job_id"], line["task"]) == (result.id, "shop:talks_too")
        assert (line["attempt"], line["queue"], line["worker"]) == (1, "default", "worker-1")
        assert (line["logger"], line["level"]) == ("shop.images", "info")
    for message in ("in a thread", "in a thread of a thread"):
        assert said[message]["task"] == "shop:threads"
    # Events can be found by the same field.
    assert {line["job_id"] for line in objects(worker.log) if line.get("id") == result.id} == {result.id}


async def test_warnings_and_errors_of_threads_are_json_too(shop: Shop) -> None:
    worker = shop.start("--log-json")
    result = shop.call("dies_in_a_thread")
    await result

    assert worker.stop() == 0
    rotten, old = (line for line in objects(worker.log) if line.get("job_id") == result.id and "event" not in line)
    assert 'The thread "rotten" ended with an error.' in rotten["message"]
    assert rotten["error_type"] == "ZeroDivisionError" and "Traceback" in rotten["traceback"]
    assert "that is old" in old["message"] and old["logger"] == "py.warnings"


async def test_extra_of_the_caller_never_clashes_with_the_job(shop: Shop) -> None:
    worker = shop.start("--log-json")
    result = shop.call("extras")
    await result

    assert worker.stop() == 0
    (line,) = (line for line in objects(worker.log) if line.get("message") == "bought")
    assert (line["job_id"], line["task"], line["price"]) == (result.id, "shop:extras", 7)
    assert line["extra"] == {"task": "mine", "job_id": "theirs"}
    assert line["when"] == "nan"


@pytest.mark.parametrize("options", [(), ("--log-json",)], ids=["text", "json"])
async def test_a_line_that_cannot_be_written_as_it_is_says_so(shop: Shop, options: tuple[str, ...]) -> None:
    worker = shop.start(*options)
    await shop.call("wrong")

    assert worker.stop() == 0
    log = worker.log
    assert re.search(r"'%d pictures' cannot be formatted with 1 arguments at .*shop\.py:\d+: TypeError", log)
    assert "\x1b" not in log
    assert "(900,000 more characters)" in log
    assert len(re.findall(r"(■|\\u25a0) shop:wrong", log)) == 1


async def test_an_app_that_has_configured_logging_keeps_its_own_and_sees_the_job(
    workers: Workers, tmp_path: Path, app_name: str
) -> None:
    shop = Shop(
        workers,
        tmp_path,
        app_name,
        """
        logging.basicConfig(format="MINE %(levelname)s %(job_id)s %(task)s %(worker)s %(message)s", level=logging.INFO)
        log.info("imported")

        @app.task
        def talks():
            log.info("talking")
            log.debug("too quiet")
        """,
    )
    worker = shop.start("--log-level", "debug")
    result = shop.call("talks")
    await result

    assert worker.stop() == 0
    assert worker.log.count("talking") == 1 and "too quiet" not in worker.log
    assert f"\nMINE INFO {result.id} shop:talks worker-1 talking\n" in worker.log
    assert re.search(rf"^\S+ worker-1 ■ shop:talks {result.id}", worker.log, re.MULTILINE)


@pytest.mark.parametrize("disable", [True, False])
@pytest.mark.parametrize("options", [(), ("--preload",)], ids=["forked", "preloaded"])
async def test_a_configuration_that_disables_other_loggers_leaves_those_of_the_worker(
    workers: Workers, tmp_path: Path, app_name: str, disable: bool, options: tuple[str, ...]
) -> None:
    shop = Shop(
        workers,
        tmp_path,
        app_name,
        f"""
        import logging.config

        CONFIG = {{
            "version": 1,
            "disable_existing_loggers": {disable},
            "handlers": {{"h": {{"class": "logging.StreamHandler"}}}},
            "root": {{"handlers": ["h"], "level": "INFO"}},
        }}
        logging.config.dictConfig(CONFIG)

        @app.task
        def fails():
            raise ValueError("seen?")

        @app.task
        def configures():
            logging.config.dictConfig(CONFIG)
            logging.disable(logging.CRITICAL)
        """,
    )
    worker = shop.start(*options)
    await shop.call("configures")
    with pytest.raises(ValueError):
        await shop.call("fails")

    assert worker.stop() == 0
    assert re.search(r"^\S+ worker-1 × shop:fails", worker.log, re.MULTILINE)  # noqa: RUF001
    assert "ValueError: seen?\n" in worker.log
    assert worker.log.rstrip().endswith("supervisor Stopped.")


async def test_an_app_may_send_the_log_of_the_worker_where_its_own_goes(
    workers: Workers, tmp_path: Path, app_name: str
) -> None:
    shop = Shop(
        workers,
        tmp_path,
        app_name,
        """
        import logging.config

        logging.config.dictConfig({
            "version": 1,
            "formatters": {"f": {"format": "MINE %(message)s"}},
            "handlers": {"h": {"class": "logging.StreamHandler", "formatter": "f"}},
            "root": {"handlers": ["h"], "level": "INFO"},
            "loggers": {"aiotask": {"level": "INFO"}},
        })

        @app.task
        def echo(value):
            return value
        """,
    )
    worker = shop.start()
    result = shop.call("echo", 1)
    await result

    assert worker.stop() == 0
    assert worker.log.count(f"■ shop:echo {result.id}") == 1
    assert f"\nMINE ■ shop:echo {result.id}" in worker.log


async def test_a_time_zone_of_the_app_changes_no_time_in_the_log(
    workers: Workers, tmp_path: Path, app_name: str
) -> None:
    shop = Shop(
        workers,
        tmp_path,
        app_name,
        """
        os.environ["TZ"] = "America/Chicago"
        time.tzset()

        @app.task
        def talks():
            log.info("what time is it?")
        """,
    )
    worker = shop.start(env={"TZ": "Asia/Kolkata"})
    await shop.call("talks")

    assert worker.stop() == 0
    stamps = re.findall(
        r"^(\d{4}-\d\d-\d\dT\d\d):\d\d:\d\d\.\d{3}(\S+) (?:supervisor|worker-1)", worker.log, re.MULTILINE
    )
    assert {zone for _, zone in stamps} == {"+05:30"}
    assert len({hour for hour, _ in stamps}) <= 2


async def test_records_of_a_worker_in_the_loop_carry_the_job(
    redis_url: str, app_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = App(app_name, url=redis_url)
    log = logging.getLogger("shop.images")

    @app.task(name="shop:sync")
    def sync() -> None:
        log.warning("in a thread")

    @app.task(name="shop:loop")
    async def loop() -> None:
        log.warning("in the loop")

    async with app.worker():
        await sync.apply_async()
        result = loop.apply_async()
        await result
    log.warning("outside")

    by_message = {record.getMessage(): vars(record) for record in caplog.records}
    assert by_message["in a thread"]["task"] == "shop:sync"
    assert by_message["in the loop"]["job_id"] == result.id
    assert (by_message["outside"]["job_id"], by_message["outside"]["attempt"]) == ("", 0)
