"""What the recorder writes of a finished job."""

from __future__ import annotations

import json
import stat
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from aiotask import Status
from aiotask.brokers.history import HistoryRow
from aiotask.history.file import SCHEMA_VERSION
from aiotask.history.recorder import Recorder
from aiotask.job import Meta, More
from aiotask.outcome import ErrorInfo
from aiotask.values.flow import Flow
from aiotask.wire.plaintext import TEXT_LIMIT, plain_text

from ..history import finished, pickled, sqlite


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        ("é", '"é"'),
        ((1, [2.5, True]), "[1,[2.5,true]]"),
        ({"a": {"b": None}}, '{"a":{"b":null}}'),
        (b"raw", "\"b'raw'\""),
        ({1: 2}, '{"1":2}'),
        ({1}, '"{1}"'),
        (float("inf"), '"inf"'),
        (2**70, f'"{2**70}"'),
        (["\ud800"], r'["\\ud800"]'),
        ((b"raw", 128, {"a": 0.5}), """["b'raw'",128,{"a":0.5}]"""),
        ({n: b"" for n in range(9)}, "{" + "".join(f'"{n}":"b\'\'",' for n in range(8)) + '"…":"…"}'),
        (Decimal("1.5"), '"<pickled, 45 B>"'),
        (10**5000, '"<pickled, 2.1 kB>"'),
        (["x" * 200_000], '"<pickled, 200.0 kB>"'),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_is_always_json_with_text_for_what_json_has_no_word_for(
    value: Any, text: str, recorder: Recorder, path: Path
) -> None:
    recorder.record([finished("a", value)])

    assert sqlite(path, "SELECT result FROM jobs") == [(text,)]
    json.loads(text)


def test_other_formats_are_json_too(recorder: Recorder, path: Path) -> None:
    recorder.record(
        [
            finished("a", body=b'J[[1], {"b": NaN}]', result=b"C" + bytes((3, 12)) + b"cloud"),
            finished("b", body=b"J\xff", result=b"?!"),
            finished("c", body=b"", result=b"P."),
            finished("d", body=b'J"' + b"x" * 100_000),
        ]
    )

    assert sqlite(path, "SELECT arguments, result FROM jobs ORDER BY id") == [
        ('[[1],{"b":"nan"}]', '"<pickled by value by Python 3.12, 8 B>"'),
        ('"<JSON, 2 B>"', "\"<unknown format b'?', 2 B>\""),
        ("\"<unknown format b'', 0 B>\"", '"<pickled, 2 B>"'),
        ('"<JSON, 100.0 kB>"', "null"),
    ]


def test_a_small_pickle_that_unfolds_without_end_stays_small() -> None:
    shared: list[Any] = [1]
    for _ in range(60):
        shared = [shared, shared]
    circle: list[Any] = []
    circle.append(circle)

    for value in (shared, circle, ["x" * 20_000] * 5000, {"k": ["x" * 20_000] * 5000}):
        text = plain_text(pickled(value))
        assert len(text) <= TEXT_LIMIT and json.loads(text)


def test_a_long_error_is_cut(recorder: Recorder, path: Path) -> None:
    recorder.record([finished("a", status=Status.FAILED, error=ErrorInfo("builtins.ValueError", "x" * 100_000))])

    ((error,),) = sqlite(path, "SELECT error FROM jobs")
    assert len(error) == TEXT_LIMIT and error.startswith("ValueError: xxx") and error.endswith("…")


def test_the_file_is_wal_indexed_versioned_and_private(recorder: Recorder, path: Path) -> None:
    recorder.record([finished("a")])

    assert sqlite(path, "PRAGMA journal_mode") == [("wal",)]
    assert sqlite(path, "PRAGMA user_version") == [(SCHEMA_VERSION,)]
    for query in (
        "SELECT * FROM jobs WHERE id = 'a'",
        "SELECT * FROM jobs ORDER BY finished_at DESC, rowid DESC",
        "SELECT * FROM jobs WHERE task = 'a' ORDER BY finished_at DESC, rowid DESC",
        "SELECT * FROM jobs WHERE status = 'FAILED' ORDER BY finished_at DESC, rowid DESC",
    ):
        plan = str(sqlite(path, f"EXPLAIN QUERY PLAN {query}"))
        assert "USING INDEX" in plan and "TEMP B-TREE" not in plan, query
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [stat.S_IMODE(each.stat().st_mode) for each in (path.parent, path.parent.parent)] == [0o700, 0o700]


def test_the_graph_of_a_job_what_it_took_and_who_sent_it(recorder: Recorder, path: Path) -> None:
    upstream = [("c-1f", 3), "other"]
    node = More(parent="parent", flow=Flow("graph", 7, upstream))
    wide = More(flow=Flow("graph", 8, [("c-1f", 5_000)]))

    recorder.record([finished("a"), finished("b", more=node, graph="graph"), finished("c", more=wide, graph="graph")])

    rows = sqlite(path, "SELECT id, deps, parent, graph FROM jobs ORDER BY id")
    assert rows[:2] == [("a", "[]", None, None), ("b", '["c-1f", "c-20", "c-21", "other"]', "parent", "graph")]
    assert len(json.loads(rows[2][1])) == 1_000
    query = "SELECT * FROM jobs WHERE graph = 'graph' ORDER BY finished_at DESC"
    assert "USING INDEX jobs_graph" in str(sqlite(path, f"EXPLAIN QUERY PLAN {query}"))


def test_rows_that_are_not_ours_are_left_out_and_counted(
    recorder: Recorder, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good, foreign = finished("good"), finished("foreign", secret="another")
    other_job = HistoryRow("1-2", finished("x").job, finished("kept").outcome, Meta())

    recorder.record([foreign, HistoryRow("1-1", b"junk", b"junk", Meta()), other_job, good])

    assert recorder.skipped == 2
    assert "2 finished jobs were not recorded" in caplog.text and "another secret" in caplog.text
    assert sqlite(path, "SELECT id, status, queue FROM jobs ORDER BY id") == [
        ("good", "SUCCESS", "default"),
        ("kept", "SUCCESS", None),  # the outcome is true; the job beside it was another one
    ]
