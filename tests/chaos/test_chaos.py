"""Every trial in its short tier; the full one is `python -m tests.chaos --full`."""

from __future__ import annotations

from pathlib import Path

import pytest

from .runner import perform
from .trial import names, the_trial


@pytest.mark.parametrize("name", names())
def test_chaos(name: str, tmp_path: Path) -> None:
    trial = the_trial(name)
    if lacking := trial.lacks():
        pytest.skip(lacking)
    report = perform(trial, "short", directory=tmp_path)
    print("\n".join(report.lines()))
    assert report.passed, f"seed {report.seed}\n{report.why()}"
