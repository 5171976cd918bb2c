"""How events of jobs, summaries and the banner are said."""

# ruff: noqa: RUF001 (the glyph of a failure, and "times")
from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from aiotask.daemon import banner
from aiotask.errors import ConfigError
from aiotask.log import events, setup
from aiotask.log.events import EventLog, JobEvent

TASK = "shop.tasks:render"


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Clock:
    """Time that only moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def __getattr__(self, name: str) -> object:
        import time

        return getattr(time, name)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(events, "time", made)
    return made


@pytest.fixture(autouse=True)
def logger() -> Iterator[logging.Logger]:
    """The logger of aiotask, put back as it was."""
    found = logging.getLogger("aiotask")
    before = found.handlers[:], found.level, found.propagate
    yield found
    found.handlers[:], found.level, found.propagate = before


@pytest.fixture
def stream() -> io.StringIO:
    made = io.StringIO()
    setup.configure(stream=made, process="worker-2")
    return made


def lines(stream: io.StringIO) -> list[str]:
    return stream.getvalue().splitlines()


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


# ---- floods


def test_what_is_more_than_a_second_holds_is_counted_and_said_once(stream: io.StringIO, clock: Clock) -> None:
    log = EventLog(per_second=10)

    for number in range(12_355):
        log.job(JobEvent.SUCCEEDED, id=str(number), task=TASK)
    clock.now += 1.0
    log.flush()
    log.flush()

    said = lines(stream)
    assert len(said) == 11
    assert said[-1].endswith("■ shop.tasks:render ×12,345 more in 1.0 s")


def test_each_task_has_its_own_summary(stream: io.StringIO, clock: Clock) -> None:
    log = EventLog(per_second=1)
    for task, count in (("a:a", 3), ("b:b", 5)):
        for _ in range(count):
            log.job(JobEvent.STARTED, id="1", task=task)
    clock.now += 1.0
    log.flush()

    assert [line.partition("→ ")[2] for line in lines(stream)[2:]] == ["a:a ×2 more in 1.0 s", "b:b ×4 more in 1.0 s"]


def test_the_next_second_says_the_summary_by_itself_and_has_room_again(stream: io.StringIO, clock: Clock) -> None:
    log = EventLog(per_second=1)
    for _ in range(5):
        log.job(JobEvent.SUCCEEDED, id="1", task=TASK)
    clock.now += 2.0

    log.job(JobEvent.SUCCEEDED, id="the next", task=TASK)

    assert [" ×4 more in 2.0 s" in line or "the next" in line for line in lines(stream)] == [False, True, True]


def test_a_flood_of_failures_says_how_many_and_the_last_error(stream: io.StringIO, clock: Clock) -> None:
    log = EventLog()
    for number in range(350):
        log.job(JobEvent.FAILED, id=str(number), task=TASK, detail=f"ConnectionError: try {number}")
    clock.now += 1.0
    log.flush()

    said = lines(stream)
    assert len(said) == 101
    assert said[-1].endswith("×250 more in 1.0 s, the last: ConnectionError: try 349")


def test_a_flood_of_one_kind_hides_no_other(stream: io.StringIO) -> None:
    log = EventLog(per_second=2)
    for _ in range(1000):
        log.job(JobEvent.SUCCEEDED, id="1", task=TASK)

    log.job(JobEvent.DEAD, id="the dead one", task=TASK)

    assert "the dead one" in lines(stream)[-1]


def test_a_rare_task_is_heard_beside_one_that_floods(stream: io.StringIO) -> None:
    log = EventLog(per_second=20)
    for _ in range(1000):
        log.job(JobEvent.SUCCEEDED, id="1", task="a:flood")

    log.job(JobEvent.SUCCEEDED, id="the rare one", task="b:rare")
    log.job(JobEvent.SUCCEEDED, id="and no more of it", task="b:rare")

    assert len(lines(stream)) == 21
    assert "the rare one" in lines(stream)[-1]


def test_a_tick_waits_for_the_end_of_the_second_and_flush_does_not(stream: io.StringIO, clock: Clock) -> None:
    log = EventLog(per_second=1)
    for _ in range(3):
        log.job(JobEvent.SUCCEEDED, id="1", task=TASK)

    clock.now += 0.5
    log.tick()
    assert len(lines(stream)) == 1
    log.flush()
    assert lines(stream)[-1].endswith("×2 more in 0.5 s")

    for _ in range(3):
        log.job(JobEvent.SUCCEEDED, id="1", task=TASK)
    clock.now += 1.0
    log.tick()
    assert lines(stream)[-1].endswith("×2 more in 1.0 s")


def test_flush_before_anything_was_held_back_says_nothing(stream: io.StringIO, clock: Clock) -> None:
    log = EventLog(per_second=2)
    log.job(JobEvent.SUCCEEDED, id="1", task=TASK)
    log.flush()
    log.job(JobEvent.SUCCEEDED, id="2", task=TASK)
    log.job(JobEvent.SUCCEEDED, id="3", task=TASK)

    assert len(lines(stream)) == 2, "a flush inside a second must not give it more room"


def test_every_event_is_either_said_or_counted(stream: io.StringIO, clock: Clock) -> None:
    log = EventLog(per_second=7)
    for number in range(1000):
        log.job(JobEvent.SUCCEEDED, id=str(number), task=TASK)
        clock.now += 0.01
    log.flush()

    counted = [
        int(found[1].replace(",", "")) for line in lines(stream) if (found := re.search(r"×([\d,]+) more", line))
    ]
    single = sum("more in" not in line for line in lines(stream))
    assert single + sum(counted) == 1000
    assert counted


# ---- levels, colour, JSON


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


# ---- the banner

SHOP = banner.BannerApp(
    name="shop",
    url="redis://:***@db:6379/0",
    server="valkey 8.1",
    durability="appendonly everysec",
    tasks=["shop.tasks:fetch", "shop.tasks:render"],
    queues=["default", "mail"],
    pending=1234,
)
FACTS = banner.BannerFacts(version="1.2.3", python="3.12.4", processes=2, result_db="/srv/history.db", apps=[SHOP])


def test_the_banner_names_everything_an_operator_looks_for() -> None:
    said = banner.banner(FACTS)

    for fact in (
        "aiotask 1.2.3",
        "Python 3.12.4",
        "2 worker processes",
        "valkey 8.1 at redis://:***@db:6379/0 (appendonly everysec)",
        "default, mail",
        "2: shop.tasks:fetch, shop.tasks:render",
        "1,234 jobs from before",
        "/srv/history.db",
    ):
        assert fact in said


def test_the_banner_says_what_is_missing() -> None:
    bare = banner.banner(replace(FACTS, result_db=None, apps=[replace(SHOP, tasks=[], pending=0)]))

    assert "--result-db" in bare
    assert "none (has the module with the tasks been imported?)" in bare
    assert "from before" not in bare


def test_the_banner_is_one_object_in_a_json_log_and_lines_elsewhere(stream: io.StringIO) -> None:
    banner.announce(FACTS)
    assert lines(stream) == banner.banner(FACTS).splitlines()

    as_json = io.StringIO()
    setup.configure(log_json=True, stream=as_json)
    banner.announce(FACTS)
    (line,) = map(json.loads, lines(as_json))
    assert line["event"] == "banner"
    assert line["apps"][0]["pending"] == 1234
