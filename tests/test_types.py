"""The typed surface: the files ``typing_*.py`` are accepted, each error that they expect is one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CASES = sorted((ROOT / "tests").glob("typing_*.py"))


@pytest.mark.timeout(300)
def test_the_public_surface_is_typed_and_a_mistake_in_a_call_is_reported_where_it_stands(tmp_path: Path) -> None:
    mistake = tmp_path / "mistake.py"
    mistake.write_text(
        "from aiotask import App\n"
        'app = App("shop")\n'
        "@app.task\n"
        "def render(tile: int) -> bytes:\n"
        "    return bytes(tile)\n"
        'render.apply_async("seven")\n'
    )
    assert len(CASES) > 5

    # One run over all: what they import is most of the work. Silent about the own files of the library: those are
    # checked as such, by `make types`.
    options = ["--strict", "--follow-imports=silent", "--cache-dir", str(tmp_path / "cache")]
    command = [sys.executable, "-m", "mypy", *options, str(mistake), *map(str, CASES)]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=290)

    assert checked.returncode == 1, checked.stdout + checked.stderr
    # The files of cases show none: each error that they expect is marked as one, and a mark without an error is one.
    [line] = [line for line in checked.stdout.splitlines() if ": error:" in line]
    assert "mistake.py:6: error" in line and 'incompatible type "str"; expected "int"' in line
