"""``python -m benchmarks.against CHECKOUT``: this checkout beside another one, alternated, as ratios.

On a shared machine the same work takes half or twice the time within minutes. So each round measures both checkouts one
right after the other, each of them first in turn, and what counts is the median of the ratios of the rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent.parent
#: By work and name: value, unit, and whether more is better.
Figures = dict[tuple[str, str], tuple[float, str, bool]]


def measured(checkout: Path, arguments: argparse.Namespace, *options: str) -> Figures:
    """The figures of one run of the benchmarks of a checkout, with the Python of its ``.venv``.

    Args:
        options: further ones of ``python -m benchmarks``.
    """
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "figures.json"
        done = subprocess.run(
            [
                *(checkout / ".venv" / "bin" / "python", "-m", "benchmarks", "--only", arguments.only),
                *("--reps", "1", "--jobs", str(arguments.jobs), "--fsync", "no", "--json", file, *options),
            ],
            cwd=checkout,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if not file.exists():
            raise SystemExit(f"The benchmarks of {checkout} failed:\n{done.stdout}{done.stderr}")
        figures = json.loads(file.read_text())["figures"]
    return {
        (each["work"], each["name"]): (each["value"], each["unit"], each["more_is_better"])
        for each in figures
        if each["value"]
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.against", description=__doc__)
    parser.add_argument("checkout", type=Path, help="another checkout, with aiotask installed into its .venv")
    parser.add_argument(
        "--only", default="send,drain,roundtrip,latency", metavar="NAMES", help="as in python -m benchmarks"
    )
    parser.add_argument("--rounds", type=int, default=8, help="rounds (%(default)s)")
    parser.add_argument("--jobs", type=int, default=20_000, help="jobs of one rate (%(default)s)")
    parser.add_argument(
        "--beside",
        choices=("features",),
        help="as in python -m benchmarks, for this checkout only: the other one measures its plain tasks alone",
    )
    arguments = parser.parse_args()
    beside = ["--beside", arguments.beside] if arguments.beside else []
    ratios: dict[tuple[str, str], list[float]] = defaultdict(list)
    shown: dict[tuple[str, str], list[tuple[float, float, str]]] = defaultdict(list)
    for number in range(arguments.rounds):
        pair = [HERE, arguments.checkout.resolve()]
        order = pair if number % 2 else pair[::-1]
        found = {each: measured(each, arguments, *(beside if each is HERE else [])) for each in order}
        here, there = (found[checkout] for checkout in pair)
        for key in here.keys() & there.keys():
            (ours, unit, more), (theirs, _, _) = here[key], there[key]
            ratios[key].append(ours / theirs if more else theirs / ours)
            shown[key].append((ours, theirs, unit))
        print(f"round {number + 1} of {arguments.rounds}", file=sys.stderr)
    table = Table("work", "", "here", "there", "unit", "ratio", "range", title="Above 1: this checkout is better")
    for key, values in sorted(ratios.items()):
        ours, theirs = (statistics.median(each[side] for each in shown[key]) for side in (0, 1))
        spread = f"{min(values):.2f}-{max(values):.2f}"
        table.add_row(
            *key, f"{ours:,.4g}", f"{theirs:,.4g}", shown[key][0][2], f"{statistics.median(values):.3f}", spread
        )
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
