"""``python -m benchmarks``: measure, and print the figures beside their goals."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import uvloop

from . import cpu, drain, importing, latency, memory, report, roundtrip, send
from .figure import Figure
from .plan import Plan
from .server import Server, private_server

MEASUREMENTS: dict[str, Callable[[Plan], Coroutine[Any, Any, list[Figure]]]] = {
    "send": send.measure,
    "drain": drain.measure,
    "roundtrip": roundtrip.measure,
    "latency": latency.measure,
    "cpu": cpu.measure,
    "memory": memory.measure,
    "import": importing.measure,
}
#: Measured once more on a server that keeps a file.
_WITH_FILE = ("send", "drain")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", default=",".join(MEASUREMENTS), help="comma separated: %(default)s")
    parser.add_argument("--jobs", type=int, default=40_000, help="jobs of one repetition of a rate (%(default)s)")
    parser.add_argument("--reps", type=int, default=3, help="repetitions of everything (%(default)s)")
    parser.add_argument("--url", help='a server that runs; its keys of the app "bench" are deleted')
    parser.add_argument(
        "--fsync",
        choices=("no", "everysec"),
        help="append-only file of the private server; by default off, with send and drain once more with everysec",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this file too")
    arguments = parser.parse_args()
    arguments.only = [name.strip() for name in arguments.only.split(",") if name.strip()]
    for name in arguments.only:
        if name not in MEASUREMENTS:
            parser.error(f'there is no measurement "{name}"; there are {", ".join(MEASUREMENTS)}')
    if arguments.jobs < 1_000 or arguments.reps < 1:
        parser.error("--jobs takes 1,000 or more, --reps 1 or more")
    return arguments


def _measure(server: Server, names: list[str], jobs: int, reps: int) -> list[Figure]:
    figures = []
    for name in names:
        began = time.monotonic()
        print(f"{name}, append-only {server.fsync} …", end=" ", file=sys.stderr, flush=True)
        figures += uvloop.run(MEASUREMENTS[name](Plan(server, jobs, reps)))
        print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)
    return figures


def main() -> None:
    arguments = _arguments()
    given = Server.at(arguments.url) if arguments.url else None
    with contextlib.nullcontext(given) if given else private_server(arguments.fsync or "no") as server:
        about = report.facts(server.kind)
        figures = _measure(server, arguments.only, arguments.jobs, arguments.reps)
    beside = [name for name in arguments.only if name in _WITH_FILE]
    if beside and given is None and arguments.fsync is None:
        with private_server("everysec") as server:
            figures += _measure(server, beside, arguments.jobs, max(1, arguments.reps - 1))
    report.show(figures, about)
    if arguments.json:
        report.write(figures, about, arguments.json)


if __name__ == "__main__":
    main()
