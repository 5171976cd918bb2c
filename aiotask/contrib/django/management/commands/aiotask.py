"""``manage.py aiotask``: ``run``, and every other command of ``aiotask``."""

from __future__ import annotations

import os
from argparse import SUPPRESS, ArgumentParser

from django.core.management.base import BaseCommand

from ....commands import become_command, become_worker
from ... import load_apps

__all__ = ["Command"]

_HELP = """\
usage: manage.py aiotask run [options]       run jobs in worker processes
       manage.py aiotask COMMAND [options]   every other command of aiotask: jobs, doctor, …

The options of run are those of `aiotask worker`: manage.py aiotask run --help"""


class Command(BaseCommand):  # type: ignore[misc]  # Django has no types
    """Its arguments are left to ``aiotask``."""

    help = "Run jobs in worker processes (run), and all other commands of aiotask."

    def run_from_argv(self, argv: list[str]) -> None:
        """Become the command of ``aiotask`` that the arguments name."""
        name, *arguments = _without_djangos(argv[2:]) or ["--help"]
        if name in ("-h", "--help"):
            self.stdout.write(_HELP)
        elif name in ("run", "worker"):
            if {"-h", "--help"} & {*arguments}:
                self.stdout.write(
                    "manage.py aiotask run, or worker: as aiotask worker, for this project. APP is not needed."
                )
            become_worker("aiotask.contrib.django", arguments)
        else:
            become_command(load_apps, [name, *arguments])


def _without_djangos(arguments: list[str]) -> list[str]:
    """The arguments that are not ``--settings`` or ``--pythonpath``, by which ``manage.py`` has gone already.

    The environment hands the settings on to the processes of aiotask, and here the path too.
    """
    parser = ArgumentParser(add_help=False, allow_abbrev=False, argument_default=SUPPRESS, usage="manage.py aiotask …")
    parser.add_argument("--settings")
    parser.add_argument("--pythonpath")
    known, others = parser.parse_known_args(arguments)
    if "pythonpath" in known:
        paths = [known.pythonpath, os.environ.get("PYTHONPATH", "")]
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    return others
