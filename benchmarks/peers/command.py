"""``python -m benchmarks --peers NAMES``."""

from __future__ import annotations

import argparse
import importlib.util
import os
from pathlib import Path

from .catalog import PEERS, chosen
from .outcome import Outcome
from .workloads import WORKLOADS

__all__ = ["main"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks --peers NAMES", description=__doc__)
    parser.add_argument("--peers", default="all", help=f"comma separated, or all: {', '.join(PEERS)}")
    parser.add_argument("--only", default=",".join(WORKLOADS), help="comma separated workloads: %(default)s")
    parser.add_argument("--reps", type=int, help="repetitions (3, with --quick 1)")
    parser.add_argument("--quick", action="store_true", help="short runs, to see that everything works")
    parser.add_argument("--peers-dir", type=Path, metavar="DIR", help="virtual environments of the peers")
    parser.add_argument("--python3.12", dest="python312", metavar="PATH", help="for ArdiQ ($AIOTASK_PYTHON312)")
    parser.add_argument("--install-only", action="store_true", help="make the environments and stop")
    parser.add_argument("--strict", action="store_true", help="exit code 1 if a peer or a run gave no figures")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the report")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="write SVG pictures (pip install 'aiotask[bench]')")
    parser.add_argument("--from", dest="earlier", type=Path, metavar="FILE", help="report of an earlier --json")
    return parser


def main(argv: list[str]) -> int:
    """Install, measure and report; the exit code."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    arguments.reps = arguments.reps or (1 if arguments.quick else 3)
    names = [name.strip() for name in arguments.only.split(",") if name.strip()]
    unknown = [name for name in names if name not in WORKLOADS]
    if unknown or not names:
        parser.error(f'there is no workload "{",".join(unknown)}"; there are {", ".join(WORKLOADS)}')
    if arguments.reps < 1:
        parser.error("--reps takes 1 or more")
    needed = [*(["matplotlib"] if arguments.plots else []), *([] if arguments.earlier else ["psutil"])]
    for package in needed:
        if importlib.util.find_spec(package) is None:
            parser.error(f"{package} is not installed: pip install 'aiotask[bench]'")
    try:
        peers = chosen(arguments.peers)
    except ValueError as error:
        parser.error(str(error))
    if arguments.earlier:
        outcome = Outcome.read(arguments.earlier)
    else:
        from .measure import measure

        outcome = measure(peers, names, arguments)
    if arguments.install_only and not arguments.earlier:
        return 1 if arguments.strict and outcome.skipped else 0
    _report(outcome, arguments)
    return 1 if arguments.strict and (outcome.skipped or outcome.failures) else 0


def _report(outcome: Outcome, arguments: argparse.Namespace) -> None:
    from .report import markdown, show

    # First what took long to find out, then what is made of it.
    if arguments.json and arguments.json != arguments.earlier:
        outcome.write(arguments.json)
    show(outcome)
    pictures: list[Path] = []
    if arguments.plots:
        from .plots import draw

        pictures = draw(outcome, arguments.plots)
    if arguments.markdown:
        beside = [Path(os.path.relpath(path, arguments.markdown.parent)).as_posix() for path in pictures]
        arguments.markdown.write_text(markdown(outcome, beside))
