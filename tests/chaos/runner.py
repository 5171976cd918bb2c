"""Performs one trial from an empty arena to its report."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

from .arena import Arena, Tell
from .checker import examine
from .report import Report
from .trial import Tier, TierName, Trial

__all__ = ["perform"]


def perform(
    trial: Trial,
    tier: TierName = "short",
    seed: int | None = None,
    *,
    server: str | None = None,
    directory: Path | None = None,
    tell: Tell | None = None,
) -> Report:
    """The report of one trial; a trial that breaks or hangs has failed, and the report says how.

    Args:
        seed: of all that is random in it; None takes a random one.
        server: ``redis``, ``valkey``, or None for whatever is there.
        directory: for ledger and logs; None makes one, which is kept only if the trial fails.
    """
    seed = random.SystemRandom().randrange(1_000_000) if seed is None else seed
    made = directory is None
    directory = directory or Path(tempfile.mkdtemp(prefix="aiotask-chaos-", dir=_fast()))
    print(f"chaos: {trial.name}, {tier} tier, seed {seed}", file=sys.stderr, flush=True)
    began = time.monotonic()
    report = asyncio.run(_perform(trial, trial.tier(tier), seed, server, directory, tell))
    report.trial, report.number, report.summary = trial.name, trial.number, trial.summary
    report.tier, report.seed, report.seconds = tier, seed, time.monotonic() - began
    if report.passed:
        if made:
            shutil.rmtree(directory, ignore_errors=True)
    else:
        report.kept = str(directory)
        if made and directory.parent != Path("/tmp"):
            report.kept = str(shutil.copytree(directory, Path("/tmp", directory.name), ignore=_sockets))
            shutil.rmtree(directory, ignore_errors=True)
        print(f"chaos: {trial.name} failed with seed {seed}", file=sys.stderr, flush=True)
    return report


def _sockets(directory: str, names: list[str]) -> list[str]:
    """Those that cannot be copied."""
    return [name for name in names if Path(directory, name).is_socket()]


def _fast() -> str:
    """Where writing never waits for a disk: the ledger must not stall what it watches."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else "/tmp"


async def _perform(
    trial: Trial, tier: Tier, seed: int, server: str | None, directory: Path, tell: Tell | None
) -> Report:
    rng = random.Random(f"{seed} {trial.name}")
    arena = Arena(directory, kind=server, options=trial.server, module=trial.module, tell=tell)
    report = Report()
    try:
        async with arena:
            report = await _run(trial, tier, rng, arena)
    except Exception:
        report.failures.append(f"It broke:\n{traceback.format_exc()}")
    report.server = str(arena.server.binary).partition(" (")[0]
    return report


async def _run(trial: Trial, tier: Tier, rng: random.Random, arena: Arena) -> Report:
    try:
        async with asyncio.timeout(tier.limit):
            return await trial.run(arena, tier, rng)
    except TimeoutError:
        failure = f"It did not end within {tier.limit:g} s.\n{traceback.format_exc()}"
    except Exception:
        failure = f"It broke:\n{traceback.format_exc()}"
    report = Report()
    try:
        # What is to be seen in the ruins.
        report = await examine(arena, settle=1.0)
    except Exception:
        failure += f"\nNor could it be examined:\n{traceback.format_exc()}"
    report.failures.append(failure)
    return report
