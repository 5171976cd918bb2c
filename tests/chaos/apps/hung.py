"""Tasks that never end by themselves, each with a time limit of 1 s."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import subprocess
import sys
import time

from ..app import app as app
from ..app import nap as nap
from ..app import noop as noop
from ..app import sync_noop as sync_noop
from ..ledger import attempt, jot

#: Seconds.
LIMIT = 1.0


@app.task(timeout=LIMIT)
def loop_in_python() -> str:
    with attempt():
        while True:
            pass


@app.task(timeout=LIMIT)
def swallow_everything() -> str:
    with attempt():
        while True:
            with contextlib.suppress(BaseException):
                time.sleep(600)


@app.task(timeout=LIMIT)
def hold_the_gil() -> str:
    with attempt() as token:
        re.match(r"(a+)+$", "a" * 60 + "b")
        return token


@app.task(timeout=LIMIT)
async def hold_the_gil_in_the_loop() -> str:
    with attempt() as token:
        re.match(r"(a+)+$", "a" * 60 + "b")
        return token


@app.task(timeout=LIMIT)
async def swallow_cancels() -> str:
    with attempt():
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(600)


@app.task(timeout=LIMIT)
async def block_the_loop() -> str:
    with attempt() as token:
        time.sleep(600)  # noqa: ASYNC251 - that is what it is for
        return token


@app.task(timeout=LIMIT)
def breed() -> str:
    """Children that start children, a few dozen in all, and waits for them."""
    grandchild = "import time; time.sleep(600)"
    child = f"import subprocess, sys, time; [subprocess.Popen([sys.executable, '-S', '-c', {grandchild!r}])"
    child += " for _ in range(3)]; print(flush=True); time.sleep(600)"
    with attempt() as token:
        children = [subprocess.Popen([sys.executable, "-S", "-c", child], stdout=subprocess.PIPE) for _ in range(4)]
        for process in children:
            assert process.stdout is not None
            process.stdout.readline()
        jot(group=os.getpgrp())
        while True:
            # Nothing but the end of its process ends this.
            with contextlib.suppress(BaseException):
                children[0].wait()
        return token


HUNG = (
    loop_in_python,
    swallow_everything,
    hold_the_gil,
    hold_the_gil_in_the_loop,
    swallow_cancels,
    block_the_loop,
    breed,
)
