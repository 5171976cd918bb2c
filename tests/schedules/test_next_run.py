"""When a schedule runs: the judgement as a table, and time zones at their changes."""

from __future__ import annotations

import random
import re
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from aiotask.errors import ConfigError
from aiotask.values.schedule import MOST, Spec, Turn, after, check_spec, due_at, next_run, notes, upcoming

from .zones import CHANGES, local

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
#: A full hour.
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC).timestamp()


# ---- missed runs


@pytest.mark.parametrize(
    ("missed", "stands", "now", "runs", "following"),
    [
        # Not due.
        ("once", NOON + 1, NOON, [], NOON + 1),
        ("all", NOON + 1, NOON, [], NOON + 1),
        # In time, and a second late: under each.
        *((missed, NOON, NOON, [NOON], NOON + HOUR) for missed in ("skip", "once", "all")),
        *((missed, NOON, NOON + 1, [NOON], NOON + HOUR) for missed in ("skip", "once", "all")),
        *((missed, NOON, NOON + 60, [NOON], NOON + HOUR) for missed in ("skip", "once", "all")),
        # One was missed.
        ("skip", NOON, NOON + 61, [], NOON + HOUR),
        ("once", NOON, NOON + 61, [NOON], NOON + HOUR),
        ("all", NOON, NOON + 61, [NOON], NOON + HOUR),
        # Three were missed.
        ("skip", NOON, NOON + 2.5 * HOUR, [], NOON + 3 * HOUR),
        ("once", NOON, NOON + 2.5 * HOUR, [NOON + 2 * HOUR], NOON + 3 * HOUR),
        ("all", NOON, NOON + 2.5 * HOUR, [NOON, NOON + HOUR, NOON + 2 * HOUR], NOON + 3 * HOUR),
        # Two were missed, and the third one is a second late: it stands for them.
        ("skip", NOON, NOON + 2 * HOUR + 1, [NOON + 2 * HOUR], NOON + 3 * HOUR),
        ("once", NOON, NOON + 2 * HOUR + 1, [NOON + 2 * HOUR], NOON + 3 * HOUR),
        ("all", NOON, NOON + 2 * HOUR + 1, [NOON, NOON + HOUR, NOON + 2 * HOUR], NOON + 3 * HOUR),
    ],
)
@pytest.mark.parametrize("hourly", [{"cron": "0 * * * *"}, {"every": HOUR}])
def test_what_is_missed_is_judged_by_a_table(
    hourly: dict[str, object], missed: str, stands: float, now: float, runs: list[float], following: float
) -> None:
    spec = Spec(**hourly, missed=missed)  # type: ignore[arg-type]
    assert next_run(spec, "report", stands, now) == Turn(runs, following)


def test_a_schedule_that_is_not_due_at_a_moment_of_its_own_comes_back_into_step() -> None:
    assert next_run(Spec(every=HOUR), "report", NOON + 1, NOON + 2) == Turn([NOON + 1], NOON + HOUR)


@pytest.mark.parametrize("every_minute", [{"cron": "* * * * *"}, {"every": MINUTE}])
def test_of_very_many_missed_runs_the_newest_thousand_come(every_minute: dict[str, object]) -> None:
    now = NOON + 5_000.5 * MINUTE
    turn = next_run(Spec(**every_minute, missed="all"), "report", NOON, now)  # type: ignore[arg-type]

    assert len(turn.runs) == MOST
    assert turn.runs[-1] == NOON + 5_000 * MINUTE
    assert turn.next == NOON + 5_001 * MINUTE
    assert turn.left_out == 4_001


@pytest.mark.parametrize("missed", ["skip", "once", "all"])
def test_years_that_were_missed_do_not_stop_a_keeper(missed: str) -> None:
    """A look at each minute of ten years would take minutes."""
    turn = next_run(Spec(cron="* * * * *", missed=missed), "report", NOON - 3_652 * DAY, NOON + 0.5)
    assert turn.runs[-1] == NOON and turn.next == NOON + MINUTE


def test_steps_of_less_than_a_second_keep_their_step() -> None:
    spec = check_spec(None, 0.1)
    moment = NOON
    for _ in range(10_000):
        moment = after(spec, moment)
    assert moment == NOON + 1_000.0


def test_late_runs_of_a_fast_schedule_all_come() -> None:
    turn = next_run(Spec(every=0.5, missed="once"), "report", NOON, NOON + 10)
    assert turn == Turn([NOON + n / 2 for n in range(21)], NOON + 10.5)


# ---- jitter


