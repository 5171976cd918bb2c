"""``python -m benchmarks.against CHECKOUT``: this checkout beside another one, in turns, as ratios.

On a shared machine the same work takes half or twice the time within seconds. So both checkouts are in service at the
same time, each with a server and workers of its own, and take turns: a repetition of some tenths of a second here, one
there, each of them first in turn. What counts is the median of the ratios of these pairs. The benchmarks of this
checkout measure both, so that only what is measured differs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from .plan import TURN

HERE = Path(__file__).resolve().parent.parent
#: Samples of the pairs whose medians tell how sure a median is, and the share of them that the range holds.
_SAMPLES, _SURE = 1_000, 0.9
#: Values of the repetitions, unit, and whether more is better, by work and name.
Figures = dict[tuple[str, str], tuple[list[float], str, bool]]


class Side:
    """One checkout that is measured, with the Python of its ``.venv``."""

    def __init__(self, checkout: Path, directory: Path, arguments: argparse.Namespace, *options: str) -> None:
        self._checkout = checkout
        self._file = directory / "figures.json"
        # Beside these benchmarks there is no aiotask: it comes from where the .venv has it.
        (directory / "benchmarks").symlink_to(HERE / "benchmarks")
        self._errors = (directory / "errors").open("w+")
        self._process = subprocess.Popen(
            [
                *(checkout / ".venv" / "bin" / "python", "-m", "benchmarks", "--turns", "--only", arguments.only),
                *("--reps", str(arguments.pairs), "--jobs", str(arguments.jobs), "--fsync", "no"),
                *("--json", str(self._file), *options),
            ],
            cwd=directory,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def is_ready(self) -> bool:
        """Wait until it asks for its turn; False: all its turns are over."""
        assert self._process.stdout is not None
        return any(line.strip() == TURN for line in iter(self._process.stdout.readline, ""))

    def go(self) -> None:
        """Give it the turn that it has asked for."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def figures(self) -> Figures:
        self._process.wait()
        if not self._file.exists():
            self._errors.seek(0)
            raise SystemExit(f"The benchmarks of {self._checkout} failed:\n{self._errors.read()}")
        found = json.loads(self._file.read_text())
        for note in found["notes"]:
            print(f"{self._checkout}: {note}", file=sys.stderr)
        return {
            (each["work"], each["name"]): (each["values"], each["unit"], each["more_is_better"])
            for each in found["figures"]
        }

    def end(self) -> None:
        """End it, also where it is not over."""
        self._process.terminate()
        self._process.communicate()
        self._errors.close()


def take_turns(here: Side, there: Side) -> None:
    """Let both repeat what they measure, a pair of repetitions at a time."""
    pairs = 0
    ready = {each: each.is_ready() for each in (here, there)}
    while all(ready.values()):
        for each in (here, there) if pairs % 2 else (there, here):
            each.go()
            ready[each] = each.is_ready()
        pairs += 1
        if pairs % 10 == 0:
            print(f"{pairs} pairs", file=sys.stderr)


def sure(ratios: Sequence[float]) -> tuple[float, float]:
    """The range in which the median of ratios lies with 90 % certainty (bootstrap; Efron, 1979)."""
    chance = random.Random(1)
    medians = sorted(statistics.median(chance.choices(ratios, k=len(ratios))) for _ in range(_SAMPLES))
    outside = round(_SAMPLES * (1 - _SURE) / 2)
    return medians[outside], medians[-1 - outside]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.against", description=__doc__)
    parser.add_argument("checkout", type=Path, help="another checkout, with aiotask installed into its .venv")
    parser.add_argument(
        "--only", default="send,drain,roundtrip,latency", metavar="NAMES", help="as in python -m benchmarks"
    )
    parser.add_argument("--pairs", type=int, default=30, help="pairs of repetitions (%(default)s)")
    parser.add_argument("--jobs", type=int, default=10_000, help="jobs of one rate (%(default)s)")
    parser.add_argument(
        "--beside",
        choices=("features",),
        help="as in python -m benchmarks, for this checkout only: the other one measures its plain tasks alone",
    )
    arguments = parser.parse_args()
    beside = ["--beside", arguments.beside] if arguments.beside else []
    with contextlib.ExitStack() as stack:
        sides = []
        for checkout, options in ((HERE, beside), (arguments.checkout.resolve(), [])):
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            sides.append(Side(checkout, directory, arguments, *options))
            stack.callback(sides[-1].end)
        take_turns(*sides)
        ours, theirs = (side.figures() for side in sides)
    table = Table("work", "", "here", "there", "unit", "ratio", "90 % sure", title="Above 1: this checkout is better")
    for key in sorted(ours.keys() & theirs.keys()):
        (here, unit, more), (there, _, _) = ours[key], theirs[key]
        ratios = [left / right if more else right / left for left, right in zip(here, there, strict=True)]
        low, high = sure(ratios)
        medians = (f"{statistics.median(values):,.4g}" for values in (here, there))
        table.add_row(*key, *medians, unit, f"{statistics.median(ratios):.3f}", f"{low:.3f}-{high:.3f}")
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
