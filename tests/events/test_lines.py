"""One event is one line, and arguments are bounded."""

# ruff: noqa: RUF001 (the glyph of a failure, and "times")

from __future__ import annotations

import io
import re

import pytest

from aiotask.log.events import EventLog, JobEvent

from .said import TASK, lines

# ---- one event, one line


def test_a_line_names_time_worker_glyph_task_id_then_punctuality_then_duration(stream: io.StringIO) -> None:
    EventLog().job(JobEvent.SUCCEEDED, id="00ab-1", task=TASK, late=0.3, took=0.012)

    (line,) = lines(stream)
    time, _, rest = line.partition(" ")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d", time)
    assert rest == "worker-2 ■ shop.tasks:render 00ab-1 late +0.3 s, took 12 ms"


def test_the_worker_of_the_event_wins_over_the_name_of_the_process(stream: io.StringIO) -> None:
    EventLog().job(JobEvent.STARTED, id="1", task=TASK, worker="worker-7")

    assert " worker-7 → " in lines(stream)[0]
    assert "worker-2" not in lines(stream)[0]


@pytest.mark.parametrize("kind", list(JobEvent))
def test_every_kind_of_event_has_a_glyph_of_its_own(kind: JobEvent, stream: io.StringIO) -> None:
    log = EventLog()
    for each in JobEvent:
        log.job(each, id="1", task=TASK)

    glyphs = [line.split()[2] for line in lines(stream)]
    assert len(glyphs) == len(JobEvent)
    assert glyphs.count(glyphs[list(JobEvent).index(kind)]) == 1


def test_a_repeated_attempt_and_the_error_are_said(stream: io.StringIO) -> None:
    EventLog().job(JobEvent.FAILED, id="1", task=TASK, attempt=3, took=2.0, detail='ValueError: no tile "7"')

    assert lines(stream)[0].endswith('× shop.tasks:render 1 took 2.0 s, attempt 3, ValueError: no tile "7"')


def test_a_negative_duration_is_never_said(stream: io.StringIO) -> None:
    EventLog().job(JobEvent.SUCCEEDED, id="1", task=TASK, late=-5.0, took=-0.001)

    assert "late +0.0 ms, took 0.0 ms" in lines(stream)[0]


def test_what_has_no_id_is_said_too(stream: io.StringIO) -> None:
    EventLog().job(JobEvent.REJECTED, id="", task="?", detail="This job carries no seal of aiotask.")

    assert "! ? ? set aside, This job carries no seal" in lines(stream)[0]


def test_text_of_others_stays_one_line_without_control_characters(stream: io.StringIO) -> None:
    EventLog().job(JobEvent.FAILED, id="1", task=TASK, detail="boom\n12:00:00 forged \x1b[31mline\r" + "x" * 5000)

    (line,) = lines(stream)
    assert "boom\\n12:00:00 forged \\x1b[31mline\\r" in line
    assert len(line) < 700


# ---- arguments


def test_arguments_are_hidden_unless_asked_for(stream: io.StringIO) -> None:
    EventLog().job(JobEvent.STARTED, id="1", task=TASK, arguments=(("hunter2",), {}))
    EventLog(log_args=True).job(JobEvent.STARTED, id="1", task=TASK, arguments=((7,), {"size": 256}))

    hidden, shown = lines(stream)
    assert "hunter2" not in hidden
    assert shown.endswith("(7, size=256)")


def test_arguments_are_bounded_and_a_broken_repr_is_harmless(stream: io.StringIO) -> None:
    class Broken:
        def __repr__(self) -> str:
            raise ValueError("no repr today")

    EventLog(log_args=True).job(
        JobEvent.STARTED, id="1", task=TASK, arguments=((Broken(), "y" * 10**6, *range(99)), {})
    )

    (line,) = lines(stream)
    assert "Broken" in line
    assert len(line) < 400