def test_jitter_is_the_same_for_all_keepers_and_differs_by_schedule() -> None:
    spec = Spec(every=HOUR, jitter=20.0)
    delays = [due_at(spec, name, NOON) - NOON for name in ("a", "b", "c", "a")]
    assert delays[0] == delays[3]
    assert len(set(delays)) == 3
    assert all(0 <= delay < 20 for delay in delays)


def test_a_run_waits_for_its_jitter_and_none_is_lost_by_it() -> None:
    spec = Spec(every=HOUR, jitter=20.0)
    due = due_at(spec, "report", NOON)
    assert next_run(spec, "report", NOON, due - 0.01) == Turn([], NOON)
    assert next_run(spec, "report", NOON, due) == Turn([NOON], NOON + HOUR)


@pytest.mark.parametrize("missed", ["once", "all"])
def test_a_missed_run_is_not_lost_where_a_newer_one_waits_for_its_jitter(missed: str) -> None:
    spec = Spec(every=DAY, jitter=DAY / 2, missed=missed)
    midnight = NOON - DAY / 2
    assert due_at(spec, "report", midnight) > midnight + 600
    turn = next_run(spec, "report", midnight - DAY, midnight + 600)
    assert turn == Turn([midnight - DAY], midnight)


def test_whatever_the_policy_each_moment_is_judged_once() -> None:
    """Looks at random times: ``all`` runs each moment, the others some, none twice, all in their order."""
    rng = random.Random(4)
    for missed in ("all", "once", "skip"):
        for spec in (Spec(every=7.5, missed=missed), Spec(cron="*/2 * * * *", jitter=200.0, missed=missed)):
            stands = first = after(spec, NOON)
            now, ran = NOON, []
            while now < NOON + 6 * HOUR:
                now += rng.choice((0.2, 3.0, 50.0, 400.0))
                turn = next_run(spec, "report", stands, now)
                assert turn.next == stands if not turn.runs and turn.next == stands else turn.next > stands
                ran += turn.runs
                stands = turn.next
            assert ran == sorted(set(ran))
            expected, moment = [], first
            while moment < stands:
                expected.append(moment)
                moment = after(spec, moment)
            assert set(ran) <= set(expected)
            if missed == "all":
                assert ran == expected


# ---- time zones


#: How the pages tell how often a schedule runs from 01:00 on, in three hours of real time.
_TOLD = {"03:00": 1, "once": 1, "no run": 0, "not on that day": 0, "twice": 2, "four": 4}
_TOLD |= {"every real hour": 3, "every real half hour": 6}


def told_of_clocks() -> list[tuple[str, str, str]]:
    """Expression, night and what the pages tell of it."""
    docs = Path(__file__).resolve().parents[2] / "docs"
    compared = re.findall(
        r"^\| `(.+?)`, clocks set (\w+) \| (.+?) \|", (docs / "comparison-limits.md").read_text(), re.M
    )
    page = (docs / "schedules.md").read_text().split("## What happens when clocks are changed?")[1]
    rows = re.findall(r"^\| `(.+?)` \| (.+?) \| (.+?) \|$", page, re.M)
    assert len(compared) == 6 and len(rows) == 5
    return compared + [(cron, night, cell) for cron, *both in rows for night, cell in zip(_NIGHTS, both, strict=True)]


_NIGHTS = {"forward": (2026, 3, 29), "back": (2026, 10, 25)}


@pytest.mark.parametrize(("cron", "night", "told"), told_of_clocks())
def test_the_pages_tell_what_becomes_of_runs_when_clocks_are_changed(cron: str, night: str, told: str) -> None:
    start = datetime(*_NIGHTS[night], tzinfo=ZoneInfo("Europe/Berlin")).timestamp()
    moments = upcoming(check_spec(cron, None, "Europe/Berlin"), "clock", start - 1, 20)
    words = max((word for word in _TOLD if word in told), key=len)

    assert sum(start + HOUR <= moment < start + 4 * HOUR for moment in moments) == _TOLD[words]


def shown(moments: list[float], zone: str) -> list[str]:
    return [datetime.fromtimestamp(each, ZoneInfo(zone)).strftime("%m-%d %H:%M%z") for each in moments]


@pytest.mark.parametrize(("zone", "cron", "start", "runs"), CHANGES)
def test_clocks_that_are_changed(zone: str, cron: str, start: tuple[int, ...], runs: list[str]) -> None:
    spec = check_spec(cron, None, zone)
    assert shown(upcoming(spec, "report", local(zone, *start), len(runs)), zone) == runs


@pytest.mark.trap("hour that comes twice")
@pytest.mark.parametrize(("zone", "cron", "start", "runs"), CHANGES)
def test_the_next_run_does_not_depend_on_when_it_is_computed(
    zone: str, cron: str, start: tuple[int, ...], runs: list[str]
) -> None:
    spec, begin = check_spec(cron, None, zone), local(zone, *start)
    moments = upcoming(spec, "report", begin, 60)
    for at in range(int(begin), int(moments[len(runs)]), 600):
        assert after(spec, at) == next(moment for moment in moments if moment > at)


