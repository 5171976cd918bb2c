"""From names of peers to an outcome: the environments, the server, the progress bar, the run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from .catalog import Peer
from .install import CannotInstall, Environment, cache, install
from .outcome import Outcome
from .run import Runner, about
from .server import private_server
from .trial import QUICK, Sizes
from .workloads import WORKLOADS

__all__ = ["measure"]


def measure(peers: Sequence[Peer], names: Sequence[str], arguments: argparse.Namespace) -> Outcome:
    """Install the peers and run the workloads, unless installing was all that was asked for."""
    console = Console(file=sys.stderr)
    skipped: dict[str, str] = {}
    with _progress(console) as progress:
        environments = _install(peers, arguments, skipped, progress)
    for name, reason in skipped.items():
        console.print(f"{name} is left out: {reason}", markup=False, highlight=False)
    if arguments.install_only:
        return Outcome({}, skipped=skipped)
    with private_server() as server, _progress(console) as progress:
        sizes = QUICK if arguments.quick else Sizes()
        outcome = Outcome(about(server, arguments.reps, arguments.quick, sizes), skipped=skipped)
        workloads = [WORKLOADS[name] for name in names]

        def save() -> None:
            if arguments.json:
                outcome.write(arguments.json)

        runner = Runner(server, environments, workloads, sizes, arguments.reps, outcome, save)
        try:
            runner.run(progress)
        except KeyboardInterrupt:
            console.print("Stopped; this is what was measured until then.")
    return outcome


def _install(
    peers: Sequence[Peer], arguments: argparse.Namespace, skipped: dict[str, str], progress: Progress
) -> list[Environment]:
    bar = progress.add_task("environments", total=len(peers))
    environments = []
    for peer in peers:
        try:
            directory = arguments.peers_dir or cache()
            environments.append(
                install(peer, directory, arguments.python312, lambda text: progress.update(bar, description=text))
            )
        except CannotInstall as error:
            skipped[peer.name] = str(error)
        progress.advance(bar)
    progress.update(bar, description="environments")
    return environments


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console)
