"""Levels, colour and JSON of the log."""

# ruff: noqa: RUF001 (the glyph of a failure, and "times")

from __future__ import annotations

import io
import json
import logging
import re

import pytest

from aiotask.errors import ConfigError
from aiotask.log import events, setup
from aiotask.log.events import EventLog, JobEvent

from .said import TASK, Clock, Terminal, lines


def test_a_level_silences_what_is_below_it(clock: Clock) -> None:
    stream = io.StringIO()
    setup.configure(log_level="WARNING", stream=stream)
    log = EventLog(per_second=1)
    for _ in range(5):
        log.job(JobEvent.SUCCEEDED, id="1", task=TASK)
    log.job(JobEvent.FAILED, id="2", task=TASK)
    clock.now += 1.0
    log.flush()

    assert [line.split()[1] for line in lines(stream)] == ["×"]


def test_an_unknown_level_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r'"loud".*debug, info, warning'):
        setup.configure(log_level="loud")


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_colour_is_for_terminals_that_want_it(no_color: str, coloured: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    setup.configure(stream=terminal)

    EventLog().job(JobEvent.SUCCEEDED, id="1", task=TASK)

    assert ("\x1b[32m■\x1b[0m shop.tasks:render" in terminal.getvalue()) is coloured
    assert ("\x1b" in terminal.getvalue()) is coloured


def test_a_pipe_gets_no_colour(stream: io.StringIO) -> None:
    EventLog().job(JobEvent.FAILED, id="1", task=TASK)

    assert "\x1b" not in stream.getvalue()


def test_json_has_one_object_per_line_with_all_facts(clock: Clock) -> None:
    stream = io.StringIO()
    setup.configure(log_json=True, stream=stream, process="worker-2")
    log = EventLog(per_second=1)

    for _ in range(3):
        log.job(JobEvent.FAILED, id="1", task=TASK, attempt=2, late=0.25, took=1.5, detail="ValueError: a\nb \udc80")
    clock.now += 1.0
    log.flush()

    single, summary = map(json.loads, lines(stream))
    assert single["event"] == "failed"
    assert (single["id"], single["task"], single["attempt"]) == ("1", TASK, 2)
    assert (single["late"], single["took"], single["worker"]) == (0.25, 1.5, "worker-2")
    assert single["detail"] == "ValueError: a\nb \udc80"
    assert single["level"] == "error"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", single["time"])
    assert (summary["event"], summary["count"], summary["seconds"]) == ("failed", 2, 1.0)
    assert summary["last"] == "ValueError: a\nb \udc80"


def test_json_carries_a_traceback_of_any_other_record() -> None:
    stream = io.StringIO()
    setup.configure(log_json=True, stream=stream)
    try:
        raise ValueError("boom")
    except ValueError:
        logging.getLogger("aiotask.keeper").exception("The lease of %s is lost", "host-1")

    (line,) = map(json.loads, lines(stream))
    assert line["message"] == "The lease of host-1 is lost"
    assert "ValueError: boom" in line["traceback"]


def test_other_records_say_their_level_and_tasks_their_name(stream: io.StringIO) -> None:
    logging.getLogger("aiotask.daemon").warning("worker-1 was killed by SIGKILL")
    logging.getLogger("aiotask.task.shop.tasks.fetch").info("half way")

    assert lines(stream)[0].endswith("worker-2 warning: worker-1 was killed by SIGKILL")
    assert lines(stream)[1].endswith("worker-2 shop.tasks.fetch: half way")


def test_configure_again_replaces_its_handler_and_leaves_others(logger: logging.Logger) -> None:
    other = logging.NullHandler()
    logger.addHandler(other)

    for _ in range(3):
        setup.configure(stream=io.StringIO())

    assert len(logger.handlers) == 2
    assert other in logger.handlers


def test_facts_reach_a_handler_of_the_user(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("aiotask").propagate = True
    with caplog.at_level(logging.INFO, logger="aiotask"):
        EventLog().job(JobEvent.SUCCEEDED, id="1", task=TASK, took=0.5)

    (record,) = caplog.records
    assert vars(record)["facts"] == {"event": "succeeded", "id": "1", "task": TASK, "attempt": 1, "took": 0.5}
    assert record.getMessage() == "■ shop.tasks:render 1 took 0.5 s"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "0.0 ms"),
        (0.0002, "0.2 ms"),
        (0.012, "12 ms"),
        (0.0996, "0.1 s"),
        (0.3, "0.3 s"),
        (0.346, "0.35 s"),
        (0.996, "1.0 s"),
        (4.25, "4.2 s"),
        (9.96, "10 s"),
        (59.6, "1 min"),
        (200.0, "3 min 20 s"),
        (3600.0, "1 h"),
        (7500.0, "2 h 5 min"),
        (273600.0, "3 d 4 h"),
    ],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert events.in_words(seconds) == words
