"""Tasks that take memory: all at once, or a little that is never given back."""

from __future__ import annotations

import time

from ..app import app as app
from ..app import nap as nap
from ..app import noop as noop
from ..ledger import attempt

MB = 1_000_000
_kept: list[bytearray] = []


@app.task
def gorge(megabytes: int) -> str:
    """In steps, as a program does that reads a large file."""
    with attempt() as token:
        taken = [bytearray(b"x") * (10 * MB) for _ in range(megabytes // 10)]
        time.sleep(0.01 * len(taken))
        return token


@app.task(memory="80MB")
def gorge_within_limits(megabytes: int) -> str:
    with attempt() as token:
        taken = [bytearray(b"x") * (10 * MB) for _ in range(megabytes // 10)]
        # Held until somebody looks.
        time.sleep(20)
        return token if taken else ""


@app.task
def leak(megabytes: int) -> str:
    with attempt() as token:
        _kept.append(bytearray(b"x") * (megabytes * MB))
        return token
