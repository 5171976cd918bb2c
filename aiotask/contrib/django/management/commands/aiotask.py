"""``manage.py aiotask``: ``run``, and every other command of ``aiotask``."""

from __future__ import annotations

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
        name, *arguments = argv[2:] or ["--help"]
        if name in ("-h", "--help"):
            self.stdout.write(_HELP)
        elif name == "run":
            if {"-h", "--help"} & {*arguments}:
                self.stdout.write("manage.py aiotask run: as aiotask worker, for this project. APP is not needed.")
            become_worker("aiotask.contrib.django", arguments)
        else:
            become_command(load_apps, [name, *arguments])
