"""The typed surface: the files ``typing_*.py`` are accepted, each error that they expect is one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("api", "batches", "graphs", "limits", "outbox", "rows", "schedules", "streams")
CASES = [ROOT / "tests" / f"typing_{part}.py" for part in PARTS]


def run_mypy(file: Path, cache: Path) -> subprocess.CompletedProcess[str]:
    # Silent about the library's own files: those are checked as such, by `make types`.
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--follow-imports=silent",
        "--cache-dir",
        str(cache),
        str(file),
    ]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110)


@pytest.mark.parametrize("cases", CASES, ids=[path.stem for path in CASES])
def test_the_public_surface_is_typed_and_expected_errors_are_errors(cases: Path, tmp_path: Path) -> None:
    checked = run_mypy(cases, tmp_path / "cache")

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_mistake_in_a_call_is_reported_where_it_stands(tmp_path: Path) -> None:
    case = tmp_path / "case.py"
    case.write_text(
        "from aiotask import App\n"
        'app = App("shop")\n'
        "@app.task\n"
        "def render(tile: int) -> bytes:\n"
        "    return bytes(tile)\n"
        'render.apply_async("seven")\n'
    )

    checked = run_mypy(case, tmp_path / "cache")

    assert checked.returncode == 1, checked.stdout + checked.stderr
    assert "case.py:6: error" in checked.stdout
    assert 'incompatible type "str"; expected "int"' in checked.stdout