@pytest.mark.parametrize(
    ("cron", "first"),
    [
        ("@hourly", "06-01 13:00"),
        ("@daily", "06-02 00:00"),
        ("@midnight", "06-02 00:00"),
        ("@weekly", "06-07 00:00"),
        ("@monthly", "07-01 00:00"),
        ("@yearly", "01-01 00:00"),
        ("0 0 * * 7", "06-07 00:00"),
        ("*/5 9-17 * jan Mon-Fri", "01-01 09:00"),
        ("0 0 L * *", "06-30 00:00"),
        ("0 0 LW * *", "06-30 00:00"),
        ("0 0 * * 5L", "06-26 00:00"),
        ("0 0 * * MON#2", "06-08 00:00"),
        # Either day; with */n both.
        ("0 0 13 * FRI", "06-05 00:00"),
        ("0 0 */10 * MON", "08-31 00:00"),
        ("0 0 29 2 *", "02-29 00:00"),
    ],
)
def test_words_and_letters_of_cron(cron: str, first: str) -> None:
    assert datetime.fromtimestamp(after(check_spec(cron, None), NOON), UTC).strftime("%m-%d %H:%M") == first


# ---- what is refused


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"cron": None, "every": None}, "either cron=.* or every="),
        ({"cron": "* * * * *", "every": 5.0}, "either cron=.* or every="),
        ({"cron": "*/10 * * * * *", "every": None}, r"six fields.* every="),
        ({"cron": "hourly", "every": None}, "minute, hour, day of the month"),
        ({"cron": "@reboot", "every": None}, "@hourly"),
        ({"cron": "0 0 30 2 *", "every": None}, "never fires"),
        ({"cron": "61 * * * *", "every": None}, "is wrong.* The minute is 0 to 59"),
        ({"cron": "0 24 * * *", "every": None}, "is wrong.* The hour is 0 to 23"),
        ({"cron": "0 3 * * MONDAY", "every": None}, "is wrong.* The day of the week is 0 to 7.* MON-FRI"),
        ({"cron": "0 3 * 13 *", "every": None}, "is wrong.* The month is 1 to 12, or JAN to DEC"),
        ({"cron": "0 0 15W * *", "every": None}, "is wrong"),
        ({"cron": "0 22-2 * * *", "every": None}, "is wrong"),
        ({"cron": "@daily", "every": None, "timezone": "Europe/Atlantis"}, 'timezone="Europe/Atlantis".*Berlin'),
        ({"cron": "@daily", "every": None, "timezone": "Europe/Berlinn"}, 'Did you mean "Europe/Berlin"'),
        ({"cron": "@daily", "every": None, "timezone": "tokyo"}, 'Did you mean "Asia/Tokyo"'),
        (
            {"cron": "@daily", "every": None, "timezone": "CEST"},
            'zone that Python knows. Write one as in "Europe/Berlin"',
        ),
        ({"cron": "@daily", "every": None, "timezone": "../../etc/passwd"}, "is not a time zone"),
        ({"cron": None, "every": 0.05}, "at least 0.1"),
        ({"cron": None, "every": 0.0}, "at least 0.1"),
        ({"cron": None, "every": 5.0, "timezone": "UTC"}, "belongs to cron="),
        ({"cron": None, "every": 5.0, "jitter": 90_000.0}, "jitter=90000"),
    ],
)
def test_a_spec_that_is_none(options: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check_spec(**options)  # type: ignore[arg-type]


def test_what_may_surprise_is_said() -> None:
    assert notes(Spec(every=5.0)) == notes(Spec(cron="0 * * * *", timezone="Europe/Berlin")) == []
    assert notes(Spec(cron="30 2 * * *")) == []
    assert "right after the change" in notes(Spec(cron="30 2 * * *", timezone="Europe/Berlin"))[0]
    told, _ = notes(Spec(cron="*/30 2 * * *", timezone="Europe/Berlin"))
    assert "no run on that day" in told and "in both hours" in told
    for cron in ("30 2 * * *", "*/30 2 * * *", "0 0 */10 * MON", "0 0 13 * FRI"):
        # A terminal shows no more than 120 characters of a text.
        assert all(len(note) <= 120 for note in notes(Spec(cron=cron, timezone="Europe/Berlin")))
    assert "both must hold" in notes(Spec(cron="0 0 */10 * MON"))[0]
    assert "either of them" in notes(Spec(cron="0 0 13 * FRI"))[0]
