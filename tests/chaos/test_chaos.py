"""Trials in their short tier, with --full all of them; the full tier is `python -m tests.chaos --full`."""

from __future__ import annotations

from pathlib import Path

import pytest

from .runner import perform
from .trial import names, the_trial

#: The trials that the ordinary run goes without, since it proves their promises one by one, without the load.
FULL_ONLY = {
    "term": pytest.mark.full_only("tests/supervisor/test_stops.py stops services once and twice"),
    "poison": pytest.mark.full_only("tests/recovery/test_pills.py gives up jobs that kill, and no neighbour of theirs"),
    "memory": pytest.mark.full_only(
        "tests/test_time_limits.py and tests/test_oom_kills.py end jobs that take too much"
    ),
    "sqlite": pytest.mark.full_only(
        "tests/recorder locks, fills, spoils and replaces the file, and kills who writes it"
    ),
    "hung": pytest.mark.full_only("tests/test_time_limits.py ends jobs that hang, react to nothing or use up the CPU"),
    "parents": pytest.mark.full_only("tests/test_stopped_parents.py and tests/test_waiting_parents.py stop parents"),
    "lookers": pytest.mark.full_only("tests/web walks over all pages and pauses; tests/recovery kills the workers"),
    "rows_server": pytest.mark.full_only("tests/rows_service/test_server.py restarts PostgreSQL under a service"),
    "rows_poison": pytest.mark.full_only("tests/rows_service/test_deaths.py gives up rows that kill their process"),
    "rows_kill": pytest.mark.full_only("tests/rows_service/test_deaths.py kills all of a service at random under rows"),
    "limits": pytest.mark.full_only("tests/acceptance/test_limits.py and test_limit_keys.py kill workers under limits"),
    "rows_snapshot": pytest.mark.full_only("it measures how long claims take, which no ordinary test does"),
}


@pytest.mark.parametrize("name", [pytest.param(name, marks=FULL_ONLY.get(name, ())) for name in names()])
def test_chaos(name: str, tmp_path: Path) -> None:
    trial = the_trial(name)
    if lacking := trial.lacks():
        pytest.skip(lacking)
    report = perform(trial, "short", directory=tmp_path)
    print("\n".join(report.lines()))
    assert report.passed, f"seed {report.seed}\n{report.why()}"
