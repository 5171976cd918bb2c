"""Who has no traces does not load OpenTelemetry, and who asks for traces without it is told what to install."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def python(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("AIOTASK_")}
    return subprocess.run(
        [sys.executable, "-c", code], env={**env, **variables}, capture_output=True, text=True, timeout=60
    )


def test_only_traces_load_opentelemetry() -> None:
    code = """
import asyncio, sys
import aiotask, aiotask.daemon.supervisor, aiotask_cli.main

app = aiotask.App("a", url="memory://")

@app.task(name="t:one")
def one():
    return 1

async def main():
    async with app, app.worker():
        return await one.apply_async().wait(30)

assert asyncio.run(main()) == 1
print(any(name.partition(".")[0] == "opentelemetry" for name in sys.modules))
"""
    assert python(code).stdout == "False\n"
    assert python(code, AIOTASK_OTEL="1").stdout == "True\n"


@pytest.fixture
def without_opentelemetry(tmp_path: Path) -> str:
    """A folder that hides it, for PYTHONPATH."""
    (tmp_path / "opentelemetry.py").write_text("raise ImportError('it is not installed')\n")
    return str(tmp_path)


def test_the_error_says_what_to_install(without_opentelemetry: str) -> None:
    done = python("import aiotask", AIOTASK_OTEL="1", PYTHONPATH=without_opentelemetry)

    assert done.returncode == 1
    assert "pip install 'aiotask[otel]'" in done.stderr.splitlines()[-1]
    assert python("import aiotask", PYTHONPATH=without_opentelemetry).returncode == 0
