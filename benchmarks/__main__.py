"""``python -m benchmarks``: measure, and print the figures beside their goals."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import sys
from pathlib import Path
from typing import Any

import uvloop

from aiotask import AiotaskError

from . import charts, report
from .databases import KINDS
from .figure import Failed, Figure
from .plan import Plan
from .progress import Bars
from .server import Server, kinds, private_server

#: Module of each measurement. It is imported when it is wanted: an older release that these benchmarks measure
#: (against.py) lacks what the others need.
MEASUREMENTS = {
    **{name: name for name in ("send", "drain", "roundtrip", "latency", "cpu", "recovery", "starting", "memory")},
    **{"import": "importing", "recorder": "recorder", "lanes": "lanes", "fairness": "fairness"},
    **{name: name for name in ("graphs", "graphs_server", "limits")},
    **{
        name: f"timely.{name}"
        for name in (
            "limits_server",
            "handover",
            "effects",
            "plain_cost",
            "rates",
            "turns",
            "schedules",
            "streams",
            "keyed",
        )
    },
    **{"looking": "watch.looking", "rows": "rows", "payload": "payload", "scale": "scale"},
}
#: Measured once more on a server that keeps a file.
_WITH_FILE = ("send", "drain")
#: Takes too long to be measured unasked.
_ON_DEMAND = ("scale",)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    usual = ",".join(name for name in MEASUREMENTS if name not in _ON_DEMAND)
    parser.add_argument("--only", default=usual, metavar="NAMES", help=f"comma separated: {usual} (all), scale")
    parser.add_argument("--scale", action="store_true", help="with scale, which takes minutes")
    parser.add_argument(
        "--scale-max", type=int, default=5_000_000, metavar="N", help="the most jobs that scale lets wait (%(default)s)"
    )
    parser.add_argument("--jobs", type=int, default=40_000, help="jobs of one repetition of a rate (%(default)s)")
    parser.add_argument("--reps", type=int, default=5, help="repetitions of everything (%(default)s)")
    parser.add_argument(
        "--long", type=float, default=2.0, metavar="SECONDS", help="a long job in fairness (%(default)s)"
    )
    parser.add_argument(
        "--databases",
        default=",".join(KINDS).lower(),
        metavar="NAMES",
        help="comma separated: on which rows are measured, if they are installed (%(default)s)",
    )
    parser.add_argument("--url", help='a server that runs; its keys of the app "bench" are deleted')
    parser.add_argument("--server", choices=("redis", "valkey"), help="kind of the private server")
    parser.add_argument(
        "--fsync",
        choices=("no", "everysec"),
        help="append-only file of the private server; by default off, with send and drain once more with everysec",
    )
    parser.add_argument(
        "--beside",
        choices=("features",),
        help="in send, drain, roundtrip and latency other tasks of the app use limits, unique keys, schedules, "
        "streams, batches, checkpoints and graphs",
    )
    parser.add_argument("--turns", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--peers", metavar="NAMES", help="other queues beside it instead, or all; --peers all --help")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this file too")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="and as tables to this one")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="and as charts (SVG) into this directory")
    return parser


def _arguments() -> argparse.Namespace:
    parser = _parser()
    arguments = parser.parse_args()
    arguments.only = [name.strip() for name in arguments.only.split(",") if name.strip()]
    if arguments.scale and "scale" not in arguments.only:
        arguments.only.append("scale")
    for name in arguments.only:
        if name not in MEASUREMENTS:
            parser.error(f'there is no measurement "{name}"; there are {", ".join(MEASUREMENTS)}')
    wanted = [name.strip().lower() for name in arguments.databases.split(",")]
    if strange := [name for name in wanted if name not in map(str.lower, KINDS)]:
        parser.error(f'there is no database "{strange[0]}"; there are {", ".join(KINDS).lower()}')
    arguments.databases = tuple(kind for kind in KINDS if kind.lower() in wanted)
    if arguments.jobs < 1_000 or arguments.reps < 1 or arguments.scale_max < 1_000:
        parser.error("--jobs and --scale-max take 1,000 or more, --reps 1 or more")
    if not 0.1 <= arguments.long <= 60:
        parser.error("--long takes 0.1 to 60 seconds")
    if arguments.server and not arguments.url and arguments.server not in kinds():
        parser.error(f'there is no server of the kind "{arguments.server}" here')
    if arguments.plots and not charts.are_possible():
        parser.error("--plots needs matplotlib: pip install 'aiotask[bench]'")
    return arguments


def _measure(arguments: argparse.Namespace, bars: Bars) -> tuple[list[Figure], dict[str, Any], list[str], list[str]]:
    """All figures, what they depend on, and what is to be said besides; a measurement that failed gives no figures."""
    figures: list[Figure] = []
    notes: list[str] = []
    failed: list[str] = []

    def run(server: Server, names: list[str]) -> None:
        for name in names:
            bar = bars.begin(f"{name}, append-only {server.fsync}" if name in _WITH_FILE else name)
            plan = Plan(
                *(server, arguments.jobs, arguments.reps, arguments.long, arguments.scale_max),
                has_features=arguments.beside is not None,
                takes_turns=arguments.turns,
                databases=arguments.databases,
                bar=bar,
                notes=notes,
            )
            try:
                module = importlib.import_module(f".{MEASUREMENTS[name]}", __package__)
                figures.extend(uvloop.run(module.measure(plan)))
            except (AiotaskError, Failed) as error:
                failed.append(f"{name} FAILED: {error}")

    given = Server.at(arguments.url) if arguments.url else None
    with (
        contextlib.nullcontext(given) if given else private_server(arguments.fsync or "no", arguments.server) as server
    ):
        about = report.facts(server.kind)
        run(server, arguments.only)
    again = [name for name in arguments.only if name in _WITH_FILE]
    if again and given is None and arguments.fsync is None:
        with private_server("everysec", arguments.server) as server:
            run(server, again)
    order = list(dict.fromkeys(figure.work for figure in figures))
    return sorted(figures, key=lambda figure: order.index(figure.work)), about, notes, failed


def main() -> None:
    if any(each.partition("=")[0] == "--peers" for each in sys.argv[1:]):
        from .peers import command

        raise SystemExit(command.main(sys.argv[1:]))
    arguments = _arguments()
    with Bars() as bars:
        figures, about, notes, failed = _measure(arguments, bars)
    notes += failed
    report.show(figures, about, notes)
    if arguments.json:
        report.write(figures, about, notes, arguments.json)
    pictures = charts.draw(figures, about, arguments.plots) if arguments.plots else []
    if arguments.markdown:
        report.write_markdown(figures, about, notes, arguments.markdown, pictures)
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
